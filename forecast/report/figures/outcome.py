"""A frozen forecast and what then happened."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from forecast.numbers import plain, power
from forecast.report.figures.returns import return_axis
from forecast.report.figures.style import (
    CHOSEN,
    FAINT,
    FORECAST,
    INK,
    OUTCOME,
    EndLabel,
    beyond,
    blank,
    fan,
    house_style,
    label_ends,
)
from forecast.report.figures.ticks import label_log
from forecast.report.figures.view import View
from forecast.verify.outcome import Outcome, Score, Scored

_NAMES = {"loss": "loss of a new run (nats per action)", "return": "return of a new run"}
_AHEAD = 4.0  # how far beyond the outcome the picture reaches
_LISTED = 5  # outcomes given in numbers
_DECADES = 3.4  # factors of ten of compute that are shown, so that the outcome can be read


@house_style
def outcome(view: View, score: Score) -> Figure:
    """Loss and return against compute, each where it was scored: rows, forecast, frozen intervals and the outcome."""
    targets = scored_targets(score)
    figure, panels = blank(columns=len(targets), height=4.6 if len(targets) == 1 else 4.2)
    for axes, target in zip(panels, targets, strict=True):
        draw_outcome(axes, view, score, target)
    return figure


def scored_targets(score: Score) -> list[str]:
    """What was scored: loss, return."""
    return list(dict.fromkeys(s.target for o in score.outcomes for s in o.scores))


def draw_outcome(axes: Axes, view: View, score: Score, target: str) -> None:
    """The panel of `outcome` for `loss` or `return` in these axes."""
    scored = [(o, s) for o in score.outcomes for s in o.scores if s.target == target]
    flops = score.frozen.flops
    column = "loss" if target == "loss" else "return_mean"
    draws = view.path.loss if target == "loss" else view.path.returns
    assert draws is not None
    reach = max(flops, *(o.flops for o, _ in scored)) * _AHEAD
    least = max(float(view.frontier.flops[0]), reach / 10**_DECADES)
    shown = (view.frontier.flops <= reach * 1.001) & (view.frontier.flops >= least / 1.5)
    q = fan(axes, view.frontier.flops[shown], draws[:, shown])
    rows = view.table[view.table[column].notna()]
    fitted, aside = rows[rows["aside"].isna()], rows[rows["aside"].notna()]
    near = view.near.reindex(fitted.index)
    axes.scatter(aside["flops"], aside[column], s=11, facecolors="none", edgecolors=FAINT, linewidths=0.7, zorder=2)
    for some, size, colour, order in ((fitted[~near], 8, FAINT, 2.0), (fitted[near], 14, INK, 3.5)):
        axes.scatter(some["flops"], some[column], s=size, color=colour, linewidths=0, zorder=order)
    promised = scored[0][1]
    values = np.array([x for _, s in scored for x in (s.outcome, s.q05, s.q95)])
    best = fitted[near & (fitted["flops"] >= least / 1.01)][column].to_numpy()
    heights = np.concatenate([best, values, q[2]])
    if target == "loss":
        label_log(axes.yaxis, min(heights.min(), q[0].min()) / 1.1, heights.max() * 1.4, plain)
    else:
        return_axis(axes, heights, np.append(q[[0, 4]], values))
    label_log(axes.xaxis, least / 1.3, float(view.frontier.flops[shown][-1]), power, most=5)
    beyond(axes, view.largest)
    _promise(axes, promised, flops)
    for one, s in scored:
        _mark(axes, one, s)
    names = zip(q[:, -1], ("", "", "median", "50%", "90%"), strict=True)
    label_ends(axes, [EndLabel(float(y), text, FORECAST) for y, text in names if text])
    _tell(axes, [s for _, s in scored])
    axes.set_xlabel("compute C (FLOPs)")
    axes.set_ylabel(_NAMES[target])


def _promise(axes: Axes, s: Scored, flops: float) -> None:
    """The frozen forecast: median, 50% and 90% interval."""
    for low, high, width in ((s.q05, s.q95, 1.4), (s.q25, s.q75, 4.2)):
        axes.plot([flops] * 2, [low, high], color=CHOSEN, linewidth=width, solid_capstyle="butt", zorder=5)
    axes.plot([flops], [s.median], marker="D", markersize=5.5, color=CHOSEN, markeredgecolor="white", zorder=5.5)


def _mark(axes: Axes, one: Outcome, s: Scored) -> None:
    """The outcome, a star with two standard errors of its measurement either way."""
    if s.se is not None:
        axes.errorbar(one.flops, s.outcome, yerr=2 * s.se, color=OUTCOME, linewidth=1.4, capsize=3.5, zorder=7)
    axes.plot(one.flops, s.outcome, marker="*", markersize=14, color=OUTCOME, markeredgecolor="white", zorder=8)


def _tell(axes: Axes, scores: list[Scored]) -> None:
    """Forecast and outcome in words, above the panel."""
    s = scores[0]
    outcome = f"outcome {s.measured}: {s.place}" if len(scores) == 1 else _listed(scores)
    lines = ((f"forecast {plain(s.median)}, 90% interval {plain(s.q05)} to {plain(s.q95)}", CHOSEN), (outcome, OUTCOME))
    for k, (text, colour) in enumerate(lines):
        place = {"transform": axes.transAxes, "va": "bottom", "fontsize": 8}
        axes.text(0.0, 1.075 - 0.06 * k, text, color=colour, **place)


def _listed(scores: list[Scored]) -> str:
    values = ", ".join(plain(s.outcome) for s in scores[:_LISTED])
    return f"outcomes {values}" + (", …" if len(scores) > _LISTED else "")
