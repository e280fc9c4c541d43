"""Plots of a posterior, each into axes of yours or a figure of its own; every function returns the axes it drew into.

    forecast.plots.headline(posterior)
    figure, (left, right) = plt.subplots(1, 2, figsize=(14, 5), layout="constrained")
    forecast.plots.isoflop(posterior, ax=left)
    forecast.plots.optimum(posterior, of="samples", ax=right)

They are the figures of the report. Common arguments:

- posterior: what `forecast.fit` returned
- recommendation: what `forecast.recommend` returned, for the budget to show; None: ten times the largest of the table
- group: needed where the table has several groups and there is no recommendation
- ax: matplotlib Axes; None makes a figure

All raise ForecastError for arguments of a wrong type and for what the table does not have.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from types import NoneType
from typing import ParamSpec

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes

from forecast.arguments import of_kind, one_of
from forecast.bayes.posterior import Posterior
from forecast.decide.next_runs import Plan
from forecast.decide.recipes import Recipes
from forecast.decide.recommend import Recommendation, recommend
from forecast.decide.watch import Watched
from forecast.errors import ForecastError
from forecast.report.figures.asked import draw_plan, draw_reached, draw_saved, draw_watched
from forecast.report.figures.backtest import draw_past, drawn_methods
from forecast.report.figures.losses import draw_frontier, draw_isoflop
from forecast.report.figures.optimum import OF, draw_optimum, draw_regret
from forecast.report.figures.outcome import draw_outcome, scored_targets
from forecast.report.figures.returns import draw_headline, draw_return_on_loss
from forecast.report.figures.style import HEIGHT, WIDTH, house_style
from forecast.report.figures.view import View, look
from forecast.runs.read import as_runs
from forecast.runs.table import Runs
from forecast.verify.outcome import Score
from forecast.verify.scores import Backtest

__all__ = [
    "backtest",
    "frontier",
    "headline",
    "isoflop",
    "optimum",
    "outcome",
    "plan",
    "recipes",
    "regret",
    "return_on_loss",
    "watched",
]
_TEN = 10  # times the largest compute of the table: the budget that is shown where none is named
Inputs = ParamSpec("Inputs")


def _plot(draw: Callable[Inputs, Axes]) -> Callable[Inputs, Axes]:
    """Draw in the house style.

    matplotlib loads its backend first. Loaded inside the style's context, a notebook's would lose that it is
    interactive, and no later figure would be shown.
    """
    styled = house_style(draw)

    @functools.wraps(draw)
    def plot(*args: Inputs.args, **kwargs: Inputs.kwargs) -> Axes:
        plt.draw_if_interactive()
        return styled(*args, **kwargs)

    return plot


@_plot
def headline(
    posterior: Posterior,
    *,
    recommendation: Recommendation | None = None,
    group: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Return (loss, where there are no returns) of a new run of the recommended configuration against compute."""
    view, axes = _seen(posterior, recommendation, group), _axes(ax)
    _keyed(axes, draw_headline(axes, view))
    return axes


