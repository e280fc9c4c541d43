"""Loss: the isoFLOP profiles, and the least loss that compute buys."""

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.typing import ColorType

from forecast.classical import isoflop_profiles
from forecast.figures.style import (
    CHOSEN,
    FAINT,
    FORECAST,
    INK,
    METHOD_COLOURS,
    METHOD_NAMES,
    QUIET,
    EndLabel,
    beyond,
    blank,
    fan,
    house_style,
    label_ends,
)
from forecast.figures.ticks import count, label_log, plain, power
from forecast.figures.view import NEAR_FRONTIER, View

_PROFILES = 5  # budgets of the table that are drawn
_REACH = 30.0  # factor of size on either side of the optimum that a profile is drawn for
_CLOSE = 1.12  # rows within this factor of a budget that were set aside are shown with it


@house_style
def isoflop(view: View) -> Figure:
    """Loss against model size on a handful of budgets: rows, the law with its 90% band, and where it is least."""
    figure, (axes,) = blank(height=5.2)
    budgets = [*_budgets(view.fitted), view.recommendation.flops]
    colours = [*(colormaps["viridis"](x) for x in np.linspace(0.08, 0.76, len(budgets) - 1)), CHOSEN]
    curves, rows = [], []
    for budget, colour in zip(budgets, colours, strict=True):
        curves.append(_profile(axes, view, budget, colour, ahead=budget == budgets[-1]))
        if budget <= view.largest * 1.001:
            rows.append(_profile_rows(axes, view, budget, colour))
    fitted = view.fitted["loss"]
    low = min(float(np.min(c)) for _, c in curves)
    label_log(axes.yaxis, low / 1.12, float(fitted.max()) * 1.6, plain)
    sizes = np.concatenate([view.table["params"].to_numpy(), [view.recommendation.params]])
    label_log(axes.xaxis, sizes.min() / 1.4, sizes.max() * 1.8, count)
    for (at, curve), budget, colour in zip(curves, budgets, colours, strict=True):
        _name_profile(axes, at, curve, budget, colour, ahead=budget == budgets[-1])
    axes.set_xlabel("parameters N; at the end of each profile its budget in FLOPs")
    axes.set_ylabel("loss (nats per action)")
    return figure


def _budgets(table: pd.DataFrame) -> list[float]:
    """A handful of budgets at which three sizes or more have rows, or may be read between two of theirs."""
    try:
        budgets = isoflop_profiles(*_columns(table)).budgets
    except ValueError:
        budgets = np.unique(table["flops"])
    ranks = np.unique(np.linspace(0, budgets.size - 1, _PROFILES).round().astype(int))
    return [float(b) for b in budgets[ranks]]


def _columns(table: pd.DataFrame) -> tuple[np.ndarray, ...]:
    return tuple(table[c].to_numpy(float) for c in ("params", "samples", "flops", "loss"))


def _profile(axes: Axes, view: View, budget: float, colour: ColorType, *, ahead: bool) -> tuple[np.ndarray, np.ndarray]:
    """The law's band on one budget and its optimum; sizes [P] and median loss [P]."""
    i = int(np.argmin(np.abs(np.log(view.frontier.flops / budget))))
    nearest = view.frontier.flops[i]
    best = float(np.median(view.frontier.params[:, i])) * (budget / nearest) ** 0.5
    sizes = best * np.geomspace(1 / _REACH, _REACH, 81)
    draws = np.exp(view.few.log_loss(sizes, budget / view.few.cost[view.group](sizes), group=view.group))
    q05, median, q95 = np.quantile(draws, (0.05, 0.5, 0.95), axis=0)
    axes.fill_between(sizes, q05, q95, color=colour, alpha=0.18, linewidth=0, zorder=1.5)
    axes.plot(sizes, median, color=colour, linewidth=1.5, linestyle=(0, (5, 2)) if ahead else "-", zorder=3)
    least = int(np.argmin(median))
    axes.plot(sizes[least], median[least], marker="*", markersize=10, color=colour, markeredgecolor="white", zorder=5)
    return sizes, median


