"""Return: against loss, and against compute with what is recommended, the picture of the whole."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from forecast.numbers import count, plain, power
from forecast.report.figures.style import (
    CHOSEN,
    FAINT,
    FORECAST,
    INK,
    QUIET,
    EndLabel,
    beyond,
    blank,
    fan,
    house_style,
    label_ends,
)
from forecast.report.figures.ticks import label_log, label_log_from_zero, log_ticks
from forecast.report.figures.view import View

_FAR = 2.0  # log return below the best that the same compute bought: without losses, an axis need not reach further


@house_style
def return_on_loss(view: View) -> Figure:
    """Return against loss, better to the right: rows by size, and the map of loss to return with its bands."""
    figure, (axes,) = blank(height=4.8)
    draw_return_on_loss(axes, view)
    return figure


def draw_return_on_loss(axes: Axes, view: View) -> None:
    """The picture of `return_on_loss` in these axes, with its bar of sizes beside them."""
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
    axes.scatter(
        aside["loss"], aside["return_mean"], s=13, facecolors="none", edgecolors=FAINT, linewidths=0.7, zorder=2
    )
    axes.scatter(
        fitted["loss"], fitted["return_mean"], s=20, c=fitted["params"], norm=sizes, cmap="viridis_r", linewidths=0.4,
        edgecolors="white", zorder=4,
    )  # fmt: skip
    return_axis(axes, fitted["return_mean"].to_numpy(), q[[0, 4]])
    label_log(axes.xaxis, losses[0], losses[-1], plain)
    axes.invert_xaxis()
    _unseen(axes, float(fitted["loss"].min()))
    _size_bar(axes, sizes)
    axes.set_xlabel("loss (nats per action), better to the right")
    axes.set_ylabel("return")


def _draws(view: View) -> int:
    return view.frontier.best.shape[0]


def _unseen(axes: Axes, best: float) -> None:
    """Shade the losses below every row's, on an inverted axis."""
    left = axes.get_xlim()[1]
    if left < best:
        axes.axvspan(left, best, color="#000000", alpha=0.045, linewidth=0, zorder=0)


def _size_bar(axes: Axes, sizes: LogNorm) -> None:
    bar = axes.figure.colorbar(ScalarMappable(sizes, "viridis_r"), ax=axes, shrink=0.7, aspect=30, pad=0.015)
    assert sizes.vmin is not None
    assert sizes.vmax is not None
    bar.set_ticks(log_ticks(sizes.vmin, sizes.vmax))
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda x, _: count(x)))
    bar.ax.minorticks_off()
    bar.ax.set_title("N", fontsize=8)
    bar.outline.set_visible(False)  # type: ignore[operator]
    bar.ax.tick_params(length=2, labelsize=7.5)


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


@house_style
def headline(view: View) -> Figure:
    """What compute buys: return (loss, where there are no returns) of a new run of the recommended configuration."""
    figure, (axes,) = blank(height=4.9)
    draw_headline(axes, view)
    return figure


def draw_headline(axes: Axes, view: View) -> None:
    """The picture of `headline` in these axes."""
    target = "return_mean" if view.path.returns is not None else "loss"
    draws = view.path.returns if view.path.returns is not None else view.path.loss
    assert draws is not None
    q = fan(axes, view.frontier.flops, draws)
    rows = view.table[view.table[target].notna()]
    _headline_rows(axes, view, target)
    near = 0.3 if view.posterior.has_losses else _FAR
    values = rows.loc[rows["aside"].isna() & (rows["excess"] < near), target].to_numpy()
    if target == "loss":
        label_log(axes.yaxis, min(values.min(), q[0].min()) / 1.15, max(values.max(), q[4].max()) * 1.15, plain)
    else:
        return_axis(axes, values, q[[0, 4]])
    label_log(axes.xaxis, view.frontier.flops[0] / 1.3, view.frontier.flops[-1], power)
    beyond(axes, view.largest)
    _recommended(axes, view)
    names = zip(q[:, -1], ("", "", "median", "50%", "90%"), strict=True)
    label_ends(axes, [EndLabel(float(y), text, FORECAST) for y, text in names if text])
    axes.set_xlabel("compute C (FLOPs)")
    axes.set_ylabel("return of a new run" if target == "return_mean" else "loss of a new run (nats per action)")


def _headline_rows(axes: Axes, view: View, target: str) -> None:
    rows = view.table[view.table[target].notna()]
    fitted, aside = rows[rows["aside"].isna()], rows[rows["aside"].notna()]
    near = view.near.reindex(fitted.index)
    axes.scatter(aside["flops"], aside[target], s=12, facecolors="none", edgecolors=FAINT, linewidths=0.7, zorder=2)
    axes.scatter(fitted.loc[~near, "flops"], fitted.loc[~near, target], s=9, color=FAINT, linewidths=0, zorder=2)
    axes.scatter(fitted.loc[near, "flops"], fitted.loc[near, target], s=17, color=INK, linewidths=0, zorder=3.5)


def _recommended(axes: Axes, view: View) -> None:
    """The recommended run as a point with its 50% and 90% intervals, and what it is in words."""
    recommendation = view.recommendation
    q = recommendation.returns if recommendation.returns is not None else recommendation.loss
    assert q is not None
    for low, high, width in (("q05", "q95", 1.3), ("q25", "q75", 3.6)):
        axes.plot(
            [recommendation.flops] * 2,
            [q[low], q[high]],
            color=CHOSEN,
            linewidth=width,
            solid_capstyle="butt",
            zorder=6,
        )
    axes.plot(
        recommendation.flops, q["median"], marker="D", markersize=7, color=CHOSEN, markeredgecolor="white", zorder=7
    )
    name = "return" if recommendation.returns is not None else "loss"
    text = (
        f"{power(recommendation.flops)} FLOPs: train {count(recommendation.params)} parameters\n"
        f"on {count(recommendation.samples)} samples, for a {name} of\n"
        f"{plain(q['median'])}  (90%: {plain(q['q05'])} to {plain(q['q95'])})"
    )
    low = name == "return"  # the corner that the fan leaves free
    axes.annotate(
        text,
        (recommendation.flops, q["q05" if low else "q95"]),
        xytext=(0.985, 0.3 if low else 0.8),
        textcoords="axes fraction",
        ha="right",
        va="center",
        fontsize=8.5,
        color=CHOSEN,
        linespacing=1.45,
        zorder=8,
        bbox={"boxstyle": "round,pad=0.3", "facecolor": "white", "edgecolor": "none", "alpha": 0.85},
        arrowprops={
            "arrowstyle": "-",
            "color": CHOSEN,
            "linewidth": 0.8,
            "shrinkB": 3,
            "relpos": (0.6, 1.0 if low else 0.0),
        },
    )
    note = "black: best rows of the table   grey: other rows" + ("   hollow: set aside" if view.aside else "")
    axes.text(0.0, 1.012, note, transform=axes.transAxes, fontsize=7.5, color=QUIET, va="bottom")
