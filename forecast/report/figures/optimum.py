"""What to train: the best size and samples against compute, and what another size would cost."""

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from forecast.classical import SHORT_NAMES
from forecast.numbers import count, percent, power
from forecast.report.figures.style import (
    CHOSEN,
    FORECAST,
    INK,
    METHOD_COLOURS,
    QUIET,
    SMALL,
    band_keys,
    beyond,
    fan,
    line_key,
    paint,
    point_key,
    shade_key,
)
from forecast.report.figures.ticks import label_log
from forecast.report.figures.view import View

OF = {"params": "parameters N", "samples": "samples D"}
"""What has an optimum, and how it is called."""
_DOTTED = (0, (1, 2))
_TOLERABLE = 0.01  # given away, nobody need mind
_WORTH_A_LOOK = 0.15
_REGRETS = {"loss_regret": ("higher loss", FORECAST), "return_regret": ("lower return", "#009e73")}


def optimum(view: View, column: str) -> Figure:
    """Parameters or samples of least loss (highest return) against compute; column: params or samples."""
    return paint(SMALL, lambda axes: draw_optimum(axes, view, column))


def draw_optimum(axes: Axes, view: View, column: str) -> list[Artist]:
    """The picture of `optimum` in these axes; the keys of its legend."""
    q = fan(axes, view.frontier.flops, getattr(view.frontier, column))
    keys = [*band_keys()]
    for name, fit in view.fits.items():
        line = fit.optimal(view.frontier.flops)[list(OF).index(column)]
        axes.plot(view.frontier.flops, line, color=METHOD_COLOURS[name], linewidth=1.2, zorder=2.5)
        keys.append(line_key(SHORT_NAMES[name], METHOD_COLOURS[name], linewidth=1.2))
    keys += _vertices(axes, view, column)
    label_log(axes.yaxis, q[0].min() / 1.3, q[4].max() * 1.3, count)
    label_log(axes.xaxis, view.frontier.flops[0] / 1.3, view.frontier.flops[-1], power, most=5)
    keys += beyond(axes, view.largest)
    if view.recommendation.objective == "return" and view.recommendation.other_params is not None:
        least = _least_loss(view)[list(OF).index(column)]
        axes.plot(view.recommendation.flops, least, "D", markersize=6, color=CHOSEN, mfc="none", zorder=5)
        keys.append(point_key("size of least loss", CHOSEN, marker="D", size=5, hollow=True))
    chosen = getattr(view.recommendation, column)
    axes.plot(view.recommendation.flops, chosen, marker="D", markersize=5.5, color=CHOSEN, zorder=6)
    axes.set_xlabel("compute C (FLOPs)")
    axes.set_ylabel(f"best {OF[column]}")
    return [*keys, point_key("recommended", CHOSEN, marker="D", size=5)]


def _least_loss(view: View) -> tuple[float, float]:
    """Size of least loss on the budget, where the recommended one is another, and its samples."""
    recommendation = view.recommendation
    assert recommendation.other_params is not None
    params = recommendation.other_params["recommended"]
    samples = recommendation.flops / float(view.posterior.cost[view.group](params))
    return params, min(samples, recommendation.constraints.get("max_samples", samples))


def _vertices(axes: Axes, view: View, column: str) -> list[Artist]:
    fit = view.fits.get("parabola")
    if fit is None:
        return []
    used = fit.used  # type: ignore[attr-defined]
    axes.scatter(used.flops, getattr(used, column), s=15, color=INK, linewidths=0, zorder=4)
    return [point_key("vertices of parabolas", INK)]


def regret(view: View) -> Figure:
    """What is given away, in expectation, by training another size on the same budget."""
    return paint(SMALL, lambda axes: draw_regret(axes, view))


def draw_regret(axes: Axes, view: View) -> list[Artist]:
    """The picture of `regret` in these axes; the keys of its legend."""
    recommendation, table = view.recommendation, view.recommendation.regret
    low, high = _within(view, _WORTH_A_LOOK, room=1.2)
    inside = table[(table["params"] >= low) & (table["params"] <= high)]
    shown = {c: named for c, named in _REGRETS.items() if c in table}
    for column, (_, colour) in shown.items():
        axes.plot(table["params"], 100 * table[column], color=colour, linewidth=1.8, zorder=3)
    label_log(axes.xaxis, low, high, count, 6)
    axes.set_ylim(0, min(40.0, max(5.0, 105 * float(inside[list(shown)].to_numpy().max()))))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(lambda y, _: f"{y:g}%")
    axes.axvspan(*_within(view, _TOLERABLE), color=CHOSEN, alpha=0.12, linewidth=0, zorder=0)
    axes.axvline(recommendation.params, color=CHOSEN, linewidth=1.2, linestyle=_DOTTED, zorder=2)
    sizes = np.unique(view.table["params"])
    for size in sizes[(sizes > low) & (sizes < high)]:
        axes.plot(size, 0, marker="|", color=QUIET, markersize=9, clip_on=False, zorder=4)
    axes.set_xlabel("parameters N")
    axes.set_ylabel("given away, in expectation")
    return [
        *(line_key(name, colour) for name, colour in shown.values()),
        line_key(f"recommended: {count(recommendation.params)}", CHOSEN, linewidth=1.2, linestyle=_DOTTED),
        shade_key(f"within {percent(_TOLERABLE)} of it", CHOSEN, 0.2),
        point_key("sizes in the table", QUIET, marker="|", size=8),
    ]


def _within(view: View, share: float, room: float = 1.0) -> tuple[float, float]:
    """From which to which size the objective gives away at most `share` more than the recommended size does."""
    table, recommendation = view.recommendation.regret, view.recommendation
    column = "return_regret" if recommendation.objective == "return" else "loss_regret"
    at = float(np.interp(np.log(recommendation.params), np.log(table["params"]), table[column]))
    near = table.loc[table[column] <= at + share, "params"]
    return min(near.min(), recommendation.params) / room, max(near.max(), recommendation.params) * room
