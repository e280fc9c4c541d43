"""What every classical method answers with."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from forecast.errors import ForecastError

FloatArray = NDArray[np.float64]
CostPerSample = Callable[[FloatArray], FloatArray]
"""Parameters -> training FLOPs per sample, elementwise."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate and its two-sided interval; the ends are None where the method has none (a law without bootstrap)."""

    value: float
    lower: float | None
    upper: float | None
    level: float


@dataclass(frozen=True, kw_only=True)
class LogForecast:
    """Student-t forecasts of a log quantity: `mean_log + sd_log * t(dof)`, arrays of one shape.

    `sd_log` is the scale of the t, which is its standard deviation only as dof grows; `sd` is the standard deviation.
    """

    mean_log: FloatArray
    sd_log: FloatArray
    dof: FloatArray

    @property
    def sd(self) -> FloatArray:
        """Standard deviation of the log quantity; infinite at two degrees of freedom or fewer."""
        heavy = self.dof <= 2
        dof = np.where(heavy, 3.0, self.dof)
        # 1 / (1 - 2/dof) rather than dof / (dof - 2), which is inf / inf for the normal limit.
        inflation = np.where(heavy, np.inf, np.sqrt(1.0 / (1.0 - 2.0 / dof)))
        return np.where(self.sd_log == 0, 0.0, self.sd_log * inflation)

    def quantile(self, q: ArrayLike) -> FloatArray:
        """Quantiles on the natural scale (nats for loss), of shape `shape(q) + shape(mean_log)`.

        Raises ForecastError when a level is not strictly between 0 and 1.
        """
        levels = np.asarray(q, dtype=np.float64)
        if not np.all((levels > 0) & (levels < 1)):
            raise ForecastError(f"quantile levels must lie strictly between 0 and 1, got {q}; pass for example 0.05.")
        levels = levels.reshape(levels.shape + (1,) * self.mean_log.ndim)
        with np.errstate(over="ignore"):  # one degree of freedom has quantiles beyond the largest float
            return np.exp(self.mean_log + self.sd_log * stats.t.ppf(levels, self.dof))


class ClassicalFit(Protocol):
    """The common interface; a back-test and a report need nothing else."""

    @property
    def name(self) -> str:
        """One of power_law, parabola, huber_lse, varpro."""
        ...

    def exponents(self, level: float = 0.9) -> dict[str, Interval]:
        """Exponents against compute C at the optimum, by quantity: loss (negative), params, samples.

        A law with an irreducible loss has no exponent of minimal loss; it gives `reducible_loss` in its place.
        """
        ...

    def forecast_loss(self, params: ArrayLike, samples: ArrayLike, flops: ArrayLike) -> LogForecast:
        """Forecast of log loss (nats) for new runs; the three inputs broadcast."""
        ...

    def optimal(self, flops: ArrayLike, cost: CostPerSample | None = None) -> tuple[FloatArray, FloatArray]:
        """Parameters and samples of least loss that spend the budget; `cost` defaults to the table's own."""
        ...


def check_level(level: float) -> None:
    """Raise ForecastError unless 0 < level < 1."""
    if not 0 < level < 1:
        raise ForecastError(
            f"the level of an interval must lie strictly between 0 and 1, got {level}; pass 0.9 for 90%."
        )
