"""What would have been forecast at past cut-offs, over what then happened."""

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from forecast.numbers import percent, plain, power
from forecast.report.figures.style import FAINT, INK, METHOD_NAMES, SMALL, Size, bands, line_key, paint, row_keys
from forecast.report.figures.ticks import label_log
from forecast.report.figures.view import unit_of_loss
from forecast.verify.backtest import NAMES, NEAR, NEAR_RETURN, Backtest

_SHOWN = 4  # cut-offs, spread over those there are
_SIDE_BY_SIDE = ("ours", "power_law")


def past_forecasts(
    table: pd.DataFrame, excess: pd.Series, backtest: Backtest, group: str, method: str, size: Size = SMALL
) -> Figure:
    """Bands of least loss that one method forecast at a few cut-offs, over all rows of a group.

    table: the group's rows; excess: their log loss above the best that the same compute bought.
    """

    def draw(axes: Axes) -> list[Artist]:
        keys = draw_past(axes, table, excess, backtest, group, method)
        axes.set_ylabel(f"loss ({unit_of_loss('return_mean' in table)})" if "loss" in table else "return")
        return keys

    return paint(size, draw)


def side_by_side(backtest: Backtest, group: str) -> list[str]:
    """Of the methods that have bands to draw, this forecast and the one to see beside it."""
    return [m for m in _SIDE_BY_SIDE if m in drawn_methods(backtest, group)]


def drawn_methods(backtest: Backtest, group: str) -> list[str]:
    """The methods that have bands to draw."""
    return list(backtest.paths.loc[backtest.paths["group"] == group, "method"].unique())


def draw_past(
    axes: Axes, table: pd.DataFrame, excess: pd.Series, backtest: Backtest, group: str, method: str
) -> list[Artist]:
    """The picture of `past_forecasts` in these axes; the keys of its legend.

    table: the group's rows; excess: their log loss above the best that the same compute bought. Without losses, of the
    best return; returns of zero or less have no place on the axis.
    """
    measured, limit = ("loss", NEAR) if "loss" in table else ("return_mean", NEAR_RETURN)
    table = table[table[measured] > 0]
    paths = backtest.paths[backtest.paths["group"] == group]
    near = excess.reindex(table.index) < limit
    cutoffs = np.sort(paths["cutoff"].unique())
    shown = cutoffs[np.unique(np.linspace(0, len(cutoffs) - 1, _SHOWN).round().astype(int))]
    colours = [colormaps["viridis"](x) for x in np.linspace(0.2, 0.8, len(shown))]
    heights = table.loc[near, measured]
    axes.scatter(table.loc[~near, "flops"], table.loc[~near, measured], s=6, color=FAINT, linewidths=0, zorder=1)
    axes.scatter(table.loc[near, "flops"], table.loc[near, measured], s=11, color=INK, linewidths=0, zorder=4)
    label_log(axes.yaxis, float(heights.min()) / 1.9, float(heights.max()) * 1.5, plain)
    label_log(axes.xaxis, float(table["flops"].min()) / 1.3, float(table["flops"].max()) * 3, power, 5)
    for cutoff, colour in zip(shown, colours, strict=True):
        _band(axes, paths[(paths["method"] == method) & (paths["cutoff"] == cutoff)], colour)
    axes.set_title(METHOD_NAMES.get(method, NAMES.get(method, method)), loc="left")
    axes.set_xlabel("compute C (FLOPs)")
    within = percent(np.expm1(limit)) if measured == "loss" else percent(-np.expm1(-limit))
    cuts = [line_key(f"from below {power(float(f'{c:.2g}'))}", of, linewidth=1.4) for c, of in zip(
        shown, colours, strict=True)]  # fmt: skip
    return [*cuts, *row_keys(f"within {within} of the best")]


def _band(axes: Axes, path: pd.DataFrame, colour: tuple[float, ...]) -> None:
    if path.empty:
        return
    q = path[["q05", "q25", "median", "q75", "q95"]].to_numpy().T
    bands(axes, path["flops"].to_numpy(), q, colour, linewidth=1.4)
    axes.axvline(float(path["cutoff"].iloc[0]), color=colour, linewidth=1.0, linestyle=(0, (1, 2)), zorder=1.5)
