"""Parametric laws, fitted in two ways, against planted laws, and what they say is best."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_surfaces import arrays, grid, noisy_table, surface

from forecast.classical import huber_lse, varpro
from forecast.classical.parametric import ParametricLaw
from forecast.runs.cost import CostLaw

LAWS = [  # E, A, B, α, β with A and B chosen so that both terms matter inside the table
    pytest.param(0.15, 0.6 * 5e6**0.4, 0.5 * 1e9**0.5, 0.4, 0.5, id="near-zero E"),
    pytest.param(1.69, 406.4, 410.7, 0.34, 0.28, id="language-like"),
    pytest.param(0.02, 1.5 * 5e6**0.8, 0.3 * 1e9**0.2, 0.8, 0.2, id="unequal exponents"),
]


def planted_law(E, A, B, alpha, beta, cost=None):
    return ParametricLaw(
        name="huber_lse",
        theta=np.array([np.log(E), np.log(A), np.log(B), alpha, beta]),
        scale=0.01,
        dof=50,
        left_out=0,
        size_range=(2e5, 2e8),
        cost=cost or CostLaw(coefficient=6.0, exponent=1.0),
    )


@pytest.mark.parametrize("method", [huber_lse, varpro])
@pytest.mark.parametrize("unit", [1.0, 1e6])
@pytest.mark.parametrize(("E", "A", "B", "alpha", "beta"), LAWS)
def test_planted_law_is_recovered(method, unit, E, A, B, alpha, beta):
    params, samples, flops, loss = surface(E, A, B, alpha, beta)
    found = method(params / unit, samples, flops, loss)
    recovered = [found.irreducible, *found.coefficients, found.alpha, found.beta]
    assert recovered == pytest.approx([E, A / unit**alpha, B, alpha, beta], rel=1e-6)
    assert found.predict_log(params / unit, samples) == pytest.approx(np.log(loss), abs=1e-9)


@pytest.mark.parametrize("method", [huber_lse, varpro])
def test_max_loss_leaves_out_a_transient(method):
    params, samples, flops, loss = surface(0.15, 0.6 * 5e6**0.4, 0.5 * 1e9**0.5, 0.4, 0.5)
    transient = samples < 3e7
    loss = np.where(transient, 5.0 + 3e5 / samples, loss)
    found = method(params, samples, flops, loss, max_loss=5.0)
    assert found.left_out == transient.sum()
    assert [found.irreducible, found.alpha, found.beta] == pytest.approx([0.15, 0.4, 0.5], rel=1e-6)


def test_huber_shrugs_off_outliers():
    params, samples, flops, loss = surface(0.15, 0.6 * 5e6**0.4, 0.5 * 1e9**0.5, 0.4, 0.5)
    loss[::12] *= 1.5
    robust, squares = (method(params, samples, flops, loss) for method in (huber_lse, varpro))
    assert abs(robust.alpha - 0.4) < 1e-3 < abs(squares.alpha - 0.4)


def test_huber_finds_the_same_optimum_from_few_and_many_starts():
    table = noisy_table()
    few, many = (huber_lse(*arrays(table), starts=count) for count in (3, 25))
    assert few.theta == pytest.approx(many.theta, rel=1e-4)


@pytest.mark.parametrize("method", [huber_lse, varpro])
def test_weights_are_repetitions(method):
    table = noisy_table()
    counts = np.random.default_rng(5).integers(0, 4, table.loss.size)
    repeated = method(*(np.repeat(column, counts) for column in arrays(table)))
    weighted = method(*arrays(table), weights=counts)
    assert weighted.theta == pytest.approx(repeated.theta, rel=1e-4)


def test_varpro_drops_a_term_that_does_not_help():
    params, samples, flops, loss = surface(0.0, 0.6 * 5e6**0.4, 0.0, 0.4, 0.5)
    found = varpro(params, samples, flops, loss)
    assert found.alpha == pytest.approx(0.4, rel=1e-6)
    assert found.predict_log(params, samples) == pytest.approx(np.log(loss), abs=1e-8)


def test_a_law_without_optimum_says_so():
    params, samples, flops = grid()
    found = huber_lse(params, samples, flops, 0.2 + 1e-3 * params**0.3 + 0.5 * (samples / 1e9) ** -0.5)
    for ask in (found.exponents, lambda: found.optimal(1e18), lambda: found.optimal_linear_cost(1e18, 6)):
        with pytest.raises(ValueError, match="no best size"):
            ask()


@settings(max_examples=25, deadline=None)
@given(
    flops=st.floats(1e15, 1e20),
    flops_per_param=st.floats(2, 60),
    law=st.sampled_from([law.values for law in LAWS]),
)
def test_numeric_optimum_agrees_with_the_closed_form(flops, flops_per_param, law):
    E, A, B, alpha, beta = law
    found = planted_law(E, A, B, alpha, beta)
    numeric = found.optimal(flops, cost=lambda params: flops_per_param * params)
    closed = found.optimal_linear_cost(flops, flops_per_param)
    assert numeric[0] == pytest.approx(closed[0], rel=1e-5)
    assert numeric[1] == pytest.approx(closed[1], rel=1e-5)


def test_optimum_and_exponents_under_a_cost_that_is_not_linear():
    cost = CostLaw(coefficient=900.0, exponent=0.8)
    found = planted_law(0.15, 300.0, 2e4, 0.4, 0.5, cost)
    params, samples = found.optimal([1e17, 1e18, 1e19])
    assert params.shape == (3,)
    assert cost(params) * samples == pytest.approx([1e17, 1e18, 1e19])
    for factor in (0.98, 1.02):  # a neighbour on the budget is worse
        neighbour = found.predict_log(params * factor, [1e17, 1e18, 1e19] / cost(params * factor))
        assert np.all(neighbour > found.predict_log(params, samples))
    exponents = found.exponents()
    reducible = np.exp(found.predict_log(params, samples)) - 0.15
    for key, values in (("params", params), ("samples", samples), ("reducible_loss", reducible)):
        slope = np.diff(np.log(values)) / np.log(10)
        assert slope == pytest.approx(exponents[key].value, abs=1e-5)
    assert exponents["params"].lower is None