def _profile_rows(axes: Axes, view: View, budget: float, colour: ColorType) -> None:
    """The rows at a budget, filled; read between two of the same size, pale; set aside, hollow."""
    try:
        points = isoflop_profiles(*_columns(view.fitted), budgets=np.array([budget]))
    except ValueError:
        return
    for mark, strength in ((~points.interpolated, 1.0), (points.interpolated, 0.4)):
        face = [(*to_rgb(colour), strength)]
        axes.scatter(points.params[mark], points.loss[mark], s=18, color=face, linewidths=0, zorder=4)
    aside = view.table[view.table["aside"].notna()]
    aside = aside[np.abs(np.log(aside["flops"] / budget)) < np.log(_CLOSE)]
    _hollow(axes, aside["params"], aside["loss"], colour)


def _hollow(axes: Axes, x: pd.Series, y: pd.Series, colour: ColorType = FAINT) -> None:
    axes.scatter(x, y, s=13, facecolors="none", edgecolors=[colour], linewidths=0.7, alpha=0.75, zorder=2)


def _name_profile(
    axes: Axes, sizes: np.ndarray, median: np.ndarray, budget: float, colour: ColorType, *, ahead: bool
) -> None:
    """Write the budget where its profile ends on the right."""
    i = int(np.flatnonzero(sizes <= axes.get_xlim()[1])[-1])
    text = power(float(f"{budget:.2g}")) + ("\nforecast" if ahead else "")
    where = {"xytext": (5, 0), "textcoords": "offset points", "va": "center", "annotation_clip": False}
    axes.annotate(text, (float(sizes[i]), float(median[i])), fontsize=8, color=colour, **where)


@house_style
def minimal_loss(view: View) -> Figure:
    """Least loss against compute: the fan of the law, the classical lines, and the rows."""
    figure, (axes,) = blank(height=4.8)
    frontier, wanted = view.frontier, view.recommendation.flops
    q = fan(axes, frontier.flops, frontier.loss)
    ends = [EndLabel(float(q[2, -1]), "this forecast", FORECAST)]
    for name, fit in view.fits.items():
        line = np.exp(fit.forecast_loss(*fit.optimal(frontier.flops), frontier.flops).mean_log)
        axes.plot(frontier.flops, line, color=METHOD_COLOURS[name], linewidth=1.0, zorder=2.5)
        ends.append(EndLabel(float(line[-1]), METHOD_NAMES[name], METHOD_COLOURS[name]))
    _rows(axes, view)
    lowest = min(q[0].min(), view.fitted["loss"].min())
    label_log(axes.yaxis, lowest / 1.5, float(view.fitted["loss"].max()) * 1.6, plain)
    label_log(axes.xaxis, frontier.flops[0] / 1.3, frontier.flops[-1], power)
    beyond(axes, view.largest)
    axes.axvline(wanted, color=CHOSEN, linewidth=0.9, linestyle=(0, (1, 2)), zorder=2)
    low, high = (float(np.interp(np.log(wanted), np.log(frontier.flops), q[i])) for i in (0, 4))
    axes.plot([wanted, wanted], [low, high], color=CHOSEN, linewidth=2.2, solid_capstyle="butt", zorder=4)
    label_ends(axes, ends)
    axes.set_xlabel("compute C (FLOPs)")
    axes.set_ylabel("least loss (nats per action)")
    return figure


def _rows(axes: Axes, view: View) -> None:
    fitted = view.fitted
    near = fitted["excess"] < NEAR_FRONTIER
    aside = view.table[view.table["aside"].notna()]
    _hollow(axes, aside["flops"], aside["loss"])
    axes.scatter(fitted.loc[~near, "flops"], fitted.loc[~near, "loss"], s=9, color=FAINT, linewidths=0, zorder=2)
    axes.scatter(fitted.loc[near, "flops"], fitted.loc[near, "loss"], s=15, color=INK, linewidths=0, zorder=3.5)
    note = "black: within 5% of the best that its compute bought   grey: other rows   hollow: set aside"
    axes.text(0.0, 1.012, note, transform=axes.transAxes, fontsize=7.5, color=QUIET, va="bottom")
