"""The classical methods on a run table of one group."""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

from forecast.classical.bootstrap import bootstrap
from forecast.classical.columns import Columns, columns
from forecast.classical.frontier import power_law
from forecast.classical.huber import huber_lse
from forecast.classical.ols import ReturnLine, return_on_loss
from forecast.classical.parabola import parabola
from forecast.classical.result import ClassicalFit
from forecast.classical.varpro import varpro
from forecast.errors import FitError, ForecastError
from forecast.runs.table import Runs

METHODS: dict[str, Callable[..., ClassicalFit]] = {
    "power_law": power_law,
    "parabola": parabola,
    "huber_lse": huber_lse,
    "varpro": varpro,
}
SHORT_NAMES = {
    "power_law": "power law",
    "parabola": "parabolas",
    "huber_lse": "Huber",
    "varpro": "var. projection",
}
"""What `METHODS` are called in tables and figures; files keep the names of `METHODS`."""
PARAMETRIC = ("huber_lse", "varpro")


def fit(runs: Runs | Columns, method: str, *, replicates: int = 0, seed: int = 0, **options: Any) -> ClassicalFit:
    """Fit one of `METHODS` to a table of one group; `options` go to that method.

    `replicates` > 0 bootstraps the parametric methods; the others have t intervals and do not take it.
    Raises ForecastError for an unknown method, several groups, or replicates of a method that does not take them, and
    FitError for rows that the method cannot use.
    """
    if method not in METHODS:
        raise ForecastError(f"unknown method {method!r}; choose one of {', '.join(METHODS)}.")
    if replicates and method not in PARAMETRIC:
        raise ForecastError(f"{method} has t intervals and no bootstrap; leave replicates at 0.")
    fitter = partial(METHODS[method], **options)
    if replicates:
        return bootstrap(cast(Any, fitter), runs, replicates=replicates, seed=seed)
    table = columns(runs)
    return fitter(table.params, table.samples, table.flops, table.loss)


def fit_return(runs: Runs, *, max_loss: float | None = None) -> ReturnLine:
    """`return_on_loss` of a table of one group. Raises FitError when it has no returns."""
    table = columns(runs)
    if "return_mean" not in runs.table:
        raise FitError("the table has no column return_mean; evaluate the runs before fitting return on loss.")
    return return_on_loss(table.loss, runs.table["return_mean"].to_numpy(float), max_loss=max_loss)
