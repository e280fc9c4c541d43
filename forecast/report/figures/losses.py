"""The isoFLOP profiles, and the best that compute buys: the least loss or, without losses, the highest return."""

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.typing import ColorType

from forecast.classical import isoflop_profiles
from forecast.errors import FitError
from forecast.numbers import count, percent, plain, power
from forecast.report.figures.returns import return_axis
from forecast.report.figures.style import (
    CHOSEN,
    FAINT,
    FORECAST,
    INK,
    METHOD_COLOURS,
    QUIET,
    EndLabel,
    beyond,
    blank,
    fan,
    house_style,
    label_ends,
    method_name,
)
from forecast.report.figures.ticks import label_log
from forecast.report.figures.view import NEAR_BEST, NEAR_FRONTIER, View

_PROFILES = 5  # budgets of the table that are drawn
_REACH = 30.0  # factor of size on either side of the optimum that a profile is drawn for
_CLOSE = 1.12  # rows within this factor of a budget that were set aside are shown with it


@house_style
def isoflop(view: View) -> Figure:
    """Loss (return) against model size on a handful of budgets: rows, the law with its 90% band, and its best size."""
    figure, (axes,) = blank(height=5.2)
    draw_isoflop(axes, view)
    return figure


def draw_isoflop(axes: Axes, view: View) -> None:
    """The picture of `isoflop` in these axes."""
    budgets = [*_budgets(view), view.recommendation.flops]
    colours = [*(colormaps["viridis"](x) for x in np.linspace(0.08, 0.76, len(budgets) - 1)), CHOSEN]
    curves, rows = [], []
    for budget, colour in zip(budgets, colours, strict=True):
        curves.append(_profile(axes, view, budget, colour, ahead=budget == budgets[-1]))
        if budget <= view.largest * 1.001:
            rows.append(_profile_rows(axes, view, budget, colour))
    fitted = view.fitted[view.measured]
    label_log(axes.xaxis, *_span(view), count)
    axes.set_xlabel("parameters N; at the end of each profile its budget in FLOPs")
    if view.posterior.has_losses:
        low = min(float(np.min(c)) for _, c, _ in curves)
        label_log(axes.yaxis, low / 1.12, float(fitted.max()) * 1.6, plain)
        for (at, curve, _), budget, colour in zip(curves, budgets, colours, strict=True):
            _name_profile(axes, at, curve, budget, colour, ahead=budget == budgets[-1])
        axes.set_ylabel("loss (nats per action)")
        return
    return_axis(axes, fitted.to_numpy(), np.append(curves[-1][2], float(fitted.min())))
    ends = [float(curve[-1]) for _, curve, _ in curves]
    names = [power(float(f"{b:.2g}")) + (" forecast" if b == budgets[-1] else "") for b in budgets]
    label_ends(axes, [EndLabel(*end) for end in zip(ends, names, map(to_hex, colours), strict=True)])
    axes.set_ylabel("return")


def _span(view: View) -> tuple[float, float]:
    """Least and largest size in the picture."""
    sizes = [*view.table["params"], view.recommendation.params]
    return float(min(sizes)) / 1.4, float(max(sizes)) * 1.8


def _budgets(view: View) -> list[float]:
    """A handful of budgets at which three sizes or more have rows, or may be read between two of theirs."""
    try:
        budgets = isoflop_profiles(*_columns(view)).budgets
    except FitError:
        budgets = np.unique(view.fitted["flops"])
    ranks = np.unique(np.linspace(0, budgets.size - 1, _PROFILES).round().astype(int))
    return [float(b) for b in budgets[ranks]]


def _columns(view: View) -> tuple[np.ndarray, ...]:
    """params, samples, flops of the fitted rows and the loss, or what stands in its place, of their mean return."""
    if view.posterior.has_losses:
        return tuple(view.fitted[c].to_numpy(float) for c in ("params", "samples", "flops", "loss"))
    means = view.fitted.groupby(["params", "flops"], as_index=False)[["samples", "return_mean"]].mean()
    lifted = means["return_mean"] + view.posterior.reference(view.group).return_offset
    return (*(means[c].to_numpy(float) for c in ("params", "samples", "flops")), 1 / lifted.to_numpy(float))


def _profile(axes: Axes, view: View, budget: float, colour: ColorType, *, ahead: bool) -> tuple[np.ndarray, ...]:
    """The law's band on one budget and its optimum; sizes [P], median loss (return) [P] and upper end of the band."""
    i = int(np.argmin(np.abs(np.log(view.frontier.flops / budget))))
    nearest = view.frontier.flops[i]
    if view.posterior.has_losses:
        best = float(np.median(view.frontier.params[:, i])) * (budget / nearest) ** 0.5
        sizes = np.geomspace(best / _REACH, min(best * _REACH, max(best, _span(view)[1])), 81)
    else:
        sizes = np.geomspace(*_span(view), 81)
    samples = budget / view.few.cost[view.group](sizes)
    log_loss = view.few.log_loss(sizes, samples, group=view.group, unique_samples=view.unique_samples)
    draws = view.shown(log_loss)
    q05, median, q95 = np.quantile(draws, (0.05, 0.5, 0.95), axis=0)
    axes.fill_between(sizes, q05, q95, color=colour, alpha=0.18, linewidth=0, zorder=1.5)
    axes.plot(sizes, median, color=colour, linewidth=1.5, linestyle=(0, (5, 2)) if ahead else "-", zorder=3)
    at = int(np.argmin(median) if view.posterior.has_losses else np.argmax(median))
    axes.plot(sizes[at], median[at], marker="*", markersize=10, color=colour, markeredgecolor="white", zorder=5)
    return sizes, median, q95


