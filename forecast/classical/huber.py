"""Huber log-sum-exp fit of the parametric law (Hoffmann et al. 2022, approach 3)."""

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize

from forecast.classical.columns import Columns
from forecast.classical.parametric import FitRows, ParametricLaw, build_law, fit_rows
from forecast.classical.result import FloatArray
from forecast.errors import ForecastError

WARM_STARTS = 2  # grid starts beside a warm one: enough to notice that a replicate prefers another valley
# Starts, all relative to centred logs: a share of the lowest loss for E, of the typical loss for A and B, exponents.
_LOG_E, _LOG_AB, _EXPONENTS = (-3.0, -1.0, -0.3, -0.05), (-4.0, -2.0, -1.0, 0.0), (0.1, 0.3, 0.6, 1.0, 1.6)


def huber_lse(
    params: ArrayLike,
    samples: ArrayLike,
    flops: ArrayLike,
    loss: ArrayLike,
    *,
    delta: float = 1e-3,
    max_loss: float | None = None,
    starts: int = 12,
    weights: ArrayLike | None = None,
    warm: ParametricLaw | None = None,
) -> ParametricLaw:
    """Minimise Σ w · Huber_δ(LSE(a - α log N, b - β log D, e) - log L) over (e, a, b, α, β); inputs of shape (rows,).

    The objective is evaluated on a grid of 1600 starts, the best of which, one per pair of exponents, `starts` are
    descended by L-BFGS with the analytic gradient and the winner is polished by Newton steps. Given `warm` (a fit to
    similar rows, as in a bootstrap), it is descended first and only two grid starts beside it.

    `max_loss` (nats) keeps only rows with loss below it: the law is additive only once training has left its transient.
    `weights` multiply rows.

    Raises FitError when the rows left cannot determine five parameters, and ForecastError for a delta that is not
    positive and for weights that do not fit the rows.
    """
    table = Columns(params=params, samples=samples, flops=flops, loss=loss)  # pyright: ignore[reportArgumentType]
    if not delta > 0:
        raise ForecastError(f"delta, the residual of log loss where Huber turns linear, must be positive, got {delta}.")
    rows = fit_rows(table, max_loss, weights)
    problem = _Huber(rows, delta)
    begin = _grid_starts(problem, rows, starts if warm is None else WARM_STARTS)
    if warm is not None and np.all(np.isfinite(warm.theta)):
        begin.insert(0, rows.to_centred(warm.theta))
    best = min((_descend(problem, start) for start in begin), key=lambda theta: problem.value_and_gradient(theta)[0])
    return build_law("huber_lse", _polish(problem, best), rows, table)


@dataclass(frozen=True)
class _Huber:
    """The objective in units of delta, so that its size does not depend on delta, with derivatives."""

    rows: FitRows
    delta: float

    def values(self, thetas: FloatArray) -> FloatArray:
        """Objective of many thetas, shape (starts, 5) -> (starts,)."""
        e, a, b, alpha, beta = thetas.T[:, :, None]
        fitted = np.logaddexp(np.logaddexp(a - alpha * self.rows.log_params, b - beta * self.rows.log_samples), e)
        size = np.abs(fitted - self.rows.log_loss)
        huber = np.where(size < self.delta, 0.5 * size**2 / self.delta, size - 0.5 * self.delta)
        return huber @ self.rows.weights

    def value_and_gradient(self, theta: FloatArray) -> tuple[float, FloatArray]:
        share, residual = self._shares(theta)
        slope = np.clip(residual, -self.delta, self.delta) / self.delta * self.rows.weights
        # Huber is slope · (r - clipped/2) with slope = clipped/δ, in both of its branches.
        value = float(slope @ residual - 0.5 * slope @ np.clip(residual, -self.delta, self.delta))
        pull = share * slope
        gradient = np.array([*pull.sum(axis=1), -(pull[1] @ self.rows.log_params), -(pull[2] @ self.rows.log_samples)])
        return value, gradient

    def hessian(self, theta: FloatArray) -> FloatArray:
        """Generalised Hessian: rows beyond delta contribute only the curvature of the log-sum-exp."""
        share, residual = self._shares(theta)
        x, y, w = self.rows.log_params, self.rows.log_samples, self.rows.weights
        jacobian = np.stack([share[0], share[1], share[2], -share[1] * x, -share[2] * y])
        slope = np.clip(residual, -self.delta, self.delta) / self.delta * w
        curve = np.where(np.abs(residual) < self.delta, w / self.delta, 0.0) - slope
        hessian = (jacobian * curve) @ jacobian.T
        # Σ slope · Σ_k share_k · m_k m_kᵀ, m_k the gradient of the k-th exponent of the log-sum-exp.
        pull = share * slope
        hessian[0, 0] += pull[0].sum()
        for row, (weight, column) in enumerate(((pull[1], x), (pull[2], y))):
            i, j = 1 + row, 3 + row
            hessian[i, i] += weight.sum()
            hessian[i, j] -= weight @ column
            hessian[j, i] -= weight @ column
            hessian[j, j] += weight @ column**2
        return hessian

    def _shares(self, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Share of each term (e, a, b) in the fitted loss, shape (3, rows), and the residuals of log loss."""
        e, a, b, alpha, beta = theta
        terms = np.empty((3, self.rows.log_loss.size))
        terms[0], terms[1], terms[2] = e, a - alpha * self.rows.log_params, b - beta * self.rows.log_samples
        top = terms.max(axis=0)
        np.exp(terms - top, out=terms)
        total = terms.sum(axis=0)
        return terms / total, top + np.log(total) - self.rows.log_loss


def _grid_starts(problem: _Huber, rows: FitRows, count: int) -> list[FloatArray]:
    """The best grid point of each pair of exponents, the best `count` of those."""
    lowest, typical = rows.log_loss.min(), np.median(rows.log_loss)
    offsets = np.array(list(product(_LOG_E, _LOG_AB, _LOG_AB)))
    levels = offsets + np.array([lowest, typical, typical])
    exponents = np.array(list(product(_EXPONENTS, _EXPONENTS)))
    grid = np.concatenate(
        [np.tile(levels, (len(exponents), 1)), np.repeat(exponents, len(levels), axis=0)], axis=1
    )  # exponents vary slowest
    values = problem.values(grid).reshape(len(exponents), len(levels))
    best = values.argmin(axis=1)
    order = np.argsort(values.min(axis=1), kind="stable")[:count]
    return [grid[pair * len(levels) + best[pair]] for pair in order]


def _descend(problem: _Huber, start: FloatArray) -> FloatArray:
    options = {"maxiter": 1000, "maxfun": 2000, "maxcor": 20, "ftol": 1e-12, "gtol": 1e-9}
    return optimize.minimize(problem.value_and_gradient, start, jac=True, method="L-BFGS-B", options=options).x


def _polish(problem: _Huber, theta: FloatArray) -> FloatArray:
    """Trust-region Newton: with a tiny delta L-BFGS stalls on the kinks before the optimum is sharp."""
    options = {"gtol": 1e-14, "maxiter": 100}
    polished = optimize.minimize(
        problem.value_and_gradient, theta, jac=True, hess=problem.hessian, method="trust-exact", options=options
    ).x
    return polished if problem.value_and_gradient(polished)[0] <= problem.value_and_gradient(theta)[0] else theta
