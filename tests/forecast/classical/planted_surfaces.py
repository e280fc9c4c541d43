"""Tables with a planted law, which the tests of several methods fit."""

import numpy as np

from forecast.classical import Columns

SIZES = np.geomspace(2e5, 2e8, 10)
BUDGETS = np.geomspace(1e14, 2e18, 12)


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
