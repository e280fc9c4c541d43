"""Training cost of one sample as a power law of model size, fitted to the table."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forecast.errors import FitError
from forecast.runs.table import Runs


@dataclass(frozen=True, kw_only=True)
class CostLaw:
    """FLOPs per training sample = coefficient · params^exponent."""

    coefficient: float
    """FLOPs per sample of a model of one parameter."""
    exponent: float
    """1 where every parameter costs the same."""

    def __call__(self, params: ArrayLike) -> NDArray[np.float64]:
        """Training FLOPs per sample of models with these parameters, elementwise."""
        return self.coefficient * np.asarray(params, dtype=np.float64) ** self.exponent


def fit_cost(params: ArrayLike, samples: ArrayLike, flops: ArrayLike) -> CostLaw:
    """Least squares of log(flops / samples) on log params over the sizes, one point a size.

    The point of a size is its row of largest budget: samples are rounded to whole batches, which at small budgets
    distorts flops / samples threefold.

    Raises FitError with fewer than two sizes.
    """
    params, samples, flops = (np.asarray(column, dtype=np.float64) for column in (params, samples, flops))
    sizes = np.unique(params)
    if sizes.size < 2:
        raise FitError(f"the cost of a sample cannot be fitted to {sizes.size} model size; add runs of a second size.")
    largest = [np.flatnonzero(params == size)[np.argmax(flops[params == size])] for size in sizes]
    x, y = np.log(sizes), np.log(flops[largest] / samples[largest])
    exponent = float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())
    return CostLaw(coefficient=float(np.exp(y.mean() - exponent * x.mean())), exponent=exponent)


def group_costs(runs: Runs) -> dict[str, CostLaw]:
    """The cost of a sample in each group. Raises FitError for a group with fewer than two sizes."""
    tables = {name: runs.group_table(name) for name in runs.groups}
    return {name: fit_cost(table["params"], table["samples"], table["flops"]) for name, table in tables.items()}
