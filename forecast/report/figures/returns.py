"""Return: against loss, and against compute with what is recommended, the picture of the whole."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from matplotlib.typing import ColorType

from forecast.numbers import count, plain, power
from forecast.report.figures.style import (
    CHOSEN,
    FAINT,
    INK,
    SHADE,
    SMALL,
    TILE,
    WIDE,
    Size,
    band_keys,
    beyond,
    fan,
    interval,
    interval_key,
    paint,
    point_key,
    row_keys,
    shade_key,
)
from forecast.report.figures.ticks import label_log, label_log_from_zero, log_ticks
from forecast.report.figures.view import View

SIZES = ListedColormap(colormaps["viridis_r"](np.linspace(0.18, 0.82, 256)), "sizes")
"""Colours of model sizes, small to large: to be seen on white and on black."""
_ROOM = 0.22  # of the height of the axes, that the words of the headline take
_FAR = 2.0  # log return below the best that the same compute bought: without losses, an axis need not reach further


def return_on_loss(view: View) -> Figure:
    """Return against loss, better to the right: rows by size, and the map of loss to return with its bands."""
    return paint(SMALL, lambda axes: draw_return_on_loss(axes, view))


def draw_return_on_loss(axes: Axes, view: View) -> list[Artist]:
    """The picture of `return_on_loss` in these axes, with its bar of sizes beside them; the keys of its legend."""
    played = view.table[view.table["return_mean"].notna()]
    fitted, aside = played[played["aside"].isna()], played[played["aside"].notna()]
    assert view.recommendation.loss is not None
    least = min(float(view.recommendation.loss["q05"]), float(fitted["loss"].min())) / 1.05
    losses = np.geomspace(least, float(fitted["loss"].max()) * 1.3, 81)
    reference = view.posterior.reference(view.group).params
    draws = np.broadcast_to(np.log(losses), (_draws(view), losses.size))
    runs = view.few.returns_at(draws, reference, group=view.group, new_run=True)
    q = fan(axes, losses, runs)
    sizes = LogNorm(float(view.table["params"].min()), float(view.table["params"].max()))
    hollow(axes, aside["loss"], aside["return_mean"])
    axes.scatter(
        fitted["loss"], fitted["return_mean"], s=18, c=fitted["params"], norm=sizes, cmap=SIZES, linewidths=0, zorder=4
    )
    return_axis(axes, fitted["return_mean"].to_numpy(), q[[0, 4]])
    label_log(axes.xaxis, losses[0], losses[-1], plain, 5)
    axes.invert_xaxis()
    unseen = _unseen(axes, float(fitted["loss"].min()))
    _size_bar(axes, sizes)
    axes.set_xlabel(f"loss ({view.unit}), better to the right")
    axes.set_ylabel("return")
    keys = [*band_keys(), point_key("rows, by size", SIZES(0.5)), *unseen]
    return [*keys, point_key("rows set aside", FAINT, hollow=True)] if len(aside) else keys


def _draws(view: View) -> int:
    return view.frontier.best.shape[0]


def _unseen(axes: Axes, best: float) -> list[Artist]:
    """Shade the losses below every row's, on an inverted axis; its key."""
    left = axes.get_xlim()[1]
    if left >= best:
        return []
    axes.axvspan(left, best, color=SHADE, alpha=0.1, linewidth=0, zorder=0)
    return [shade_key("reached by no row")]


def _size_bar(axes: Axes, sizes: LogNorm) -> None:
    bar = axes.figure.colorbar(ScalarMappable(sizes, SIZES), ax=axes, shrink=0.8, aspect=30, pad=0.02)
    assert sizes.vmin is not None
    assert sizes.vmax is not None
    bar.set_ticks(log_ticks(sizes.vmin, sizes.vmax, 5))
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda x, _: count(x)))
    bar.ax.minorticks_off()
    bar.ax.set_title("N", fontsize="medium")
    bar.outline.set_visible(False)  # type: ignore[operator]
    bar.ax.tick_params(length=2)


def return_axis(axes: Axes, values: np.ndarray, band: np.ndarray) -> None:
    """Logarithmic where the positive returns seen span over a factor of five, with room for a zero; else plain.

    Plain, too, where returns are seen further below zero than the least positive one lies above it.
    """
    low, high = float(np.min(values)), float(max(np.max(values), np.max(band)))
    least = float(np.min(values[values > 0], initial=np.inf))
    if low > -least and np.max(values) / least > 5:
        if low > 0:
            label_log(axes.yaxis, max(min(low, float(np.min(band))), low / 2) / 1.2, high * 1.2, plain)
        else:
            label_log_from_zero(axes, low, least / 1.2, high * 1.2, plain)
        return
    low = min(low, float(np.min(band)))
    room = 0.05 * (high - low)
    axes.set_ylim(low - room, high + room)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: plain(y)))


