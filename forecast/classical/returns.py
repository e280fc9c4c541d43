"""Power laws of the best return in compute, as Tuyls et al. fit them to reinforcement learning."""

from dataclasses import dataclass, replace

from numpy.typing import ArrayLike

from forecast.classical.frontier import FrontierLaw, Minima, power_law
from forecast.classical.ols import Line
from forecast.classical.parabola import parabola
from forecast.classical.result import CostPerSample, FloatArray, Interval, LogForecast
from forecast.errors import FitError, ForecastError
from forecast.runs.table import Runs

RETURN_METHODS = ("power_law", "parabola")


@dataclass(frozen=True, kw_only=True, eq=False)
class ReturnFrontier:
    """Power laws of best return, and of the params and samples that give it, in compute C (FLOPs).

    law: of the reciprocal of the return. not_positive: configurations left out, since a mean return over seeds that is
    zero or negative has no logarithm.
    """

    returns: Line
    law: FrontierLaw
    not_positive: int

    @property
    def name(self) -> str:
        """One of power_law, parabola."""
        return self.law.name

    @property
    def used(self) -> Minima:
        """The points that were fitted, `loss` being the reciprocal of the return."""
        return self.law.used

    def exponents(self, level: float = 0.9) -> dict[str, Interval]:
        """Exponents in C of best return, optimal params and optimal samples, with Student-t intervals."""
        exponents = self.law.exponents(level)
        return {"return": self.returns.exponent(level), "params": exponents["params"], "samples": exponents["samples"]}

    def forecast_return(self, flops: ArrayLike) -> LogForecast:
        """Student-t prediction of the log of the best return at `flops`."""
        return self.returns.forecast(flops)

    def optimal(self, flops: ArrayLike, cost: CostPerSample | None = None) -> tuple[FloatArray, FloatArray]:
        """Parameters and samples of best return that spend the budget; `cost` defaults to the table's own."""
        return self.law.optimal(flops, cost)


def best_return(runs: Runs, method: str = "power_law") -> ReturnFrontier:
    """Power laws through the best return at each budget, on a table of one group without losses.

    method: "power_law" takes the best size of each isoFLOP profile, "parabola" the vertex of log return in log params.
    Seeds of one configuration are averaged first. A best size at the edge of its profile is left out.

    Raises ForecastError for another method, and FitError when fewer than three budgets remain.
    """
    if method not in RETURN_METHODS:
        raise ForecastError(f"unknown method {method!r} of returns; choose one of {', '.join(RETURN_METHODS)}.")
    means = runs.table.groupby(["params", "flops"], as_index=False)[["samples", "return_mean"]].mean()
    kept = means[means["return_mean"] > 0]
    # A maximum of the log is a minimum of the log of the reciprocal, with the same interpolation and the same vertex.
    fitter = {"power_law": power_law, "parabola": parabola}[method]
    try:
        law = fitter(kept["params"], kept["samples"], kept["flops"], 1 / kept["return_mean"])
    except FitError as error:
        if len(kept) < len(means):
            lost = len(means) - len(kept)
            raise FitError(
                f"{lost} of {len(means)} mean returns are zero or negative and have no logarithm; too few are left "
                "for a power law; train longer, or larger models."
            ) from None
        raise FitError(str(error).replace("minimum of loss", "maximum of return")) from None
    returns = replace(law.loss, intercept=-law.loss.intercept, slope=-law.loss.slope)
    return ReturnFrontier(returns=returns, law=law, not_positive=len(means) - len(kept))
