"""Classical methods against planted truth, scipy's regression, and nominal coverage."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from forecast import classical
from forecast.classical import (
    Columns,
    LogForecast,
    fit,
    fit_return,
    huber_lse,
    isoflop_profiles,
    parabola,
    power_law,
    varpro,
)
from forecast.classical.bootstrap import bootstrap
from forecast.classical.frontier import minima
from forecast.classical.ols import fit_line, return_on_loss
from forecast.classical.parabola import fit_parabolas
from forecast.classical.parametric import ParametricLaw
from forecast.runs.cost import CostLaw, fit_cost
from forecast.runs.read import read_runs

SIZES = np.geomspace(2e5, 2e8, 10)
BUDGETS = np.geomspace(1e14, 2e18, 12)
LAWS = [  # E, A, B, α, β with A and B chosen so that both terms matter inside the table
    pytest.param(0.15, 0.6 * 5e6**0.4, 0.5 * 1e9**0.5, 0.4, 0.5, id="near-zero E"),
    pytest.param(1.69, 406.4, 410.7, 0.34, 0.28, id="language-like"),
    pytest.param(0.02, 1.5 * 5e6**0.8, 0.3 * 1e9**0.2, 0.8, 0.2, id="unequal exponents"),
]


def grid(sizes=SIZES, budgets=BUDGETS, flops_per_param=6.0):
    params, flops = (column.ravel() for column in np.meshgrid(sizes, budgets))
    samples = flops / (flops_per_param * params)
    return params, samples, flops


def surface(E, A, B, alpha, beta):
    params, samples, flops = grid()
    return params, samples, flops, E + A * params**-alpha + B * samples**-beta


def noisy_table(seed=0, sd=0.02):
    """Ten trajectories, one a size, with errors common to a trajectory."""
    params, samples, flops, loss = surface(0.15, 0.6 * 5e6**0.4, 0.5 * 1e9**0.5, 0.4, 0.5)
    rng = np.random.default_rng(seed)
    run = np.array([f"run {size:.0f}" for size in params], dtype=object)
    common = dict(zip(np.unique(run), rng.normal(0, sd, 10), strict=True))
    loss = loss * np.exp(np.array([common[name] for name in run]) + rng.normal(0, sd, loss.size))
    return Columns(params=params, samples=samples, flops=flops, loss=loss, run=run)


def arrays(table):
    return table.params, table.samples, table.flops, table.loss


# A surface whose isoFLOP profiles are exactly quadratic in log N, with power laws of the vertices planted.
LOSS_LAW, PARAMS_LAW = (300.0, -0.18), (2e-3, 0.55)


def quadratic_surface(response="log_loss"):
    sizes = np.geomspace(1e4, 1e9, 41)
    params, samples, flops = grid(sizes=sizes)
    vertex = np.log(PARAMS_LAW[0] * flops ** PARAMS_LAW[1])
    bowl = 0.07 * (np.log(params) - vertex) ** 2
    least = LOSS_LAW[0] * flops ** LOSS_LAW[1]
    return params, samples, flops, least * np.exp(bowl) if response == "log_loss" else least + bowl


# ---------------------------------------------------------------------------------------------- lines


def test_line_matches_linregress_and_textbook_intervals():
    rng = np.random.default_rng(1)
    x = np.geomspace(1e14, 1e18, 9)
    y = 40 * x**-0.2 * np.exp(rng.normal(0, 0.1, x.size))
    line, reference = fit_line(x, y), stats.linregress(np.log(x), np.log(y))
    t = stats.t.ppf(0.975, x.size - 2)
    assert line.slope == pytest.approx(reference.slope, rel=1e-10)
    assert line.intercept == pytest.approx(reference.intercept, rel=1e-10)
    assert line.slope_se == pytest.approx(reference.stderr, rel=1e-9)
    assert line.intercept_se == pytest.approx(reference.intercept_stderr, rel=1e-9)
    assert line.exponent(0.95).upper == pytest.approx(reference.slope + t * reference.stderr)
    assert line.coefficient(0.95).lower == pytest.approx(np.exp(reference.intercept - t * reference.intercept_stderr))

    design = np.column_stack([np.ones(x.size), np.log(x)])
    residual = np.log(y) - design @ np.linalg.lstsq(design, np.log(y))[0]
    new = np.array([1.0, np.log(1e19)])
    variance = residual @ residual / (x.size - 2) * (1 + new @ np.linalg.inv(design.T @ design) @ new)
    forecast = line.forecast([1e19])
    assert forecast.sd_log[0] == pytest.approx(np.sqrt(variance), rel=1e-6)
    expected = np.exp(forecast.mean_log[0] + stats.t.ppf(0.05, 7) * np.sqrt(variance))
    assert forecast.quantile(0.05)[0] == pytest.approx(expected, rel=1e-6)


def test_intervals_of_a_line_cover_at_their_level():
    rng = np.random.default_rng(2)
    x = np.geomspace(1e14, 1e17, 7)
    inside = np.zeros(3)
    for _ in range(400):
        line = fit_line(x, 50 * x**-0.15 * np.exp(rng.normal(0, 0.2, x.size)))
        slope, coefficient = line.exponent(0.8), line.coefficient(0.8)
        low, high = line.forecast(1e18).quantile([0.1, 0.9])
        new = 50 * 1e18**-0.15 * np.exp(rng.normal(0, 0.2))
        inside += [slope.lower < -0.15 < slope.upper, coefficient.lower < 50 < coefficient.upper, low < new < high]
    # 80% of 400 with a binomial standard deviation of 8; three are allowed.
    assert np.all(np.abs(inside - 320) < 24), inside


def test_forecast_quantiles_have_the_shape_of_levels_then_points():
    forecast = LogForecast(mean_log=np.zeros(4), sd_log=np.ones(4), dof=np.array([1.0, 2.5, 30.0, np.inf]))
    quantiles = forecast.quantile([0.1, 0.5, 0.9])
    assert quantiles.shape == (3, 4)
    assert quantiles[1] == pytest.approx(np.ones(4))
    assert np.log(quantiles[2, 3]) == pytest.approx(stats.norm.ppf(0.9))
    assert forecast.sd == pytest.approx([np.inf, np.sqrt(5.0), np.sqrt(30 / 28), 1.0])
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        forecast.quantile([0.0, 0.5])


def test_return_is_a_line_in_loss_and_left_out_rows_are_counted():
    loss = np.array([0.2, 0.3, 0.4, 0.5, 0.7, 0.9, 0.25])
    reward = 120 * loss**-1.8
    reward[4:] = [-3.0, 10.0, np.nan]
    found = return_on_loss(loss, reward, max_loss=0.8)
    assert found.exponent().value == pytest.approx(-1.8, abs=1e-9)
    assert found.line.coefficient().value == pytest.approx(120, rel=1e-9)
    assert (found.not_positive, found.above_max_loss, found.without_return) == (1, 1, 1)
    assert found.forecast([0.1]).quantile(0.5)[0] == pytest.approx(120 * 0.1**-1.8, rel=1e-9)


@pytest.mark.parametrize(("x", "y"), [([1, 2], [1, 2]), ([3, 3, 3], [1, 2, 3]), ([1, 2, -3], [1, 2, 3]), ([1, 2], [1])])
def test_line_refuses_what_it_cannot_fit(x, y):
    with pytest.raises(ValueError, match="the line of loss on compute got"):
        fit_line(x, y, what="loss on compute")


# ------------------------------------------------------------------------------------------- frontier


def test_profiles_on_exact_budgets_average_replicates():
    params, samples, flops = grid()
    loss = np.random.default_rng(3).uniform(0.2, 2, params.size)
    params, samples, flops = (np.append(column, column[5]) for column in (params, samples, flops))
    loss = np.append(loss, 3.0)  # a replicate of row 5
    found = isoflop_profiles(params, samples, flops, loss)
    expected = loss[:-1].copy()
    expected[5] = (loss[5] + 3.0) / 2
    order = np.lexsort((params[:-1], flops[:-1]))
    assert not found.interpolated.any()
    np.testing.assert_array_equal(found.flops, flops[:-1][order])
    np.testing.assert_array_equal(found.params, params[:-1][order])
    np.testing.assert_array_equal(found.samples, samples[:-1][order])
    np.testing.assert_array_equal(found.loss, expected[order])


def test_unequal_budgets_are_interpolated_in_log_log():
    rng = np.random.default_rng(4)
    params, samples, flops = grid()
    flops = flops * (1 + 0.5 * rng.random(flops.size))  # true compute: no two rows share a budget
    loss = params**0.1 * flops**-0.05
    samples = flops / (6 * params)
    found = isoflop_profiles(params, samples, flops, loss)
    inner = found.interpolated
    assert inner.sum() > 0.9 * inner.size
    assert found.loss == pytest.approx(found.params**0.1 * found.flops**-0.05, rel=1e-10)
    assert found.samples == pytest.approx(found.flops / (6 * found.params), rel=1e-10)
    for size in np.unique(params):
        reached = found.flops[found.params == size]
        assert reached.min() >= flops[params == size].min()
        assert reached.max() <= flops[params == size].max()


def test_rows_within_an_update_of_a_budget_are_at_it():
    rng = np.random.default_rng(4)
    params, samples, flops = grid()
    short = flops * (1 - 0.03 * rng.random(flops.size))  # trainings end with a whole update
    found = isoflop_profiles(params, short / (6 * params), short, params**0.1 * short**-0.05)
    assert not found.interpolated.any()
    assert found.flops.size == flops.size  # no size is lost at the ends of its rows
    assert found.budgets == pytest.approx(BUDGETS, rel=0.03)
    assert found.loss == pytest.approx(found.params**0.1 * found.flops**-0.05, rel=1e-10)
    once = np.flatnonzero(flops == BUDGETS[-1])[0]  # a size with one row has no neighbours to move its loss along
    alone = (params != params[once]) | (np.arange(flops.size) == once)
    kept = isoflop_profiles(params[alone], samples[alone], short[alone], np.ones(alone.sum()))
    assert (kept.params == params[once]).sum() == 1


def test_asked_budgets_never_extrapolate():
    params, samples, flops = grid(budgets=np.array([1e15, 1e16]))
    found = isoflop_profiles(params, samples, flops, np.ones(params.size), budgets=[1e14, 1e15, 3e15, 1e17])
    assert found.budgets == pytest.approx([1e15, 3e15])
    assert found.interpolated.tolist() == [False] * 10 + [True] * 10
    with pytest.raises(ValueError, match="around any requested budget"):
        isoflop_profiles(params, samples, flops, np.ones(params.size), budgets=[1e10])


def test_minima_are_the_lower_envelope_and_mark_edges():
    # Three straight curves in log-log; each is lowest somewhere. Sizes are trained at budgets of their own.
    budgets = [np.geomspace(1e2, 1e8, n) for n in (5, 7, 9)]
    lines = {1.0: (0.0, -0.1), 2.0: (0.6, -0.2), 4.0: (2.2, -0.4)}
    rows = [
        (size, flops / size, flops, np.exp(a + b * np.log(flops)))
        for (size, (a, b)), own in zip(lines.items(), budgets, strict=True)
        for flops in own
    ]
    params, samples, flops, loss = np.array(rows).T
    wanted = np.geomspace(1e2, 1e8, 13)
    found = minima(isoflop_profiles(params, samples, flops, loss, budgets=wanted))
    curves = np.array([np.exp(a + b * np.log(found.flops)) for a, b in lines.values()])
    assert found.loss == pytest.approx(curves.min(axis=0), rel=1e-10)
    np.testing.assert_array_equal(found.params, np.array([1.0, 2.0, 4.0])[curves.argmin(axis=0)])
    np.testing.assert_array_equal(found.edge, found.params != 2.0)


def power_surface():
    """Minima exactly on power laws: at each budget one of three sizes is best, and sizes follow N = C^0.5."""
    flops = np.repeat(np.geomspace(1e14, 1e18, 6), 3)
    best = 1e-2 * flops**0.5
    params = best * np.tile([0.5, 1.0, 2.0], 6)
    loss = 20 * flops**-0.1 * np.tile([1.2, 1.0, 1.3], 6)
    return params, flops / (6 * params), flops, loss


def test_power_law_recovers_planted_frontier():
    found = power_law(*power_surface())
    exponents = found.exponents(0.95)
    assert exponents["loss"].value == pytest.approx(-0.1, abs=1e-10)
    assert exponents["params"].value == pytest.approx(0.5, abs=1e-10)
    assert exponents["samples"].value == pytest.approx(0.5, abs=1e-10)
    assert found.loss.coefficient().value == pytest.approx(20, rel=1e-9)
    assert found.forecast_loss(1, 1, [1e20]).quantile(0.5) == pytest.approx([20 * 1e20**-0.1], rel=1e-9)
    params, samples = found.optimal([1e19])
    assert params == pytest.approx([1e-2 * 1e19**0.5], rel=1e-9)
    assert 6 * params * samples == pytest.approx([1e19], rel=1e-9)


def test_minima_at_the_edge_are_dropped_unless_asked_for():
    params, samples, flops, loss = power_surface()
    loss = np.where(flops == flops.min(), np.tile([0.5, 1.0, 2.0], 6), loss)  # the smallest size is now the lowest
    dropped, kept = power_law(params, samples, flops, loss), power_law(params, samples, flops, loss, edges="keep")
    assert (dropped.edges, dropped.used.flops.size) == (1, 5)
    assert (kept.edges, kept.used.flops.size) == (0, 6)
    with pytest.raises(ValueError, match="only 0 of 6 budgets have a usable minimum"):
        power_law(params, samples, flops, params)


# ------------------------------------------------------------------------------------------- parabola


def test_parabola_recovers_planted_vertices():
    found = parabola(*quadratic_surface())
    exponents = found.exponents()
    assert all(fitted.status == "ok" for fitted in found.parabolas)
    assert exponents["loss"].value == pytest.approx(LOSS_LAW[1], abs=1e-8)
    assert exponents["params"].value == pytest.approx(PARAMS_LAW[1], abs=1e-8)
    assert exponents["samples"].value == pytest.approx(1 - PARAMS_LAW[1], abs=1e-8)
    assert found.params.coefficient().value == pytest.approx(PARAMS_LAW[0], rel=1e-6)
    assert found.loss.coefficient().value == pytest.approx(LOSS_LAW[0], rel=1e-6)
    assert [fitted.curvature for fitted in found.parabolas] == pytest.approx([0.14] * BUDGETS.size)


def test_parabola_of_loss_itself_as_in_the_paper():
    found = parabola(*quadratic_surface("loss"), response="loss")
    assert found.exponents()["loss"].value == pytest.approx(LOSS_LAW[1], abs=1e-8)


def test_bad_parabolas_are_reported_and_not_used():
    params, samples, flops, loss = quadratic_surface()
    hill, slope, thin = BUDGETS[[0, 5, 11]]
    loss = np.where(flops == hill, 1 / loss, loss)
    loss = np.where(flops == slope, np.exp(0.01 * (np.log(params) + 20) ** 2), loss)
    kept = (flops != thin) | (params < params.min() * 1.5)
    found = parabola(params[kept], samples[kept], flops[kept], loss[kept], budgets=BUDGETS)
    statuses = {fitted.flops: fitted.status for fitted in found.parabolas}
    assert statuses[hill] == "not convex"
    assert statuses[slope] == "vertex outside the sizes"
    assert statuses[thin] == "too few sizes"
    assert all(fitted.params is None for fitted in found.parabolas if fitted.status != "ok")
    assert found.used.flops.size == BUDGETS.size - 3
    assert found.exponents()["params"].value == pytest.approx(PARAMS_LAW[1], abs=1e-8)


def test_within_keeps_the_neighbourhood_of_the_minimum():
    profiles = isoflop_profiles(*quadratic_surface())
    for fitted in fit_parabolas(profiles, within=1.5):
        near = profiles.loss[profiles.flops == fitted.flops]
        assert fitted.sizes == (near <= 1.5 * near.min()).sum() < near.size
    with pytest.raises(ValueError, match="factor above"):
        fit_parabolas(profiles, within=1.0)


def test_parabola_refuses_a_table_of_hills():
    params, samples, flops, loss = quadratic_surface()
    with pytest.raises(ValueError, match=r"only 0 of 12 .* \(not convex\)"):
        parabola(params, samples, flops, 1 / loss)


# ------------------------------------------------------------------------------------- parametric laws


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


def test_cost_is_read_from_the_largest_budget_of_each_size():
    params, samples, flops = grid(flops_per_param=1.0)
    samples = flops / (40 * params**0.9)
    samples = np.where(flops < 1e15, samples * 2, samples)  # rounding at small budgets
    cost = fit_cost(params, samples, flops)
    assert (cost.coefficient, cost.exponent) == pytest.approx((40, 0.9), rel=1e-9)


# ------------------------------------------------------------------------------------------ bootstrap


@pytest.mark.parametrize("method", [huber_lse, varpro])
def test_bootstrap_repeats_with_its_seed_and_only_then(method):
    table = noisy_table()
    first, again, other = (bootstrap(method, table, replicates=12, seed=seed) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first.draws, again.draws)
    assert not np.array_equal(first.draws, other.draws)
    np.testing.assert_array_equal(first.theta, method(*arrays(table)).theta)


def test_bootstrap_of_trajectories_is_wider_than_of_rows():
    table = noisy_table(sd=0.03)
    rows = Columns(**dict(zip(("params", "samples", "flops", "loss"), arrays(table), strict=True)))
    by_run, by_row = (bootstrap(varpro, source, replicates=40, seed=1) for source in (table, rows))
    assert by_run.draws[:, 3].std() > 1.3 * by_row.draws[:, 3].std()


def test_bootstrap_gives_intervals_and_widens_forecasts():
    table = noisy_table()
    plain = huber_lse(*arrays(table))
    drawn = bootstrap(huber_lse, table, replicates=40, seed=0)
    truth = 0.5 / 0.9  # β / (α + β)
    interval = drawn.exponents(0.95)["params"]
    assert interval.lower < truth < interval.upper
    there = dict(params=[1e9], samples=[1e12], flops=[6e21])
    near, far = plain.forecast_loss(**there), drawn.forecast_loss(**there)
    assert far.sd_log[0] > near.sd_log[0] == pytest.approx(plain.scale)
    assert far.dof[0] == table.loss.size - 5


def test_bootstrap_refuses_one_trajectory_and_too_few_replicates():
    table = noisy_table()
    one = Columns(**{**vars(table), "run": np.full(table.loss.size, "a", dtype=object)})
    with pytest.raises(ValueError, match="one trajectory"):
        bootstrap(varpro, one)
    with pytest.raises(ValueError, match="at least 2 replicates"):
        bootstrap(varpro, table, replicates=1)


# ------------------------------------------------------------------------------- one interface for all


@pytest.mark.parametrize("unit", [1e-6, 1e3])
@pytest.mark.parametrize("method", list(classical.METHODS))
def test_exponents_do_not_depend_on_units(method, unit):
    params, samples, flops, loss = arrays(noisy_table())
    plain = classical.METHODS[method](params, samples, flops, loss)
    scaled = classical.METHODS[method](params * unit, samples / unit**2, flops * unit**3, loss)
    for key, interval in plain.exponents().items():
        assert scaled.exponents()[key].value == pytest.approx(interval.value, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("method", list(classical.METHODS))
def test_every_method_answers_the_same_of_the_published_table(method):
    runs = read_runs("nethack-transformer")
    found = fit(runs, method)
    assert found.name == method
    exponents = found.exponents(0.9)
    assert {"params", "samples"} < set(exponents)
    params, samples = found.optimal([1e18, 1e19])
    assert np.all(np.diff(params) > 0)
    assert found.optimal([1e18], cost=lambda n: 12 * n)[1] < samples[0]
    forecast = found.forecast_loss(params, samples, [1e18, 1e19])
    quantiles = forecast.quantile([0.05, 0.5, 0.95])
    assert quantiles.shape == (3, 2)
    assert np.all(np.diff(quantiles, axis=0) > 0)
    assert np.all(quantiles[1, 1] < quantiles[1, 0])
    assert found.forecast_loss(1e7, 1e10, 1e18).mean_log.shape == ()


def test_fit_on_runs_takes_one_group_known_methods_and_options():
    table = noisy_table()
    frame = pd.DataFrame({"group": "a", "return_mean": 9 * table.loss**-2, **vars(table)})
    runs = SimpleNamespace(table=frame)
    assert fit(runs, "huber_lse", max_loss=1.0).left_out == (table.loss >= 1).sum()
    drawn = fit(runs, "varpro", replicates=4, seed=3, max_loss=1.0)
    np.testing.assert_array_equal(
        drawn.draws, bootstrap(partial(varpro, max_loss=1.0), table, replicates=4, seed=3).draws
    )
    assert fit_return(runs).exponent().value == pytest.approx(-2)
    with pytest.raises(ValueError, match="choose one of power_law, parabola, huber_lse, varpro"):
        fit(runs, "chinchilla")
    with pytest.raises(ValueError, match="leave replicates at 0"):
        fit(runs, "power_law", replicates=5)
    with pytest.raises(ValueError, match="holds 2 groups"):
        fit(SimpleNamespace(table=pd.concat([frame, frame.assign(group="b")])), "varpro")
    with pytest.raises(ValueError, match="no column return_mean"):
        fit_return(SimpleNamespace(table=frame.drop(columns="return_mean")))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": [0.5, np.nan, 0.3]}, "column loss holds nan in row 1"),
        ({"samples": [1.0, 2.0, 0.0]}, "column samples holds 0 in row 2"),
        ({"params": [1.0, 2.0]}, "column params has shape"),
        ({"run": np.array(["a"], dtype=object)}, "name the run of every row"),
    ],
)
def test_columns_name_what_is_wrong(change, message):
    good = {key: [1.0, 2.0, 3.0] for key in ("params", "samples", "flops", "loss")}
    with pytest.raises(ValueError, match=message):
        Columns(**{**good, **change})


@pytest.mark.parametrize("method", list(classical.METHODS))
def test_too_small_a_table_is_refused_in_one_sentence(method):
    params, samples, flops = grid(sizes=SIZES[:2], budgets=BUDGETS[:4])
    with pytest.raises(ValueError, match=r"add (runs|sizes)") as caught:
        classical.METHODS[method](params, samples, flops, np.ones(params.size))
    assert "\n" not in str(caught.value)