@_plot
def isoflop(
    posterior: Posterior,
    *,
    recommendation: Recommendation | None = None,
    group: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Loss (return) against model size on a handful of budgets: rows, the law with its 90% band, and its best size."""
    view, axes = _seen(posterior, recommendation, group), _axes(ax)
    _keyed(axes, draw_isoflop(axes, view))
    return axes


@_plot
def frontier(
    posterior: Posterior,
    *,
    recommendation: Recommendation | None = None,
    group: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Least loss (best return) against compute: the band of the law, the classical lines, and the rows."""
    view, axes = _seen(posterior, recommendation, group), _axes(ax)
    _keyed(axes, draw_frontier(axes, view))
    return axes


@_plot
def optimum(
    posterior: Posterior,
    *,
    of: str = "params",
    recommendation: Recommendation | None = None,
    group: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """The best size (of="params") or the best samples (of="samples") against compute."""
    one_of("of", of, tuple(OF))
    view, axes = _seen(posterior, recommendation, group), _axes(ax)
    _keyed(axes, draw_optimum(axes, view, of))
    return axes


@_plot
def regret(
    posterior: Posterior,
    *,
    recommendation: Recommendation | None = None,
    group: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """What is given away, in expectation, by training another size on the same budget."""
    view, axes = _seen(posterior, recommendation, group), _axes(ax)
    _keyed(axes, draw_regret(axes, view))
    return axes


@_plot
def return_on_loss(
    posterior: Posterior,
    *,
    recommendation: Recommendation | None = None,
    group: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Return against loss: rows by size, and the map of loss to return with its bands."""
    view = _seen(posterior, recommendation, group)
    if not (posterior.has_losses and posterior.has_returns):
        missing = "returns" if posterior.has_losses else "losses"
        raise ForecastError(f"{posterior.runs.source} has no {missing}; return against loss needs both.")
    axes = _axes(ax)
    _keyed(axes, draw_return_on_loss(axes, view))
    return axes


@_plot
def outcome(posterior: Posterior, score: Score, *, target: str | None = None, ax: Axes | None = None) -> Axes:
    """A frozen forecast and what then happened, over the forecast of the posterior.

    score: what `forecast.score` returned, of a forecast made from the posterior's table.
    target: loss or return; None: the first that was scored.
    """
    of_kind("score", score, Score, "what forecast.score returned")
    frozen, targets = score.frozen, scored_targets(score)
    target = targets[0] if target is None else target
    one_of("target", target, targets)
    of_kind("posterior", posterior, Posterior, "what forecast.fit returned")
    choice = {"objective": frozen.objective, **frozen.constraints}
    view, axes = _seen(posterior, recommend(posterior, flops=frozen.budget, group=frozen.group, **choice)), _axes(ax)
    _keyed(axes, draw_outcome(axes, view, score, target))
    return axes


@_plot
def backtest(
    found: Backtest,
    runs: Runs | str | Path | pd.DataFrame,
    *,
    method: str = "ours",
    group: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """What a method would have forecast at a few past cut-offs, over the rows that came later.

    found: of `forecast.backtest.backtest` or `forecast.backtest.load_backtest`. runs: the table that was back-tested.
    method: of `forecast.backtest.METHODS`.
    """
    of_kind("found", found, Backtest, "what forecast.backtest.backtest returned")
    runs = as_runs(runs)
    if group is None and len(runs.groups) > 1:
        raise ForecastError(f"{runs.source} has several groups; name one of {', '.join(runs.groups)}.")
    name = next(iter(runs.groups)) if group is None else group
    table = runs.group_table(name)
    one_of("method", method, drawn_methods(found, name))
    axes = _axes(ax)
    _keyed(axes, draw_past(axes, table, runs.frontier_excess(), found, name, method))
    axes.set_ylabel("loss (nats)" if "loss" in table else "return")
    return axes


@_plot
def watched(posterior: Posterior, found: Watched, *, ax: Axes | None = None) -> Axes:
    """The losses of a run under way and its forecast to the end; found: what `forecast.watch` returned."""
    of_kind("posterior", posterior, Posterior, "what forecast.fit returned")
    of_kind("found", found, Watched, "what forecast.watch returned")
    axes = _axes(ax)
    _keyed(axes, draw_watched(axes, posterior.runs.group_table(found.group), found))
    return axes


@_plot
def recipes(found: Recipes, *, of: str = "reached", ax: Axes | None = None) -> Axes:
    """What each recipe reaches against compute (of="reached"), or the compute that B needs over A's (of="saved").

    found: what `forecast.compare_recipes` returned.
    """
    of_kind("found", found, Recipes, "what forecast.compare_recipes returned")
    one_of("of", of, ("reached", "saved"))
    axes = _axes(ax)
    _keyed(axes, draw_reached(axes, found) if of == "reached" else draw_saved(axes, found))
    return axes


@_plot
def plan(posterior: Posterior, found: Plan, *, ax: Axes | None = None) -> Axes:
    """Sizes and budgets of the runs to make among those of the table; found: what `forecast.next_runs` returned."""
    of_kind("posterior", posterior, Posterior, "what forecast.fit returned")
    of_kind("found", found, Plan, "what forecast.next_runs returned")
    axes = _axes(ax)
    _keyed(axes, draw_plan(axes, posterior.runs.group_table(found.group), found))
    return axes


def _seen(posterior: Posterior, recommendation: Recommendation | None, group: str | None = None) -> View:
    """What the plots of one budget and group share, after a check of these arguments."""
    of_kind("posterior", posterior, Posterior, "what forecast.fit returned")
    of_kind("recommendation", recommendation, (Recommendation, NoneType), "what forecast.recommend returned")
    return _view(posterior, recommendation, None if recommendation else posterior.group_name(group))


@functools.lru_cache(maxsize=8)
def _view(posterior: Posterior, recommendation: Recommendation | None, group: str | None) -> View:
    """Computed once for the plots of one budget and group."""
    if recommendation is None:
        recommendation = recommend(posterior, flops=_TEN * posterior.largest_flops(group), group=group)
    return look(posterior, recommendation)


def _keyed(axes: Axes, keys: Sequence[Artist]) -> None:
    """A legend of these keys where it hides least."""
    axes.legend(handles=list(keys), loc="best", fontsize="x-small")


def _axes(ax: Axes | None) -> Axes:
    of_kind("ax", ax, (Axes, NoneType), "matplotlib Axes")
    if ax is not None:
        return ax
    return plt.figure(figsize=(WIDTH, HEIGHT), layout="constrained").add_subplot()