def headline(view: View, size: Size = WIDE) -> Figure:
    """What compute buys: return (loss, where there are no returns) of a new run of the recommended configuration."""
    return paint(size, lambda axes: draw_headline(axes, view, words=size.wide))


def tile(view: View) -> Figure:
    """The headline without words, small, under the name of its group."""
    figure = paint(TILE, lambda axes: draw_headline(axes, view, words=False))
    (axes,) = figure.axes
    axes.set_xlabel("")
    axes.set_ylabel("")
    return figure


def draw_headline(axes: Axes, view: View, *, words: bool = True) -> list[Artist]:
    """The picture of `headline` in these axes, the recommendation in words if so wished; the keys of its legend."""
    target = view.headline_column
    draws = view.path.loss if target == "loss" else view.path.returns
    assert draws is not None
    q = fan(axes, view.frontier.flops, draws)
    rows = view.table[view.table[target].notna()]
    keys = draw_rows(axes, view, target)
    near = 0.3 if view.posterior.has_losses else _FAR
    values = rows.loc[rows["aside"].isna() & (rows["excess"] < near), target].to_numpy()
    if target == "loss":
        label_log(axes.yaxis, min(values.min(), q[0].min()) / 1.15, max(values.max(), q[4].max()) * 1.15, plain)
    else:
        return_axis(axes, values, q[[0, 4]])
    label_log(axes.xaxis, view.frontier.flops[0] / 1.3, view.frontier.flops[-1], power, 8 if words else 5)
    keys += beyond(axes, view.largest)
    recommendation = view.recommendation
    chosen = recommendation.loss if target == "loss" else recommendation.returns
    assert chosen is not None
    interval(axes, recommendation.flops, chosen)
    if words:
        _say(axes, view, target, q)
    axes.set_xlabel("compute C (FLOPs)")
    axes.set_ylabel("return of a new run" if target == "return_mean" else f"loss ({view.unit})")
    return [*band_keys(), interval_key("recommended run"), *keys]


def draw_rows(axes: Axes, view: View, column: str) -> list[Artist]:
    """Rows against compute: those near the best, the others, and those set aside; their keys."""
    rows = view.table[view.table[column].notna()]
    fitted, aside = rows[rows["aside"].isna()], rows[rows["aside"].notna()]
    near = view.near.reindex(fitted.index)
    hollow(axes, aside["flops"], aside[column])
    for some, size, colour, order in ((fitted[~near], 9, FAINT, 2.0), (fitted[near], 16, INK, 3.5)):
        axes.scatter(some["flops"], some[column], s=size, color=colour, linewidths=0, zorder=order)
    return row_keys(view.near_words, others=bool((~near).any()), aside=bool(len(aside)))


def hollow(axes: Axes, x: pd.Series, y: pd.Series, colour: ColorType = FAINT) -> None:
    """Rows that were set aside."""
    axes.scatter(x, y, s=12, facecolors="none", edgecolors=[colour], linewidths=0.7, alpha=0.75, zorder=2)


def _say(axes: Axes, view: View, target: str, bands: np.ndarray) -> None:
    """The recommendation in words, in the corner that the bands leave free."""
    recommendation = view.recommendation
    q = recommendation.loss if target == "loss" else recommendation.returns
    assert q is not None
    rising = target == "return_mean"
    text = (
        f"{power(recommendation.flops)} FLOPs: train {count(recommendation.params)} parameters\n"
        f"on {count(recommendation.samples)} samples, for a {target.removesuffix('_mean')} of\n"
        f"{plain(q['median'])}  (90%: {plain(q['q05'])} to {plain(q['q95'])})"
    )
    x, y, aligned = _free_corner(axes, view.frontier.flops, bands, rising=rising)
    axes.text(x, y, text, transform=axes.transAxes, color=CHOSEN, linespacing=1.45, zorder=8, **aligned)


def _free_corner(axes: Axes, flops: np.ndarray, bands: np.ndarray, *, rising: bool) -> tuple[float, float, Any]:
    """Where words hide least, as parts of the axes, and how they are aligned there.

    bands: quantiles [5, T] at `flops`; they end above the lower right corner where they rise, below the upper right one
    where they fall, or leave no room there, so that the corner on the left is taken.
    """
    right = flops > axes.get_xlim()[0] ** 0.4 * flops[-1] ** 0.6
    edge = bands[0 if rising else 4, right]
    to_axes = axes.transData + axes.transAxes.inverted()
    heights = to_axes.transform(np.column_stack([flops[right], edge]))[:, 1]
    room = heights.min() if rising else 1 - heights.max()
    if room > _ROOM:
        return 0.985, 0.05 if rising else 0.95, {"ha": "right", "va": "bottom" if rising else "top"}
    return 0.015, 0.95 if rising else 0.05, {"ha": "left", "va": "top" if rising else "bottom"}
