"""The methods everybody uses: power laws of minima, isoFLOP parabolas, and parametric laws fitted by least squares.

Every fit answers the same four questions, see `ClassicalFit`.
"""

from forecast.classical.bootstrap import bootstrap
from forecast.classical.columns import Columns, columns
from forecast.classical.from_runs import METHODS, fit, fit_return
from forecast.classical.frontier import FrontierLaw, Minima, Profiles, isoflop_profiles, minima, power_law
from forecast.classical.huber import huber_lse
from forecast.classical.ols import Line, ReturnLine, fit_line, return_on_loss
from forecast.classical.parabola import Parabola, ParabolaLaw, fit_parabolas, parabola
from forecast.classical.parametric import ParametricLaw
from forecast.classical.result import ClassicalFit, Interval, LogForecast
from forecast.classical.returns import RETURN_METHODS, ReturnFrontier, best_return
from forecast.classical.varpro import varpro
from forecast.runs.cost import CostLaw, fit_cost

__all__ = [
    "METHODS",
    "RETURN_METHODS",
    "ClassicalFit",
    "Columns",
    "CostLaw",
    "FrontierLaw",
    "Interval",
    "Line",
    "LogForecast",
    "Minima",
    "Parabola",
    "ParabolaLaw",
    "ParametricLaw",
    "Profiles",
    "ReturnFrontier",
    "ReturnLine",
    "best_return",
    "bootstrap",
    "columns",
    "fit",
    "fit_cost",
    "fit_line",
    "fit_parabolas",
    "fit_return",
    "huber_lse",
    "isoflop_profiles",
    "minima",
    "parabola",
    "power_law",
    "return_on_loss",
    "varpro",
]
