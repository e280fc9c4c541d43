"""What was asked beside the recommendation: a run under way, another recipe, the runs to make next."""

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from forecast.bayes.prediction import QUANTILE_NAMES
from forecast.decide.next_runs import Plan
from forecast.decide.recipes import Recipes
from forecast.decide.watch import Watched
from forecast.numbers import count, plain, power
from forecast.report.figures.returns import return_axis
from forecast.report.figures.style import (
    CHOSEN,
    FAINT,
    FORECAST,
    INK,
    OUTCOME,
    QUIET,
    SMALL,
    WIDE,
    Size,
    band_keys,
    bands,
    interval,
    interval_key,
    line_key,
    paint,
    point_key,
    written,
)
from forecast.report.figures.ticks import label_log

_SEEN = 100.0  # factor in samples before the last checkpoint that is shown
_ASIDE = 1.12  # factor in samples between intervals that would hide each other


def watched(table: pd.DataFrame, found: Watched, size: Size = WIDE) -> Figure:
    """The losses of a run under way and its forecast to the end; table: the rows of its group."""
    return paint(size, lambda axes: draw_watched(axes, table, found))


def draw_watched(axes: Axes, table: pd.DataFrame, found: Watched) -> list[Artist]:
    """The picture of `watched` in these axes; the keys of its legend."""
    own = table[(table["run"] == found.run) & table["loss"].notna()].sort_values("samples")
    own = own[own["samples"] > found.samples_now / _SEEN]
    now = {"samples": found.samples_now, **dict.fromkeys(QUANTILE_NAMES, found.loss_now)}
    path = pd.concat([pd.DataFrame([now]), found.path], ignore_index=True)
    axes.plot(own["samples"], own["loss"], color=INK, linewidth=0.8, zorder=3)
    axes.scatter(own["samples"], own["loss"], s=14, color=INK, linewidths=0, zorder=4)
    bands(axes, path["samples"].to_numpy(), path[list(QUANTILE_NAMES)].to_numpy().T)
    interval(axes, found.samples * _ASIDE, found.loss_unwatched, QUIET)
    interval(axes, found.samples * _ASIDE**2, found.instead, OUTCOME)
    seen = [*own["loss"], *(q[e] for q in (found.loss, found.loss_unwatched, found.instead) for e in ("q05", "q95"))]
    label_log(axes.xaxis, float(own["samples"].min()) / 1.2, found.samples * _ASIDE**3, count, 6)
    label_log(axes.yaxis, min(seen) / 1.05, max(seen) * 1.05, plain)
    axes.set_xlabel("samples D")
    axes.set_ylabel("loss (nats)")
    return [
        point_key("checkpoints so far", INK),
        *band_keys(),
        interval_key("new run of this size", QUIET),
        interval_key("new run on what is left", OUTCOME),
    ]


def reached(found: Recipes) -> Figure:
    """What the best size of each recipe reaches against compute."""
    return paint(SMALL, lambda axes: draw_reached(axes, found))


def draw_reached(axes: Axes, found: Recipes) -> list[Artist]:
    """The picture of `reached` in these axes; the keys of its legend."""
    flops, keys = found.reached["flops"].to_numpy(), []
    both = [_quantiles(found.reached, side) for side in ("a", "b")]
    for q, name, colour in zip(both, found.names, (FORECAST, CHOSEN), strict=True):
        bands(axes, flops, q, colour)
        keys.append(line_key(written(name), colour))
    if found.objective == "return":
        return_axis(axes, np.concatenate([q[2] for q in both]), np.concatenate([q[[0, 4]].ravel() for q in both]))
    else:
        label_log(axes.yaxis, min(q[0].min() for q in both) / 1.05, max(q[4].max() for q in both) * 1.05, plain)
    label_log(axes.xaxis, flops[0], flops[-1], power, 5)
    axes.set_xlabel("compute C (FLOPs)")
    axes.set_ylabel(f"{found.objective} of the best size")
    return keys


def saved(found: Recipes) -> Figure:
    """The compute with which recipe B reaches what A does, over that of A, against the compute of A."""
    return paint(SMALL, lambda axes: draw_saved(axes, found))


