"""What would have been forecast at past cut-offs, over what then happened."""

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from forecast.numbers import plain, power
from forecast.report.figures.style import FAINT, INK, METHOD_NAMES, blank, house_style
from forecast.report.figures.ticks import label_log
from forecast.verify.backtest import NAMES, NEAR, NEAR_RETURN, Backtest

_SHOWN = 4  # cut-offs, spread over those there are
_SIDE_BY_SIDE = ("ours", "power_law")


@house_style
def past_forecasts(table: pd.DataFrame, excess: pd.Series, backtest: Backtest, group: str) -> Figure:
    """Fans of least loss made at a few cut-offs, this forecast's beside the power law's, over all rows of a group.

    table: the group's rows; excess: their log loss above the best that the same compute bought. Without losses, of the
    best return; returns of zero or less have no place on the axis.
    """
    methods = [m for m in _SIDE_BY_SIDE if m in drawn_methods(backtest, group)]
    figure, panels = blank(columns=len(methods), height=3.9)
    for axes, method in zip(panels, methods, strict=True):
        draw_past(axes, table, excess, backtest, group, method)
    panels[0].set_ylabel(height_label(table))
    return figure


def drawn_methods(backtest: Backtest, group: str) -> list[str]:
    """The methods that have fans to draw."""
    return list(backtest.paths.loc[backtest.paths["group"] == group, "method"].unique())


def height_label(table: pd.DataFrame) -> str:
    """Label of the axis of heights."""
    return "loss (nats per action)" if "loss" in table else "return"


def draw_past(axes: Axes, table: pd.DataFrame, excess: pd.Series, backtest: Backtest, group: str, method: str) -> None:
    """The panel of `past_forecasts` for one method in these axes."""
    measured, limit = ("loss", NEAR) if "loss" in table else ("return_mean", NEAR_RETURN)
    table = table[table[measured] > 0]
    paths = backtest.paths[backtest.paths["group"] == group]
    near = excess.reindex(table.index) < limit
    cutoffs = np.sort(paths["cutoff"].unique())
    shown = cutoffs[np.unique(np.linspace(0, len(cutoffs) - 1, _SHOWN).round().astype(int))]
    colours = [colormaps["viridis"](x) for x in np.linspace(0.05, 0.8, len(shown))]
    heights = table.loc[near, measured]
    axes.scatter(table.loc[~near, "flops"], table.loc[~near, measured], s=4, color=FAINT, linewidths=0, zorder=1)
    axes.scatter(table.loc[near, "flops"], table.loc[near, measured], s=9, color=INK, linewidths=0, zorder=4)
    label_log(axes.yaxis, float(heights.min()) / 1.9, float(heights.max()) * 1.5, plain)
    label_log(axes.xaxis, float(table["flops"].min()) / 1.3, float(table["flops"].max()) * 3, power)
    for cutoff, colour in zip(shown, colours, strict=True):
        _fan(axes, paths[(paths["method"] == method) & (paths["cutoff"] == cutoff)], colour)
    axes.set_title(METHOD_NAMES.get(method, NAMES.get(method, method)), fontsize=9, loc="left")
    axes.set_xlabel("compute C (FLOPs)")


def _fan(axes: Axes, path: pd.DataFrame, colour: tuple[float, ...]) -> None:
    if path.empty:
        return
    axes.fill_between(path["flops"], path["q05"], path["q95"], color=colour, alpha=0.16, linewidth=0, zorder=2)
    axes.fill_between(path["flops"], path["q25"], path["q75"], color=colour, alpha=0.3, linewidth=0, zorder=2.1)
    axes.plot(path["flops"], path["median"], color=colour, linewidth=1.4, zorder=3)
    axes.axvline(float(path["cutoff"].iloc[0]), color=colour, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1.5)
