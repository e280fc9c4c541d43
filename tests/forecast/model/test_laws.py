"""The laws against quadrature, the textbook formula, and numeric search."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import minimize_scalar

from forecast.model.laws import (
    Knots,
    LossLaw,
    ReturnLaw,
    bounded_return,
    coefficients,
    log_loss,
    log_return,
    optimal_linear_cost,
)

KNOTS = Knots(spacing=2.3, below=4, above=3)
POSITIONS = np.concatenate([np.linspace(-14, 12, 53), KNOTS.spacing * np.arange(-6, 6), [0.0, 1e-9, -1e-9]])


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def make_law(*, level=0.3, floor=0.25, share=0.4, alpha=0.4, beta=0.6, g=1.0, start=None):
    fields = (level, floor, share, np.atleast_1d(alpha), np.atleast_1d(beta), g, start)
    return LossLaw(*(None if x is None else jnp.asarray(x, dtype=float) for x in fields))


def points(seed=0, count=200, reach=8.0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-reach, reach, count), rng.uniform(-reach, reach, count)


def rate(x, rates):
    at = KNOTS.spacing * np.arange(-KNOTS.below, KNOTS.above + 1)
    return np.interp(x, at, rates)


# ---- knots --------------------------------------------------------------------------------------------------------


def test_knot_weights_sum_to_one_and_interpolate():
    weights = np.asarray(KNOTS.weights(POSITIONS))
    assert weights.shape == (POSITIONS.size, KNOTS.count)
    np.testing.assert_allclose(weights.sum(-1), 1.0, atol=1e-12)
    assert (weights >= 0).all()
    rates = np.random.default_rng(1).uniform(0.1, 2.0, KNOTS.count)
    np.testing.assert_allclose(weights @ rates, rate(POSITIONS, rates), atol=1e-12)


def test_integral_weights_equal_quadrature_and_beyond_the_ends():
    rates = np.random.default_rng(2).uniform(0.1, 2.0, KNOTS.count)
    kinks = KNOTS.spacing * np.arange(-KNOTS.below, KNOTS.above + 1)

    def quadrature(x):
        low, high = min(0.0, x), max(0.0, x)
        edges = np.unique(np.concatenate([[low, high], kinks[(kinks > low) & (kinks < high)]]))
        area = sum(quad(rate, a, b, args=(rates,))[0] for a, b in itertools.pairwise(edges))
        return area if x >= 0 else -area

    found = np.asarray(KNOTS.integral_weights(POSITIONS)) @ rates
    np.testing.assert_allclose(found, [quadrature(x) for x in POSITIONS], atol=1e-9)


def test_integral_weights_sum_to_the_distance():
    np.testing.assert_allclose(np.asarray(KNOTS.integral_weights(POSITIONS)).sum(-1), POSITIONS, atol=1e-12)


def test_walk_is_zero_at_the_reference_and_walks_away_from_it():
    steps = jnp.asarray(np.random.default_rng(3).normal(size=(5, KNOTS.count - 1)))
    walk = np.asarray(KNOTS.walk(steps))
    assert walk.shape == (5, KNOTS.count)
    assert (walk[:, KNOTS.below] == 0).all()
    # Every step is used once: the one next to the reference first, on either side.
    below, above = walk[:, KNOTS.below - 1 :: -1], walk[:, KNOTS.below + 1 :]
    np.testing.assert_allclose(np.diff(below, prepend=0.0), steps[:, : KNOTS.below], atol=1e-12)
    np.testing.assert_allclose(np.diff(above, prepend=0.0), steps[:, KNOTS.below :], atol=1e-12)


# ---- loss ---------------------------------------------------------------------------------------------------------


def test_constant_exponents_give_the_textbook_law():
    params0, samples0 = 3.1e6, 4.7e8
    u, v = points()
    law = make_law()
    c = {k: float(x) for k, x in coefficients(law, params0, samples0).items()}
    N, D = params0 * np.exp(u), samples0 * np.exp(v)
    textbook = c["E"] + c["A"] * N ** -c["alpha"] + c["B"] * D ** -c["beta"]
    np.testing.assert_allclose(np.exp(log_loss(law, u, v, KNOTS)), textbook, rtol=1e-10)


def test_level_is_the_log_loss_at_the_reference():
    zero = np.zeros(1)
    for g in (0.5, 1.0, 1.8):
        law = make_law(level=-0.7, g=g)
        # share and 1 - share sum to one before the power, so the level holds for every interaction
        assert float(log_loss(law, zero, zero, KNOTS)[0]) == pytest.approx(-0.7, abs=1e-12)


def test_interaction_of_one_is_additive_and_others_bend():
    u, v = points()
    additive = np.asarray(log_loss(make_law(g=1.0), u, v, KNOTS))
    sharper = np.asarray(log_loss(make_law(g=0.5), u, v, KNOTS))
    removable = 0.4 * np.exp(-0.4 * u) + 0.6 * np.exp(-0.6 * v)
    np.testing.assert_allclose(additive, 0.3 + np.log(0.25 + 0.75 * removable), atol=1e-10)
    by_hand = (0.4 * np.exp(-0.4 * u / 0.5) + 0.6 * np.exp(-0.6 * v / 0.5)) ** 0.5
    np.testing.assert_allclose(sharper, 0.3 + np.log(0.25 + 0.75 * by_hand), atol=1e-10)


def test_equal_rates_at_all_knots_are_a_constant_exponent():
    u, v = points(reach=14.0)
    flat = make_law(alpha=np.full(KNOTS.count, 0.4), beta=np.full(KNOTS.count, 0.6))
    np.testing.assert_allclose(log_loss(flat, u, v, KNOTS), log_loss(make_law(), u, v, KNOTS), atol=1e-10)


def test_drifting_exponent_is_the_local_slope():
    rates = np.linspace(0.2, 0.9, KNOTS.count)
    law = make_law(floor=1e-12, share=1 - 1e-12, alpha=rates)  # the size term alone
    u = np.array([-6.0, -1.0, 0.5, 4.0])
    h, v = 1e-4, np.zeros(4)
    slope = (log_loss(law, u + h, v, KNOTS) - log_loss(law, u - h, v, KNOTS)) / (2 * h)
    np.testing.assert_allclose(slope, -rate(u, rates), rtol=1e-4)


def test_saturating_law_stays_below_its_start():
    u, v = points(count=500, reach=12.0)
    start = 1.2
    free = np.asarray(log_loss(make_law(), u, v, KNOTS))
    bent = np.asarray(log_loss(make_law(start=start), u, v, KNOTS))
    assert free.max() > start + 2  # the start has something to hold back
    assert (bent <= start).all()
    assert (bent <= free + 1e-12).all()
    # Within 5% of the lower of the two outside a factor of two, as the bend's sharpness promises.
    apart = np.abs(free - start) > np.log(2)
    assert (np.minimum(free, start) - bent)[apart].max() < 0.05
    far = free < start - 1.4
    assert far.any()
    np.testing.assert_allclose(bent[far], free[far], atol=1e-3)


laws = st.fixed_dictionaries(
    {
        "level": st.floats(-2, 2),
        "floor": st.floats(0.02, 0.9),
        "share": st.floats(0.1, 0.9),
        "alpha": st.floats(0.15, 1.2),
        "beta": st.floats(0.15, 1.2),
        "g": st.floats(0.5, 2.0),
    }
)


@settings(max_examples=40, deadline=None)
@given(planted=laws, budget=st.floats(-4, 8), cost_exponent=st.floats(0.5, 1.5))
def test_closed_form_optimum_agrees_with_numeric_searches(planted, budget, cost_exponent):
    with jax.enable_x64(True):
        law = make_law(**planted)
        closed = float(optimal_linear_cost(law, budget, cost_exponent))

        def loss(u):
            return log_loss(law, u, budget - cost_exponent * u, KNOTS)

        grid = jnp.linspace(closed - 11.3, closed + 9.1, 2001)  # the optimum is nowhere special on it
        values = np.asarray(loss(grid))
        dense = minimize_scalar(
            lambda u: float(loss(jnp.asarray([u]))[0]), bounds=(closed - 5, closed + 4), method="bounded"
        )
        assert float(grid[values.argmin()]) == pytest.approx(closed, abs=0.011)
        assert dense.x == pytest.approx(closed, abs=1e-3)
        assert float(loss(jnp.asarray([closed]))[0]) <= min(dense.fun, values.min()) + 1e-12


# ---- returns ------------------------------------------------------------------------------------------------------


def make_return_law(*, level=2.0, floor=0.0, ceiling=6.0, size=0.0, elasticity=None):
    rates = np.full(KNOTS.count, 1.5) if elasticity is None else elasticity
    return ReturnLaw(*(jnp.asarray(x, dtype=float) for x in (level, rates, size, floor, ceiling)))


@settings(max_examples=40, deadline=None)
@given(
    level=st.floats(-3, 8),
    floor=st.floats(-3, 3),
    above=st.floats(0.5, 8),
    rates=st.lists(st.floats(0.2, 4), min_size=KNOTS.count, max_size=KNOTS.count),
)
def test_return_rises_with_skill_between_its_bounds(level, floor, above, rates):
    with jax.enable_x64(True):
        ceiling = floor + above
        law = make_return_law(level=level, floor=floor, ceiling=ceiling, elasticity=np.array(rates))
        skill = np.linspace(-20, 20, 401)
        value = np.asarray(log_return(law, skill, np.zeros_like(skill), KNOTS))
        assert (np.diff(value) >= -1e-12).all()
        assert value[-1] > value[0]
        assert (value <= ceiling + 1e-12).all()
        # The floor is itself bent by the ceiling: 1/R = 1/floor + 1/ceiling where nothing is known.
        assert (value >= -np.logaddexp(-floor, -ceiling) - 1e-12).all()


def test_return_limits():
    law = make_return_law(floor=0.0, ceiling=6.0)
    far = np.asarray(log_return(law, np.array([-200.0, 200.0]), np.zeros(2), KNOTS))
    np.testing.assert_allclose(far, [-np.logaddexp(0.0, -6.0), 6.0], atol=1e-9)


def test_return_within_bounds_is_a_power_of_loss_and_size():
    law = make_return_law(level=2.0, floor=-40.0, ceiling=40.0, size=0.3)
    skill, u = np.array([-1.0, 0.0, 2.0]), np.array([0.5, 0.0, -1.0])
    np.testing.assert_allclose(log_return(law, skill, u, KNOTS), 2.0 + 1.5 * skill + 0.3 * u, atol=1e-9)


def test_bounded_return_formula():
    law = make_return_law(floor=0.5, ceiling=3.0)
    signal = np.linspace(-4, 8, 25)
    by_hand = 1 / (1 / (np.exp(0.5) + np.exp(signal)) + np.exp(-3.0))
    np.testing.assert_allclose(np.exp(bounded_return(law, signal)), by_hand, rtol=1e-10)
