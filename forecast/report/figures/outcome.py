"""A frozen forecast and what then happened."""

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from forecast.numbers import plain, power
from forecast.report.figures.returns import draw_rows, return_axis
from forecast.report.figures.style import (
    OUTCOME,
    SMALL,
    band_keys,
    beyond,
    fan,
    interval,
    interval_key,
    paint,
    point_key,
)
from forecast.report.figures.ticks import label_log
from forecast.report.figures.view import View
from forecast.verify.outcome import Outcome, Score, Scored

_AHEAD = 4.0  # how far beyond the outcome the picture reaches
_DECADES = 3.4  # factors of ten of compute that are shown, so that the outcome can be read


def outcome(view: View, score: Score, target: str) -> Figure:
    """Loss or return against compute: rows, forecast, frozen interval and the outcome; target: loss or return."""
    return paint(SMALL, lambda axes: draw_outcome(axes, view, score, target))


def scored_targets(score: Score) -> list[str]:
    """What was scored: loss, return."""
    return list(dict.fromkeys(s.target for o in score.outcomes for s in o.scores))


def draw_outcome(axes: Axes, view: View, score: Score, target: str) -> list[Artist]:
    """The picture of `outcome` in these axes; the keys of its legend."""
    scored = [(o, s) for o in score.outcomes for s in o.scores if s.target == target]
    flops = score.frozen.flops
    column = "loss" if target == "loss" else "return_mean"
    draws = view.path.loss if target == "loss" else view.path.returns
    assert draws is not None
    reach = max(flops, *(o.flops for o, _ in scored)) * _AHEAD
    least = max(float(view.frontier.flops[0]), reach / 10**_DECADES)
    shown = (view.frontier.flops <= reach * 1.001) & (view.frontier.flops >= least / 1.5)
    q = fan(axes, view.frontier.flops[shown], draws[:, shown])
    keys = draw_rows(axes, view, column)
    fitted = view.fitted[view.fitted[column].notna()]
    near = view.near.reindex(fitted.index)
    values = np.array([x for _, s in scored for x in (s.outcome, s.q05, s.q95)])
    best = fitted[near & (fitted["flops"] >= least / 1.01)][column].to_numpy()
    heights = np.concatenate([best, values, q[2]])
    if target == "loss":
        label_log(axes.yaxis, min(heights.min(), q[0].min()) / 1.1, heights.max() * 1.4, plain)
    else:
        return_axis(axes, heights, np.append(q[[0, 4]], values))
    label_log(axes.xaxis, least / 1.3, float(view.frontier.flops[shown][-1]), power, most=5)
    keys += beyond(axes, view.largest)
    interval(axes, flops, score.frozen.five[target], order=5)
    for one, s in scored:
        _mark(axes, one, s)
    axes.set_xlabel("compute C (FLOPs)")
    axes.set_ylabel("return" if target == "return" else f"loss ({view.unit})")
    stars = point_key("outcome" if len(scored) == 1 else "outcomes", OUTCOME, marker="*", size=10)
    return [*band_keys(), interval_key("frozen forecast"), stars, *keys]


def _mark(axes: Axes, one: Outcome, s: Scored) -> None:
    """The outcome, a star with two standard errors of its measurement either way."""
    if s.se is not None:
        axes.errorbar(one.flops, s.outcome, yerr=2 * s.se, color=OUTCOME, linewidth=1.4, capsize=3.5, zorder=7)
    axes.plot(one.flops, s.outcome, marker="*", markersize=13, color=OUTCOME, zorder=8)
