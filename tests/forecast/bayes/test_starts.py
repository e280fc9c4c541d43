"""Where chains start: at modes that hold some of the posterior."""

import numpy as np
import pytest

from forecast import fit, read_runs
from forecast.bayes.modes import search


def two_wells(x):
    """Minima near -1 at -1 and near -3 at 1."""
    return float((x[0] ** 2 - 1) ** 2 - x[0] - 2), np.array([4 * x[0] * (x[0] ** 2 - 1) - 1])


def test_search_finds_the_mode_of_its_side():
    left, right = (search(two_wells, np.array([x]), 100) for x in (-1.5, 1.5))
    assert left.x[0] < 0 < right.x[0]
    assert left.energy - right.energy > 1.5
    assert np.allclose([two_wells(found.x)[1][0] for found in (left, right)], 0, atol=1e-4)


def test_search_without_a_number_stays_where_it_began():
    found = search(lambda x: (np.nan, np.full(2, np.nan)), np.array([1.0, 2.0]), 100)
    assert np.array_equal(found.x, [1, 2])
    assert found.energy == np.inf


@pytest.mark.slow
def test_a_far_lower_mode_keeps_no_chain():
    """A bend of the samples' exponent; from the prior's mean one search in four ends 16 nats below the best mode."""
    table = read_runs("chinchilla").table[["params", "samples", "flops"]].reset_index(drop=True)
    params, samples = table["params"].to_numpy(), table["samples"].to_numpy()
    exact = 1.82 + 482 / params**0.348 + 2085 / samples**0.33 / (1 + (samples / 1e10) ** 2) ** 0.05
    noise = np.random.default_rng(0).standard_normal(len(table))
    posterior = fit(read_runs(table.assign(loss=exact * np.exp(0.003 * noise))), seed=0)
    assert posterior.diagnostics.passed, posterior.diagnostics