def draw_saved(axes: Axes, found: Recipes) -> list[Artist]:
    """The picture of `saved` in these axes; the keys of its legend."""
    flops, q = found.reached["flops"].to_numpy(), _quantiles(found.reached, "compute")
    bands(axes, flops, q)
    axes.axhline(1, color=QUIET, linewidth=1.0, zorder=2)
    label_log(axes.xaxis, flops[0], flops[-1], power, 5)
    label_log(axes.yaxis, min(q[0].min(), 0.5) / 1.1, max(q[4].max(), 2.0) * 1.1, _times, 6)
    axes.set_xlabel(f"compute of {written(found.names[0])} (FLOPs)")
    axes.set_ylabel(f"times the compute, {written(found.names[1])}")
    return [*band_keys(), line_key("as much", QUIET, linewidth=1.0)]


def plan(table: pd.DataFrame, found: Plan) -> Figure:
    """Sizes and budgets of the planned runs among those of the table, the rows of the group."""
    return paint(SMALL, lambda axes: draw_plan(axes, table, found))


def draw_plan(axes: Axes, table: pd.DataFrame, found: Plan) -> list[Artist]:
    """The picture of `plan` in these axes; the keys of its legend."""
    axes.scatter(table["flops"], table["params"], s=9, color=FAINT, linewidths=0, zorder=2)
    runs = found.runs
    axes.scatter(runs["flops"], runs["params"], s=34, color=CHOSEN, marker="D", linewidths=0, zorder=4)
    axes.axvline(found.target_flops, color=FORECAST, linewidth=1.2, linestyle=(0, (1, 2)), zorder=2)
    flops = [*table["flops"], *runs["flops"], found.target_flops]
    sizes = [*table["params"], *runs["params"]]
    label_log(axes.xaxis, min(flops) / 1.5, max(flops) * 1.5, power, 5)
    label_log(axes.yaxis, min(sizes) / 1.5, max(sizes) * 1.5, count, 6)
    axes.set_xlabel("compute C (FLOPs)")
    axes.set_ylabel("parameters N")
    return [
        point_key("runs to make", CHOSEN, marker="D", size=5.5),
        point_key("rows of the table", FAINT),
        line_key("budget asked for", FORECAST, linewidth=1.2, linestyle=(0, (1, 2))),
    ]


def after_each(found: Plan) -> Figure:
    """Expected regret of the recommended run after each of the planned runs."""
    return paint(SMALL, lambda axes: draw_after_each(axes, found))


def draw_after_each(axes: Axes, found: Plan) -> list[Artist]:
    """The picture of `after_each` in these axes; the keys of its legend."""
    regret = 100 * np.array([found.regret_now, *found.runs["regret"]])
    axes.plot(range(len(regret)), regret, color=CHOSEN, marker="D", markersize=5, linewidth=1.6, zorder=4)
    levels = {"isoFLOP grid of the same cost": (100 * found.regret_grid, FORECAST)}
    for level, colour in levels.values():
        axes.axhline(level, color=colour, linewidth=1.4, linestyle=(0, (4, 1.5)), zorder=3)
    axes.set_xlim(-0.3, len(regret) - 0.7)
    axes.set_ylim(0, 1.15 * max(regret[0], *(level for level, _ in levels.values())))
    axes.set_xticks(range(len(regret)))
    axes.yaxis.set_major_formatter(lambda y, _: f"{y:.2g}%")
    axes.set_xlabel("runs made")
    axes.set_ylabel(f"expected regret of {found.objective}")
    dashed = [line_key(name, colour, linewidth=1.4, linestyle=(0, (4, 1.5))) for name, (_, colour) in levels.items()]
    return [line_key("after these runs", CHOSEN, marker="D", markersize=5), *dashed]


def _quantiles(table: pd.DataFrame, what: str) -> np.ndarray:
    """The five quantiles of one thing at each budget [5, T]."""
    return table[[f"{what}_{name}" for name in QUANTILE_NAMES]].to_numpy().T


def _times(factor: float) -> str:
    return f"{plain(factor)}×"
