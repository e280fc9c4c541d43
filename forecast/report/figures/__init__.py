"""Pictures of a forecast, one function a figure: a `View` in, a matplotlib Figure out.

view = figures.look(posterior, recommendation)
figures.headline(view).savefig("forecast.png", dpi=200)
"""

from forecast.report.figures.backtest import past_forecasts, side_by_side
from forecast.report.figures.drawn import png, svg
from forecast.report.figures.losses import frontier, isoflop
from forecast.report.figures.optimum import optimum, regret
from forecast.report.figures.outcome import outcome, scored_targets
from forecast.report.figures.returns import headline, return_on_loss, tile
from forecast.report.figures.style import SMALL, WIDE
from forecast.report.figures.ticks import log_ticks
from forecast.report.figures.view import Frontier, View, classical_fits, find_frontier, look

__all__ = [
    "SMALL",
    "WIDE",
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
    "scored_targets",
    "side_by_side",
    "svg",
    "tile",
]
