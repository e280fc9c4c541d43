"""The classical methods: power laws of minima, isoFLOP parabolas, and parametric laws fitted by least squares.

`fit` takes a run table and the name of a method; every fit answers the same four questions, see `ClassicalFit`. The
methods themselves take columns: `power_law`, `parabola`, `huber_lse`, `varpro`.
"""

from forecast.classical.columns import Columns
from forecast.classical.from_runs import METHODS, SHORT_NAMES, fit, fit_return
from forecast.classical.frontier import isoflop_profiles, power_law
from forecast.classical.huber import huber_lse
from forecast.classical.parabola import parabola
from forecast.classical.result import ClassicalFit, Interval, LogForecast
from forecast.classical.returns import RETURN_METHODS, ReturnFrontier, best_return
from forecast.classical.varpro import varpro

__all__ = [
    "METHODS",
    "RETURN_METHODS",
    "SHORT_NAMES",
    "ClassicalFit",
    "Columns",
    "Interval",
    "LogForecast",
    "ReturnFrontier",
    "best_return",
    "fit",
    "fit_return",
    "huber_lse",
    "isoflop_profiles",
    "parabola",
    "power_law",
    "varpro",
]
