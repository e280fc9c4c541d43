"""What to train: the best size and samples against compute, and what another size would cost."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from forecast.classical import SHORT_NAMES
from forecast.numbers import count, power
from forecast.report.figures.style import (
    CHOSEN,
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
)
from forecast.report.figures.ticks import label_log
from forecast.report.figures.view import View

OF = {"params": "parameters N", "samples": "samples D"}
"""What has an optimum, and how it is called."""
_TOLERABLE = 0.01  # given away, nobody need mind
_WORTH_A_LOOK = 0.15
_REGRETS = {"loss_regret": ("higher loss", FORECAST), "return_regret": ("lower return", "#009e73")}


@house_style
def optimum(view: View) -> Figure:
    """Parameters and samples of least loss against compute, in two panels."""
    figure, panels = blank(columns=2, height=4.4)
    for axes, column in zip(panels, OF, strict=True):
        draw_optimum(axes, view, column)
    return figure


def draw_optimum(axes: Axes, view: View, column: str) -> None:
    """The panel of `optimum` for `params` or `samples` in these axes."""
    q = fan(axes, view.frontier.flops, getattr(view.frontier, column))
    ends = [EndLabel(float(q[2, -1]), "forecast", FORECAST)]
    for name, fit in view.fits.items():
        line = fit.optimal(view.frontier.flops)[list(OF).index(column)]
        axes.plot(view.frontier.flops, line, color=METHOD_COLOURS[name], linewidth=1.0, zorder=2.5)
        ends.append(EndLabel(float(line[-1]), SHORT_NAMES[name], METHOD_COLOURS[name]))
    _vertices(axes, view, column)
    label_log(axes.yaxis, q[0].min() / 1.3, q[4].max() * 1.3, count)
    label_log(axes.xaxis, view.frontier.flops[0] / 1.3, view.frontier.flops[-1], power, most=5)
    beyond(axes, view.largest, named=False)
    if view.recommendation.objective == "return" and view.recommendation.other_params is not None:
        least = _least_loss(view)[list(OF).index(column)]
        axes.plot(view.recommendation.flops, least, "D", markersize=5.5, color=CHOSEN, mfc="white", zorder=5)
    chosen = getattr(view.recommendation, column)
    axes.plot(view.recommendation.flops, chosen, marker="D", markersize=5.5, color=CHOSEN, zorder=6)
    label_ends(axes, ends)
    axes.set_xlabel("compute C (FLOPs)")
    axes.set_title(f"best {OF[column]}", fontsize=8.5, loc="left")


def _least_loss(view: View) -> tuple[float, float]:
    """Size of least loss on the budget, where the recommended one is another, and its samples."""
    recommendation = view.recommendation
    assert recommendation.other_params is not None
    params = recommendation.other_params["recommended"]
    samples = recommendation.flops / float(view.posterior.cost[view.group](params))
    return params, min(samples, recommendation.constraints.get("max_samples", samples))


def _vertices(axes: Axes, view: View, column: str) -> None:
    fit = view.fits.get("parabola")
    if fit is None:
        return
    used = fit.used  # type: ignore[attr-defined]
    axes.scatter(used.flops, getattr(used, column), s=15, color=INK, linewidths=0, zorder=4)


@house_style
def regret(view: View) -> Figure:
    """What is given away, in expectation, by training another size on the same budget."""
    figure, (axes,) = blank(height=3.6)
    draw_regret(axes, view)
    return figure


def draw_regret(axes: Axes, view: View) -> None:
    """The picture of `regret` in these axes."""
    recommendation, table = view.recommendation, view.recommendation.regret
    low, high = _within(view, _WORTH_A_LOOK, room=1.2)
    inside = table[(table["params"] >= low) & (table["params"] <= high)]
    shown = {c: named for c, named in _REGRETS.items() if c in table}
    for column, (_, colour) in shown.items():
        axes.plot(table["params"], 100 * table[column], color=colour, linewidth=1.8, zorder=3)
    label_log(axes.xaxis, low, high, count)
    axes.set_ylim(0, min(40.0, max(5.0, 105 * float(inside[list(shown)].to_numpy().max()))))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(lambda y, _: f"{y:g}%")
    label_ends(axes, [EndLabel(100 * float(inside[c].iloc[-1]), *named) for c, named in shown.items()])
    axes.axvspan(*_within(view, _TOLERABLE), color=CHOSEN, alpha=0.08, linewidth=0, zorder=0)
    axes.axvline(recommendation.params, color=CHOSEN, linewidth=1.0, linestyle=(0, (1, 2)), zorder=2)
    text = f"recommended: {count(recommendation.params)}; shaded: within 1% of it"
    at = {"transform": axes.get_xaxis_transform(), "ha": "center", "va": "bottom"}
    axes.text(recommendation.params, 1.015, text, color=CHOSEN, fontsize=7.5, **at)
    sizes = np.unique(view.table["params"])
    for size in sizes[(sizes > low) & (sizes < high)]:
        axes.plot(size, 0, marker="|", color=QUIET, markersize=9, clip_on=False, zorder=4)
    axes.set_xlabel("parameters N (strokes on the axis: sizes in the table)")
    axes.set_ylabel("given away, in expectation")


def _within(view: View, share: float, room: float = 1.0) -> tuple[float, float]:
    """From which to which size the objective gives away at most `share` more than the recommended size does."""
    table, recommendation = view.recommendation.regret, view.recommendation
    column = "return_regret" if recommendation.objective == "return" else "loss_regret"
    at = float(np.interp(np.log(recommendation.params), np.log(table["params"]), table[column]))
    near = table.loc[table[column] <= at + share, "params"]
    return min(near.min(), recommendation.params) / room, max(near.max(), recommendation.params) * room
