"""Pictures of a forecast, one function a figure: a `View` in, a matplotlib Figure out.

view = figures.look(posterior, recommendation)
figures.headline(view).savefig("forecast.png", dpi=200)
"""

from forecast.report.figures.backtest import past_forecasts
from forecast.report.figures.losses import frontier, isoflop
from forecast.report.figures.optimum import optimum, regret
from forecast.report.figures.outcome import outcome
from forecast.report.figures.returns import headline, return_on_loss
from forecast.report.figures.style import png, svg
from forecast.report.figures.ticks import log_ticks
from forecast.report.figures.view import Frontier, View, classical_fits, find_frontier, look

__all__ = [
    "Frontier",
    "View",
    "classical_fits",
    "find_frontier",
    "frontier",
    "headline",
    "isoflop",
    "log_ticks",
    "look",
    "optimum",
    "outcome",
    "past_forecasts",
    "png",
    "regret",
    "return_on_loss",
    "svg",
]
