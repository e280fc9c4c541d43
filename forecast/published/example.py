"""The example table: a planted sweep of clones of one game, whose true law is known.

    python -m forecast.published.build example OUT.csv

No run was made. Thirteen sizes are trained once each at a constant step size and are measured at every budget that
their size can use. Losses follow `TRUE` in the form L = E + A·(N/N0)^-α + B·(D/D0)^-β with the noise that checkpoints
of one training share; returns are a power of the loss. `forecast example` prints it, so that a reader has a table.
"""

from types import MappingProxyType

import numpy as np
import pandas as pd

TRUE = MappingProxyType({"E": 0.12, "A": 0.34, "alpha": 0.42, "B": 0.34, "beta": 0.38})
"""The law of the loss (nats) around `PARAMS0` and `SAMPLES0`."""
PARAMS0, SAMPLES0 = 1e6, 1e8
SIZES = (
    60_416, 95_232, 150_528, 238_592, 377_856, 599_040, 948_224, 1_503_232, 2_380_800, 3_772_416, 5_976_064, 9_467_904,
    14_999_552,
)  # fmt: skip
BUDGETS = (1e13, 3e13, 1e14, 3e14, 1e15, 3e15, 1e16)
GROUP = "nethack-lstm"
FRAMES = 1_024
"""Of an update: samples come in multiples of it."""
_FARTHEST = 5.0  # a size is measured at budgets whose best size lies within this factor of it
_NOISE, _SHARED = 0.02, 0.6  # of log loss; the part of it that a run's next checkpoint keeps
_SPREAD, _OF_AN_EPISODE = 0.06, 0.9  # of log return between runs; of an episode, over the mean
_EPISODES = 200
_SEED = 2


def cost_of_a_sample(params: int) -> float:
    """FLOPs, forward and backward: small policies spend most of theirs on the screen."""
    return 95.0 * params**0.84


def loss(params: float, samples: float) -> float:
    """Nats, without noise."""
    model = TRUE["A"] * (params / PARAMS0) ** -TRUE["alpha"]
    return TRUE["E"] + model + TRUE["B"] * (samples / SAMPLES0) ** -TRUE["beta"]


def expected_return(loss: float) -> float:
    """Points, without noise."""
    return 8.0 + 700.0 * loss**-1.7


def best_size(flops: float) -> float:
    """Parameters of least loss on a budget."""
    sizes = np.geomspace(1e4, 1e8, 801)
    return float(sizes[np.argmin([loss(n, flops / cost_of_a_sample(n)) for n in sizes])])


def example() -> pd.DataFrame:
    """The table, the same on every call."""
    rng, rows = np.random.default_rng(_SEED), []
    best = {flops: best_size(flops) for flops in BUDGETS}
    for params in SIZES:
        noise, spread = rng.normal(0, _NOISE), rng.normal(0, _SPREAD)
        for flops in BUDGETS:
            innovation, luck = rng.normal(0, _NOISE), rng.normal()
            noise = _SHARED * noise + np.sqrt(1 - _SHARED**2) * innovation
            if not 1 / _FARTHEST < params / best[flops] < _FARTHEST:
                continue
            samples = FRAMES * round(flops / cost_of_a_sample(params) / FRAMES)
            measured = loss(params, samples) * np.exp(noise)
            mean = expected_return(loss(params, samples)) * np.exp(spread)
            error = mean * _OF_AN_EPISODE / np.sqrt(_EPISODES)
            rows.append(
                {
                    "group": GROUP,
                    "run": f"lstm-{params}",
                    "params": params,
                    "samples": samples,
                    "flops": float(f"{samples * cost_of_a_sample(params):.6g}"),
                    "loss": round(measured, 5),
                    "return_mean": round(mean + error * luck, 1),
                    "return_se": round(error, 1),
                    "episodes": _EPISODES,
                }
            )
    return pd.DataFrame(rows)
