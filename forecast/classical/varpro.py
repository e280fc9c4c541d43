"""Variable projection: nonnegative least squares for (E, A, B) inside, a search over the two exponents outside."""

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize

from forecast.classical.columns import Columns
from forecast.classical.parametric import FitRows, ParametricLaw, build_law, fit_rows
from forecast.classical.result import FloatArray

# Outside this range a power is a constant or a step over any table's range, and the three terms are not told apart.
MIN_EXPONENT, MAX_EXPONENT = 1e-3, 10.0
STARTS = 3


def varpro(
    params: ArrayLike,
    samples: ArrayLike,
    flops: ArrayLike,
    loss: ArrayLike,
    *,
    max_loss: float | None = None,
    weights: ArrayLike | None = None,
    warm: ParametricLaw | None = None,
) -> ParametricLaw:
    """Least squares of loss on E + A·N^-α + B·D^-β with E, A, B >= 0; inputs of shape (rows,).

    For given exponents the law is linear, so only two parameters are searched: a grid, then from its best three points
    a trust-region descent of the projected residuals (Golub and Pereyra 1973). Squares are of loss in nats, not of log
    loss, so rows of high loss decide; `max_loss` keeps only rows with loss below it. `weights` and `warm` are as in
    `huber_lse`. A term that does not help gets coefficient zero.

    Raises FitError when the rows left cannot determine five parameters, and ForecastError for weights that do not fit
    the rows.
    """
    table = Columns(params=params, samples=samples, flops=flops, loss=loss)  # pyright: ignore[reportArgumentType]
    rows = fit_rows(table, max_loss, weights)
    problem = _Projection.of(rows)
    axis = np.geomspace(0.05, 3.0, 24 if warm is None else 6)
    grid = sorted(product(axis, axis), key=lambda pair: float((problem.residual(np.array(pair)) ** 2).sum()))
    begin = [np.array(pair) for pair in grid[: STARTS if warm is None else 1]]
    if warm is not None:
        begin.insert(0, np.clip(warm.theta[3:], 1.01 * MIN_EXPONENT, 0.99 * MAX_EXPONENT))
    descents = [_descend(problem, start) for start in begin]
    exponents = min(descents, key=lambda pair: float((problem.residual(pair) ** 2).sum()))
    with np.errstate(divide="ignore"):  # an absent term has log coefficient -inf
        centred = np.concatenate([np.log(problem.coefficients(exponents)), exponents])
    return build_law("varpro", centred, rows, table)


@dataclass(frozen=True)
class _Projection:
    """The linear problem inside; columns are scaled to unit length, for powers of N and D differ by many decades."""

    rows: FitRows
    root_weight: FloatArray
    target: FloatArray

    @classmethod
    def of(cls, rows: FitRows) -> "_Projection":
        root = np.sqrt(rows.weights)
        return cls(rows, root, root * np.exp(rows.log_loss))

    def coefficients(self, exponents: FloatArray) -> FloatArray:
        """The best nonnegative (E, A, B) of the centred columns."""
        design, length = self._design(exponents)
        return optimize.nnls(design, self.target)[0] / length

    def residual(self, exponents: FloatArray) -> FloatArray:
        """Weighted residuals after projection, shape (rows,)."""
        design, _ = self._design(exponents)
        return design @ optimize.nnls(design, self.target)[0] - self.target

    def _design(self, exponents: FloatArray) -> tuple[FloatArray, FloatArray]:
        logs = np.stack(
            [
                np.zeros_like(self.rows.log_params),
                -exponents[0] * self.rows.log_params,
                -exponents[1] * self.rows.log_samples,
            ],
            axis=1,
        )
        columns = self.root_weight[:, None] * np.exp(logs)
        length = np.sqrt((columns**2).sum(axis=0))
        return columns / length, length


def _descend(problem: _Projection, start: FloatArray) -> FloatArray:
    solution = optimize.least_squares(
        problem.residual,
        start,
        jac="3-point",
        bounds=(MIN_EXPONENT, MAX_EXPONENT),
        xtol=1e-14,
        ftol=1e-14,
        gtol=1e-14,
        max_nfev=100,
    )
    return solution.x
