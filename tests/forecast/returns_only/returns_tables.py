"""Tables without losses, of a planted law of the return."""

import numpy as np
import pandas as pd

QUICK = {"chains": 2, "draws": 200, "max_draws": 200, "warmup": 300}
ALPHA, BETA, NOISE, LEVEL, RANDOM = 0.45, 0.5, 0.25, 2000.0, 50.0


def law(params, samples, *, highest=np.inf):
    """Mean return: a power of what is scarcer, between random play and the highest return."""
    removable = 0.5 * (params / 1e6) ** -ALPHA + 0.5 * (samples / 1e9) ** -BETA
    return 1 / np.minimum(removable / LEVEL + 1 / highest, 1 / RANDOM)


def played(seed, *, sizes=4, budgets=5, seeds=3, noise=NOISE, mean=law, **of_law):
    """Rows as `training` writes them: the loss is an empty cell, and there are columns that nobody asked for."""
    rng = np.random.default_rng(seed)
    rows = []
    for params in np.geomspace(1e5, 1e7, sizes):
        for flops in np.geomspace(1e14, 1e17, budgets):
            for k in range(seeds):
                samples = flops / (6 * params)
                one = mean(params, samples, **of_law) * np.exp(noise * rng.standard_t(7))
                se = 0.5 * one / np.sqrt(20)
                rows.append((f"{params:.0f}-{flops:.0e}-{k}", k, params, samples, flops, one + se * rng.normal(), se))
    table = pd.DataFrame(rows, columns=["run", "seed", "params", "samples", "flops", "return_mean", "return_se"])
    return table.assign(loss=np.nan, episodes=20, algorithm="ppo", env="nle")


def flat(params, samples):
    return 0 * params + LEVEL


def pong(seed, **of_table):
    """The same between -21 and 21."""
    table = played(seed, noise=0.1, highest=4000.0, **of_table)
    return table.assign(return_mean=-21 + 42 * np.clip(table["return_mean"] / 4000, 0, 1), return_se=0.4)


def inside(draws, truth):
    low, high = np.quantile(np.asarray(draws), [0.05, 0.95])
    return low <= truth <= high
