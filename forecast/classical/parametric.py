"""The parametric law L(N, D) = E + A·N^-α + B·D^-β: forecasts and optima, whichever way it was fitted."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize

from forecast.classical.columns import Columns
from forecast.classical.result import CostPerSample, FloatArray, Interval, LogForecast, check_level
from forecast.errors import FitError, ForecastError
from forecast.runs.cost import CostLaw, fit_cost

MIN_ROWS = 6  # one more than the law has parameters
# The optimum is sought this many powers of e beyond the trained sizes, a factor of about a million on either side.
SEARCH_MARGIN = 14.0


@dataclass(frozen=True, kw_only=True, eq=False)
class ParametricLaw:
    """A fitted law, in the table's units of N and D and in nats.

    theta        (log E, log A, log B, α, β), shape (5,); log of an absent term is -inf
    scale        robust residual scale of log loss, 1.4826 · median |residual|, widened for the five parameters
    dof          rows fitted minus five, the degrees of freedom of the forecast
    left_out     rows at or above `max_loss`, which were not fitted
    draws        theta of bootstrap replicates, shape (replicates, 5), or None: intervals then have no ends
    size_range   smallest and largest params fitted
    """

    name: str
    theta: FloatArray
    scale: float
    dof: int
    left_out: int
    size_range: tuple[float, float]
    cost: CostLaw
    draws: FloatArray | None = None

    @property
    def irreducible(self) -> float:
        """E, the loss that no model and no data remove (nats)."""
        return float(np.exp(self.theta[0]))

    @property
    def coefficients(self) -> tuple[float, float]:
        """A and B, in nats · N^α and nats · D^β."""
        return float(np.exp(self.theta[1])), float(np.exp(self.theta[2]))

    @property
    def alpha(self) -> float:
        """Exponent of loss in params."""
        return float(self.theta[3])

    @property
    def beta(self) -> float:
        """Exponent of loss in samples."""
        return float(self.theta[4])

    def exponents(self, level: float = 0.9) -> dict[str, Interval]:
        """Exponents in compute on the compute-optimal path of the table's own cost law, D = C / (k·N^c).

        Where a part of that cost is fixed, they are those of models so large that it does not count.

        params β/(α + cβ), samples α/(α + cβ), reducible_loss -αβ/(α + cβ), by setting dL/dN = 0 along the budget.
        Minimal loss itself is not a power law when E > 0 and has no entry. Ends are bootstrap percentiles.

        Raises FitError when the law has no optimum (a missing term, an exponent not positive).
        """
        check_level(level)
        self._require_optimum()
        values = _path_exponents(self.theta, self.cost.exponent)
        if self.draws is None:
            return {k: Interval(value=float(v), lower=None, upper=None, level=level) for k, v in values.items()}
        tails = [0.5 - level / 2, 0.5 + level / 2]
        intervals = {}
        for key, drawn in _path_exponents(self.draws, self.cost.exponent).items():
            lower, upper = np.nanquantile(drawn, tails)
            intervals[key] = Interval(value=float(values[key]), lower=float(lower), upper=float(upper), level=level)
        return intervals

    def predict_log(self, params: ArrayLike, samples: ArrayLike) -> FloatArray:
        """Log loss of the fitted law; the inputs broadcast."""
        params, samples = np.broadcast_arrays(np.asarray(params, np.float64), np.asarray(samples, np.float64))
        return log_law(self.theta, np.log(params), np.log(samples))

    def forecast_loss(self, params: ArrayLike, samples: ArrayLike, flops: ArrayLike) -> LogForecast:
        """Student-t forecast of log loss: variance is `scale`² plus the spread of the bootstrap's predictions, if any.

        `flops` only broadcasts, so that all methods are called alike.
        """
        inputs = (np.asarray(column, np.float64) for column in (params, samples, flops))
        params, samples, _ = np.broadcast_arrays(*inputs)
        variance = np.full(params.shape, self.scale**2)
        if self.draws is not None:
            shape = (-1, 5) + (1,) * params.ndim
            by_parameter = np.moveaxis(self.draws.reshape(shape), 1, 0)
            variance = variance + log_law(by_parameter, np.log(params), np.log(samples)).var(axis=0)
        return LogForecast(
            mean_log=self.predict_log(params, samples),
            sd_log=np.sqrt(variance),
            dof=np.full(params.shape, float(self.dof)),
        )

    def optimal(self, flops: ArrayLike, cost: CostPerSample | None = None) -> tuple[FloatArray, FloatArray]:
        """Params and samples of least loss with D = C / cost(N), found on log N; `cost` must accept arrays.

        Numeric, because a cost that is not a power of N has no closed form; accurate to about 1e-6 relative.

        Raises FitError when the law has no optimum within a factor of a million of the trained sizes.
        """
        self._require_optimum()
        charge = cost or self.cost
        budget = np.asarray(flops, dtype=np.float64)
        params = np.array([self._optimal_params(one, charge) for one in budget.ravel()]).reshape(budget.shape)
        return params, budget / np.asarray(charge(params), dtype=np.float64)

    def optimal_linear_cost(self, flops: ArrayLike, flops_per_param: float) -> tuple[FloatArray, FloatArray]:
        """Closed form for C = k·N·D (Hoffmann et al. 2022, eq. 4): N = G·(C/k)^(β/(α+β)), G = (αA/βB)^(1/(α+β)).

        Raises FitError when the law has no optimum.
        """
        self._require_optimum()
        _, log_a, log_b, alpha, beta = self.theta
        log_pairs = np.log(np.asarray(flops, dtype=np.float64) / flops_per_param)
        log_g = (np.log(alpha / beta) + log_a - log_b) / (alpha + beta)
        log_params = log_g + beta / (alpha + beta) * log_pairs
        return np.exp(log_params), np.exp(log_pairs - log_params)

    def _optimal_params(self, budget: float, cost: CostPerSample) -> float:
        _, log_a, log_b, alpha, beta = self.theta

        def log_reducible(log_params: FloatArray) -> FloatArray:
            log_samples = np.log(budget) - np.log(cost(np.exp(log_params)))
            return np.logaddexp(log_a - alpha * log_params, log_b - beta * log_samples)

        low, high = np.log(self.size_range)
        grid = np.linspace(low - SEARCH_MARGIN, high + SEARCH_MARGIN, 400)
        best = int(np.argmin(log_reducible(grid)))
        if best in (0, grid.size - 1):
            raise FitError(
                f"the law has no optimum at {budget:g} FLOPs within a factor of a million of the trained sizes; "
                "ask for a budget nearer to the table's, or check the cost."
            )
        bounds = (grid[best - 1], grid[best + 1])
        minimum = optimize.minimize_scalar(
            lambda x: float(log_reducible(np.asarray(x))), bounds=bounds, method="bounded", options={"xatol": 1e-10}
        )
        return float(np.exp(minimum.x))

    def _require_optimum(self) -> None:
        if not (np.all(np.isfinite(self.theta[1:3])) and np.all(self.theta[3:] > 0)):
            raise FitError(
                f"the fitted law has A={self.coefficients[0]:g}, B={self.coefficients[1]:g}, α={self.alpha:g}, "
                f"β={self.beta:g} and so no best size for a budget; add runs that vary params at equal samples."
            )


def log_law(theta: FloatArray, log_params: FloatArray, log_samples: FloatArray) -> FloatArray:
    """Log loss of laws theta = (log E, log A, log B, α, β) on the first axis; everything else broadcasts."""
    log_e, log_a, log_b, alpha, beta = theta
    return np.logaddexp(np.logaddexp(log_a - alpha * log_params, log_b - beta * log_samples), log_e)


@dataclass(frozen=True, kw_only=True, eq=False)
class FitRows:
    """The rows that a parametric fit uses, with log N and log D centred: fits then do not depend on their units."""

    log_params: FloatArray
    log_samples: FloatArray
    log_loss: FloatArray
    weights: FloatArray
    centre: tuple[float, float]
    kept: NDArray[np.bool_]
    left_out: int

    def to_table_units(self, centred: FloatArray) -> FloatArray:
        """Theta (e, a, b, α, β) of the centred columns -> theta of the table."""
        theta = np.array(centred, dtype=np.float64)
        theta[1:3] += theta[3:] * self.centre
        return theta

    def to_centred(self, theta: FloatArray) -> FloatArray:
        """The inverse of `to_table_units`."""
        centred = np.array(theta, dtype=np.float64)
        centred[1:3] -= centred[3:] * self.centre
        return centred


def fit_rows(table: Columns, max_loss: float | None, weights: ArrayLike | None) -> FitRows:
    """Rows below `max_loss` (nats) with positive weight. Raises FitError when they cannot determine the law."""
    below = table.loss < (np.inf if max_loss is None else max_loss)
    weight = np.ones(table.loss.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    if weight.shape != table.loss.shape or not np.all(np.isfinite(weight) & (weight >= 0)):
        raise ForecastError(f"weights must be {table.loss.size} finite numbers of zero or more, one per row.")
    kept = below & (weight > 0)
    sizes, amounts = np.unique(table.params[kept]).size, np.unique(table.samples[kept]).size
    if kept.sum() < MIN_ROWS or min(sizes, amounts) < 3:
        limit = "" if max_loss is None else f" with loss below {max_loss:g}"
        raise FitError(
            f"the parametric law got {kept.sum()} rows{limit} at {sizes} model sizes and {amounts} sample counts; "
            f"it needs {MIN_ROWS} rows at three sizes and three sample counts, so add runs or raise max_loss."
        )
    log_params, log_samples = np.log(table.params[kept]), np.log(table.samples[kept])
    centre = float(log_params.mean()), float(log_samples.mean())
    return FitRows(
        log_params=log_params - centre[0],
        log_samples=log_samples - centre[1],
        log_loss=np.log(table.loss[kept]),
        weights=weight[kept] / weight[kept].sum(),
        centre=centre,
        kept=kept,
        left_out=int((~below).sum()),
    )


def build_law(name: str, centred: FloatArray, rows: FitRows, table: Columns) -> ParametricLaw:
    """The law of a fitted theta of the centred columns, with its robust residual scale."""
    residual = rows.log_loss - log_law(centred, rows.log_params, rows.log_samples)
    dof = residual.size - 5
    sizes = table.params[rows.kept]
    return ParametricLaw(
        name=name,
        theta=rows.to_table_units(centred),
        scale=float(1.4826 * np.median(np.abs(residual)) * np.sqrt(residual.size / dof)),
        dof=dof,
        left_out=rows.left_out,
        size_range=(float(sizes.min()), float(sizes.max())),
        cost=fit_cost(table.params, table.samples, table.flops),
    )


def _path_exponents(theta: FloatArray, cost_exponent: float) -> dict[str, FloatArray]:
    """Exponents on the optimal path of laws on the last axis; nan for laws without an optimum."""
    alpha, beta = theta[..., 3], theta[..., 4]
    has_optimum = np.isfinite(theta[..., 1:3]).all(axis=-1) & (alpha > 0) & (beta > 0)
    total = np.where(has_optimum, alpha + cost_exponent * beta, np.nan)
    return {"params": beta / total, "samples": alpha / total, "reducible_loss": -alpha * beta / total}
