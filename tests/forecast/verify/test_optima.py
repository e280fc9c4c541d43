"""The size of least loss on a budget, read from the rows, and its standard error."""

import numpy as np
import pandas as pd
import pytest

from forecast.verify.optima import optima, profiles

BUDGETS = np.geomspace(1e17, 1e19, 9)


def law(params, samples):
    return 1.8 + 480 / params**0.35 + 2100 / samples**0.37


def curves(noise=0.0, seed=0, sizes=12):
    """Trainings of several sizes with checkpoints at budgets that all of them reach."""
    rng, rows = np.random.default_rng(seed), []
    for params in np.geomspace(1e7, 2e9, sizes):
        flops = np.geomspace(5e16, 2e19, 60)
        loss = law(params, flops / (6 * params)) * np.exp(noise * rng.standard_normal(60))
        rows.append(pd.DataFrame({"params": params, "flops": flops, "loss": loss}))
    return pd.concat(rows, ignore_index=True)


def truth(budget):
    grid = np.geomspace(1e6, 1e11, 50_001)
    return np.log(grid[np.argmin(law(grid, budget / (6 * grid)))])


def test_vertex_is_the_best_size_of_the_law():
    found = optima(profiles(curves(), BUDGETS))
    gaps = [o.log_params - truth(c) for o, c in zip(found, BUDGETS, strict=True)]
    assert np.abs(gaps).max() < 0.05


def test_standard_error_is_the_scatter_over_repeated_tables():
    several = [optima(profiles(curves(noise=0.004, seed=s), BUDGETS)) for s in range(40)]
    vertices = np.array([[o.log_params for o in one] for one in several])
    told = np.nanmean([[o.sd for o in one] for one in several], axis=0)
    ratio = told / np.nanstd(vertices, axis=0)
    assert np.all((ratio > 0.6) & (ratio < 1.7))


@pytest.mark.parametrize("keep", [lambda n: n > 3e8, lambda n: n < 1e8])
def test_minimum_at_an_end_of_the_sizes_is_not_known(keep):
    table = curves()
    found = optima(profiles(table[keep(table["params"])], BUDGETS[:1] if keep(1e9) else BUDGETS[-1:]))
    assert all(np.isnan(o.log_params) and np.isnan(o.sd) for o in found)


def test_fewer_than_four_sizes_are_no_profile():
    assert profiles(curves(sizes=3), BUDGETS) == [None] * len(BUDGETS)
    assert all(np.isnan(o.log_params) for o in optima([None, None]))


def test_budgets_beyond_the_rows_are_no_profile():
    assert profiles(curves(), np.array([1e16, 1e20])) == [None, None]
