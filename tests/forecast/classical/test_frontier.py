"""Profiles of equal compute, their minima, and the power laws through them."""

import numpy as np
import pytest
from planted_surfaces import BUDGETS, grid

from forecast.classical import isoflop_profiles, power_law
from forecast.classical.frontier import minima


def power_surface():
    """Minima exactly on power laws: at each budget one of three sizes is best, and sizes follow N = C^0.5."""
    flops = np.repeat(np.geomspace(1e14, 1e18, 6), 3)
    best = 1e-2 * flops**0.5
    params = best * np.tile([0.5, 1.0, 2.0], 6)
    loss = 20 * flops**-0.1 * np.tile([1.2, 1.0, 1.3], 6)
    return params, flops / (6 * params), flops, loss


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
