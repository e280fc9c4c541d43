"""A straight line in log-log coordinates with Student-t intervals, and return as a line in loss."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from forecast.classical.result import FloatArray, Interval, LogForecast, check_level
from forecast.errors import FitError, ForecastError


@dataclass(frozen=True, kw_only=True)
class Line:
    """Least squares of log y on log x: y = exp(intercept) · x^slope.

    `sd` is the residual standard deviation with `dof = points - 2`; `mean_x` and `sum_squares_x` are the mean of log x
    and the sum of squares about it, all that the textbook intervals need.
    """

    intercept: float
    slope: float
    sd: float
    dof: int
    mean_x: float
    sum_squares_x: float

    @property
    def points(self) -> int:
        """Number of points the line was fitted to."""
        return self.dof + 2

    @property
    def slope_se(self) -> float:
        """Standard error of the exponent."""
        return self.sd / self.sum_squares_x**0.5

    @property
    def intercept_se(self) -> float:
        """Standard error of the log coefficient."""
        return self.sd * (1 / self.points + self.mean_x**2 / self.sum_squares_x) ** 0.5

    def exponent(self, level: float = 0.9) -> Interval:
        """The exponent with its Student-t interval."""
        half = self._t(level) * self.slope_se
        return Interval(value=self.slope, lower=self.slope - half, upper=self.slope + half, level=level)

    def coefficient(self, level: float = 0.9) -> Interval:
        """The coefficient exp(intercept), in units of y / x^slope; the interval is symmetric in its logarithm."""
        half = self._t(level) * self.intercept_se
        ends = np.exp([self.intercept, self.intercept - half, self.intercept + half])
        return Interval(value=float(ends[0]), lower=float(ends[1]), upper=float(ends[2]), level=level)

    def mean(self, x: ArrayLike) -> FloatArray:
        """The line itself at x, on the natural scale."""
        return np.exp(self.intercept + self.slope * np.log(np.asarray(x, dtype=np.float64)))

    def forecast(self, x: ArrayLike) -> LogForecast:
        """Student-t prediction of log y for one new point at each x: sd · √(1 + 1/n + (log x - mean)² / Sxx)."""
        log_x = np.log(np.asarray(x, dtype=np.float64))
        distance = (log_x - self.mean_x) ** 2 / self.sum_squares_x
        return LogForecast(
            mean_log=np.asarray(self.intercept + self.slope * log_x),
            sd_log=np.asarray(self.sd * np.sqrt(1 + 1 / self.points + distance)),
            dof=np.full(log_x.shape, float(self.dof)),
        )

    def _t(self, level: float) -> float:
        check_level(level)
        return float(stats.t.ppf(0.5 + level / 2, self.dof))


def fit_line(x: ArrayLike, y: ArrayLike, *, what: str = "y on x") -> Line:
    """Ordinary least squares of log y on log x, both of shape (points,) and positive.

    `what` names the regression in errors.

    Raises FitError with fewer than three points or fewer than two distinct x, and ForecastError for columns of two
    lengths and for a value that has no logarithm.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise ForecastError(f"the line of {what} got shapes {x.shape} and {y.shape}; pass two columns of one length.")
    if not (np.all(np.isfinite(x) & (x > 0)) and np.all(np.isfinite(y) & (y > 0))):
        raise ForecastError(f"the line of {what} got a value that is not finite and positive; leave such points out.")
    distinct = np.unique(x).size
    if x.size < 3 or distinct < 2:
        raise FitError(
            f"the line of {what} got {x.size} points at {distinct} distinct values; "
            "add runs until there are three points or more at two or more."
        )
    log_x, log_y = np.log(x), np.log(y)
    mean_x, mean_y = float(log_x.mean()), float(log_y.mean())
    sum_squares_x = float(((log_x - mean_x) ** 2).sum())
    slope = float(((log_x - mean_x) * (log_y - mean_y)).sum()) / sum_squares_x
    residual = log_y - mean_y - slope * (log_x - mean_x)
    dof = x.size - 2
    return Line(
        intercept=mean_y - slope * mean_x,
        slope=slope,
        sd=float(np.sqrt((residual**2).sum() / dof)),
        dof=dof,
        mean_x=mean_x,
        sum_squares_x=sum_squares_x,
    )


@dataclass(frozen=True, kw_only=True)
class ReturnLine:
    """Log return as a line in log loss, and how many rows had to be left out."""

    line: Line
    without_return: int
    not_positive: int
    above_max_loss: int

    def exponent(self, level: float = 0.9) -> Interval:
        """Exponent of return in loss (negative: less loss, more return)."""
        return self.line.exponent(level)

    def forecast(self, loss: ArrayLike) -> LogForecast:
        """Student-t prediction of log return for a new run of this loss (nats)."""
        return self.line.forecast(loss)


def return_on_loss(loss: ArrayLike, return_mean: ArrayLike, *, max_loss: float | None = None) -> ReturnLine:
    """Regress log mean return on log loss (nats), as Tuyls et al. do; both of shape (rows,).

    Rows whose return is missing, zero or negative have no logarithm: they are left out and counted, as are rows with
    loss at or above `max_loss`. Raises FitError when fewer than three rows remain.
    """
    loss, reward = np.asarray(loss, dtype=np.float64), np.asarray(return_mean, dtype=np.float64)
    if loss.shape != reward.shape:
        raise ForecastError(
            f"loss has shape {loss.shape} and return_mean {reward.shape}; pass two columns of one length."
        )
    missing = np.isnan(reward)
    not_positive = reward <= 0
    above = ~missing & ~not_positive & (loss >= (np.inf if max_loss is None else max_loss))
    kept = ~(missing | not_positive | above)
    return ReturnLine(
        line=fit_line(loss[kept], reward[kept], what="return on loss"),
        without_return=int(missing.sum()),
        not_positive=int(not_positive.sum()),
        above_max_loss=int(above.sum()),
    )
