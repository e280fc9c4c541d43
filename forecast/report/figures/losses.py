"""The isoFLOP profiles, and the best that compute buys: the least loss or, without losses, the highest return."""

import numpy as np
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.typing import ColorType

from forecast.classical import SHORT_NAMES, isoflop_profiles
from forecast.errors import FitError
from forecast.numbers import count, plain, power
from forecast.report.figures.returns import draw_rows, hollow, return_axis
from forecast.report.figures.style import (
    CHOSEN,
    INK,
    METHOD_COLOURS,
    SMALL,
    band_keys,
    beyond,
    fan,
    interval,
    interval_key,
    line_key,
    paint,
    point_key,
)
from forecast.report.figures.ticks import label_log
from forecast.report.figures.view import View

_AHEAD = (0, (4, 1.5))  # dashes of a budget that no row has
_PROFILES = 5  # budgets of the table that are drawn
_REACH = 30.0  # factor of size on either side of the optimum that a profile is drawn for
_CLOSE = 1.12  # rows within this factor of a budget that were set aside are shown with it


def isoflop(view: View) -> Figure:
    """Loss (return) against model size on a handful of budgets: rows, the law with its 90% band, and its best size."""
    return paint(SMALL, lambda axes: draw_isoflop(axes, view))


def draw_isoflop(axes: Axes, view: View) -> list[Artist]:
    """The picture of `isoflop` in these axes; the keys of its legend."""
    budgets = [*_budgets(view), view.recommendation.flops]
    colours = [*(colormaps["viridis"](x) for x in np.linspace(0.2, 0.8, len(budgets) - 1)), CHOSEN]
    curves, rows = [], []
    for budget, colour in zip(budgets, colours, strict=True):
        curves.append(_profile(axes, view, budget, colour, ahead=budget == budgets[-1]))
        if budget <= view.largest * 1.001:
            rows.append(_profile_rows(axes, view, budget, colour))
    fitted = view.fitted[view.measured]
    label_log(axes.xaxis, *_span(view), count, 6)
    axes.set_xlabel("parameters N")
    if view.posterior.has_losses:
        low = min(float(np.min(c)) for _, c, _ in curves)
        label_log(axes.yaxis, low / 1.12, float(fitted.max()) * 1.6, plain)
        axes.set_ylabel(f"loss ({view.unit})")
    else:
        return_axis(axes, fitted.to_numpy(), np.append(curves[-1][2], float(fitted.min())))
        axes.set_ylabel("return")
    names = [f"{power(float(f'{budget:.2g}'))} FLOPs" for budget in budgets]
    dashed = {"linestyle": _AHEAD}
    keys: list[Artist] = [line_key(name, colour) for name, colour in zip(names[:-1], colours[:-1], strict=True)]
    best = point_key("best size", INK, marker="*", size=9)
    return [*keys, line_key(f"{names[-1]}, forecast", CHOSEN, **dashed), best]


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
        sizes = np.geomspace(best / _REACH, min(best * _REACH, max(best, _span(view)[1])), 49)
    else:
        sizes = np.geomspace(*_span(view), 81)
    samples = budget / view.few.cost[view.group](sizes)
    log_loss = view.few.log_loss(sizes, samples, group=view.group, unique_samples=view.unique_samples)
    draws = view.shown(log_loss)
    q05, median, q95 = np.quantile(draws, (0.05, 0.5, 0.95), axis=0)
    axes.fill_between(sizes, q05, q95, color=colour, alpha=0.18, linewidth=0, zorder=1.5)
    axes.plot(sizes, median, color=colour, linewidth=1.5, linestyle=_AHEAD if ahead else "-", zorder=3)
    at = int(np.argmin(median) if view.posterior.has_losses else np.argmax(median))
    axes.plot(sizes[at], median[at], marker="*", markersize=9, color=colour, zorder=5)
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
    hollow(axes, aside["params"], aside[view.measured], colour)
    if not view.posterior.has_losses:  # the seeds behind each mean
        seeds = view.fitted[np.abs(np.log(view.fitted["flops"] / budget)) < np.log(_CLOSE)]
        axes.scatter(
            seeds["params"], seeds["return_mean"], s=4, color=[(*to_rgb(colour), 0.45)], linewidths=0, zorder=2
        )


def frontier(view: View) -> Figure:
    """Least loss (best return) against compute: the band of the law, the classical lines, and the rows."""
    return paint(SMALL, lambda axes: draw_frontier(axes, view))


def draw_frontier(axes: Axes, view: View) -> list[Artist]:
    """The picture of `frontier` in these axes; the keys of its legend."""
    flops = view.frontier.flops
    q = fan(axes, flops, view.frontier.best)
    keys = [*band_keys()]
    for name, fit in view.fits.items():
        axes.plot(flops, view.line(fit), color=METHOD_COLOURS[name], linewidth=1.2, zorder=2.5)
        keys.append(line_key(SHORT_NAMES[name], METHOD_COLOURS[name], linewidth=1.2))
    keys += draw_rows(axes, view, view.measured)
    values = view.fitted[view.measured].to_numpy()
    if view.posterior.has_losses:
        label_log(axes.yaxis, min(q[0].min(), values.min()) / 1.5, float(values.max()) * 1.6, plain)
    else:
        return_axis(axes, values, q[[0, 4]])
    label_log(axes.xaxis, flops[0] / 1.3, flops[-1], power, 5)
    keys += beyond(axes, view.largest)
    at = {name: float(np.interp(np.log(view.recommendation.flops), np.log(flops), row)) for name, row in zip(
        ("q05", "q25", "median", "q75", "q95"), q, strict=True)}  # fmt: skip
    interval(axes, view.recommendation.flops, at)
    axes.set_xlabel("compute C (FLOPs)")
    axes.set_ylabel(f"least loss ({view.unit})" if view.posterior.has_losses else "best return")
    return [*keys, interval_key("budget asked for")]