def _profile_rows(axes: Axes, view: View, budget: float, colour: ColorType) -> None:
    """The rows at a budget, filled; read between two of the same size, pale; set aside, hollow."""
    try:
        points = isoflop_profiles(*_columns(view), budgets=np.array([budget]))
    except FitError:
        return
    shown = view.shown(np.log(points.loss))
    for mark, strength in ((~points.interpolated, 1.0), (points.interpolated, 0.4)):
        face = [(*to_rgb(colour), strength)]
        axes.scatter(points.params[mark], shown[mark], s=18, color=face, linewidths=0, zorder=4)
    aside = view.table[view.table["aside"].notna()]
    aside = aside[np.abs(np.log(aside["flops"] / budget)) < np.log(_CLOSE)]
    _hollow(axes, aside["params"], aside[view.measured], colour)
    if not view.posterior.has_losses:  # the seeds behind each mean
        seeds = view.fitted[np.abs(np.log(view.fitted["flops"] / budget)) < np.log(_CLOSE)]
        axes.scatter(
            seeds["params"], seeds["return_mean"], s=4, color=[(*to_rgb(colour), 0.45)], linewidths=0, zorder=2
        )


def _hollow(axes: Axes, x: pd.Series, y: pd.Series, colour: ColorType = FAINT) -> None:
    axes.scatter(x, y, s=13, facecolors="none", edgecolors=[colour], linewidths=0.7, alpha=0.75, zorder=2)


def _name_profile(
    axes: Axes, sizes: np.ndarray, median: np.ndarray, budget: float, colour: ColorType, *, ahead: bool
) -> None:
    """Write the budget where its profile ends on the right."""
    text = power(float(f"{budget:.2g}")) + ("\nforecast" if ahead else "")
    where = {"xytext": (5, 0), "textcoords": "offset points", "va": "center", "annotation_clip": False}
    axes.annotate(text, (float(sizes[-1]), float(median[-1])), fontsize=8, color=colour, **where)


@house_style
def frontier(view: View) -> Figure:
    """Least loss (best return) against compute: the fan of the law, the classical lines, and the rows."""
    figure, (axes,) = blank(height=4.8)
    draw_frontier(axes, view)
    return figure


def draw_frontier(axes: Axes, view: View) -> None:
    """The picture of `frontier` in these axes."""
    flops, budget = view.frontier.flops, view.recommendation.flops
    q = fan(axes, flops, view.frontier.best)
    ends = [EndLabel(float(q[2, -1]), "this forecast", FORECAST)]
    for name, fit in view.fits.items():
        line = view.line(fit)
        axes.plot(flops, line, color=METHOD_COLOURS[name], linewidth=1.0, zorder=2.5)
        ends.append(EndLabel(float(line[-1]), method_name(name, view.posterior.has_losses), METHOD_COLOURS[name]))
    _rows(axes, view)
    values = view.fitted[view.measured].to_numpy()
    if view.posterior.has_losses:
        label_log(axes.yaxis, min(q[0].min(), values.min()) / 1.5, float(values.max()) * 1.6, plain)
    else:
        return_axis(axes, values, q[[0, 4]])
    label_log(axes.xaxis, flops[0] / 1.3, flops[-1], power)
    beyond(axes, view.largest)
    axes.axvline(budget, color=CHOSEN, linewidth=0.9, linestyle=(0, (1, 2)), zorder=2)
    low, high = (float(np.interp(np.log(budget), np.log(flops), q[i])) for i in (0, 4))
    axes.plot([budget, budget], [low, high], color=CHOSEN, linewidth=2.2, solid_capstyle="butt", zorder=4)
    label_ends(axes, ends)
    axes.set_xlabel("compute C (FLOPs)")
    axes.set_ylabel("least loss (nats per action)" if view.posterior.has_losses else "best return")


def _rows(axes: Axes, view: View) -> None:
    fitted = view.fitted
    near, aside = view.near, view.table[view.table["aside"].notna()]
    _hollow(axes, aside["flops"], aside[view.measured])
    for rows, size, colour, order in ((fitted[~near], 9, FAINT, 2.0), (fitted[near], 15, INK, 3.5)):
        axes.scatter(rows["flops"], rows[view.measured], s=size, color=colour, linewidths=0, zorder=order)
    within = np.expm1(NEAR_FRONTIER) if view.posterior.has_losses else -np.expm1(-NEAR_BEST)
    note = f"black: within {percent(within)} of the best that its compute bought   grey: other rows"
    note += "   hollow: set aside" if view.aside else ""
    axes.text(0.0, 1.012, note, transform=axes.transAxes, fontsize=7.5, color=QUIET, va="bottom")
