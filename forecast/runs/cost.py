"""Training cost of one sample as a function of model size, fitted to the table."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forecast.errors import FitError
from forecast.runs.table import Runs

_ROUGH = 0.05  # root mean square of log cost, above which a power law does not fit
_MARKEDLY = 0.6  # of that residual, below which a fixed part is taken to be there
_SHARES = 12.0  # in log, how far beyond the sizes the size that costs as much as the fixed part is looked for


@dataclass(frozen=True, kw_only=True)
class CostLaw:
    """FLOPs per training sample = fixed + coefficient · params^exponent."""

    coefficient: float
    """FLOPs per sample of a model of one parameter, without the fixed part."""
    exponent: float
    """1 where every parameter costs the same."""
    fixed: float = 0.0
    """FLOPs per sample that a model of any size takes, as by convolutions that only widen above some size."""

    def __call__(self, params: ArrayLike) -> NDArray[np.float64]:
        """Training FLOPs per sample of models with these parameters, elementwise."""
        return self.fixed + self.coefficient * np.asarray(params, dtype=np.float64) ** self.exponent

    def params(self, flops: float) -> float:
        """The size (parameters) whose sample costs these FLOPs; 0 where less than the fixed part."""
        return (max(flops - self.fixed, 0.0) / self.coefficient) ** (1 / self.exponent)


def fit_cost(params: ArrayLike, samples: ArrayLike, flops: ArrayLike) -> CostLaw:
    """Least squares of log(flops / samples) over the sizes, one point a size: a power law of params in most tables.

    Where no power law fits (root mean square 0.05 of a logarithm) and fixed + coefficient · params fits markedly
    better, that is the law: a network whose convolutions only widen above some size costs nearly the same below it.

    The point of a size is its row of largest budget: samples are rounded to whole batches, which at small budgets
    distorts flops / samples threefold.

    Raises FitError with fewer than two sizes.
    """
    params, samples, flops = (np.asarray(column, dtype=np.float64) for column in (params, samples, flops))
    sizes = np.unique(params)
    if sizes.size < 2:
        raise FitError(f"the cost of a sample cannot be fitted to {sizes.size} model size; add runs of a second size.")
    largest = [np.flatnonzero(params == size)[np.argmax(flops[params == size])] for size in sizes]
    cost = flops[largest] / samples[largest]
    power = _power(sizes, cost)
    misfit = _misfit(power, sizes, cost)
    if misfit < _ROUGH or sizes.size == 2:
        return power
    fixed = _with_fixed_part(sizes, cost)
    return fixed if _misfit(fixed, sizes, cost) < _MARKEDLY * misfit else power


def _power(sizes: np.ndarray, cost: np.ndarray) -> CostLaw:
    x, y = np.log(sizes), np.log(cost)
    exponent = float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())
    return CostLaw(coefficient=float(np.exp(y.mean() - exponent * x.mean())), exponent=exponent)


def _with_fixed_part(sizes: np.ndarray, cost: np.ndarray) -> CostLaw:
    """Of exponent 1, by the size whose parameters cost as much as the fixed part."""
    from scipy.optimize import minimize_scalar  # late: few tables need it

    x, y = np.log(sizes), np.log(cost)
    equal = minimize_scalar(
        lambda u: np.var(y - np.logaddexp(x, u)),
        bounds=(x[0] - _SHARES, x[-1] + _SHARES),
        method="bounded",
        options={"xatol": 1e-10},
    ).x
    coefficient = float(np.exp((y - np.logaddexp(x, equal)).mean()))
    return CostLaw(coefficient=coefficient, exponent=1.0, fixed=coefficient * float(np.exp(equal)))


def _misfit(law: CostLaw, sizes: np.ndarray, cost: np.ndarray) -> float:
    """Root mean square of the residuals of log cost."""
    return float(np.sqrt(np.mean((np.log(cost) - np.log(law(sizes))) ** 2)))


def group_costs(runs: Runs) -> dict[str, CostLaw]:
    """The cost of a sample in each group. Raises FitError for a group with fewer than two sizes."""
    tables = {name: runs.group_table(name) for name in runs.groups}
    return {name: fit_cost(table["params"], table["samples"], table["flops"]) for name, table in tables.items()}
