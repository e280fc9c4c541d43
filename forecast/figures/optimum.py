"""What to train: the best size and samples against compute, and what another size would cost."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from forecast.figures.style import (
    CHOSEN,
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
    spread,
)
from forecast.figures.ticks import count, label_log, power
from forecast.figures.view import View

_TOLERABLE = 0.01  # expected loss given away that nobody need mind


@house_style
def optimum(view: View) -> Figure:
    """Parameters and samples of least loss against compute, in two panels."""
    figure, panels = blank(columns=2, height=4.4)
    names = {"params": "parameters N", "samples": "samples D"}
    for k, (axes, (column, title)) in enumerate(zip(panels, names.items(), strict=True)):
        draws = getattr(view.frontier, column)
        q = fan(axes, view.frontier.flops, draws)
        ends = [EndLabel(float(q[2, -1]), "this forecast", FORECAST)]
        for name, fit in view.fits.items():
            line = fit.optimal(view.frontier.flops)[k]
            axes.plot(view.frontier.flops, line, color=METHOD_COLOURS[name], linewidth=1.0, zorder=2.5)
            ends.append(EndLabel(float(line[-1]), METHOD_NAMES[name], METHOD_COLOURS[name]))
        _vertices(axes, view, column)
        trained = view.table[column]
        label_log(axes.yaxis, min(q[0].min(), trained.min()) / 1.3, max(q[4].max(), trained.max()) * 1.3, count)
        label_log(axes.xaxis, view.frontier.flops[0] / 1.3, view.frontier.flops[-1], power)
        beyond(axes, view.largest)
        chosen = getattr(view.recommendation, column)
        axes.plot(view.recommendation.flops, chosen, marker="D", markersize=5.5, color=CHOSEN, zorder=6)
        _name_lines(axes, ends)
        axes.set_xlabel("compute C (FLOPs)")
        axes.set_title(f"best {title}", fontsize=8.5, loc="left")
    return figure


def _vertices(axes: Axes, view: View, column: str) -> None:
    fit = view.fits.get("parabola")
    if fit is None:
        return
    used = fit.used  # type: ignore[attr-defined]
    axes.scatter(used.flops, getattr(used, column), s=15, color=INK, linewidths=0, zorder=4)


def _name_lines(axes: Axes, ends: list[EndLabel]) -> None:
    label_ends(axes, ends)


@house_style
def regret(view: View) -> Figure:
    """What is given away, in expectation, by training another size on the same budget."""
    figure, (axes,) = blank(height=3.6)
    table, wanted = view.recommendation.regret, view.recommendation
    labels = []
    named = {"loss_regret": ("higher loss", FORECAST), "return_regret": ("lower return", "#009e73")}
    for column, (text, colour) in named.items():
        if column in table:
            axes.plot(table["params"], 100 * table[column], color=colour, linewidth=1.8, zorder=3)
            labels.append((column, text, colour))
    good = table.loc[table["loss_regret"] < max(_TOLERABLE, 2 * table["loss_regret"].min()), "params"]
    label_log(axes.xaxis, *_useful_sizes(view), count)
    top = _top(view)
    axes.set_ylim(0, top)
    axes.yaxis.set_major_formatter(lambda y, _: f"{y:g}%")
    axes.axvline(wanted.params, color=CHOSEN, linewidth=1.0, linestyle=(0, (1, 2)), zorder=2)
    axes.text(
        wanted.params,
        top * 1.01,
        f"recommended: {count(wanted.params)}",
        color=CHOSEN,
        fontsize=8,
        ha="center",
        va="bottom",
    )
    if len(good):
        axes.axvspan(good.min(), good.max(), color=FORECAST, alpha=0.07, linewidth=0, zorder=0)
    _name_on_curve(axes, table, labels, top)
    for size in np.unique(view.table["params"]):
        axes.plot(size, 0, marker="|", color=QUIET, markersize=7, clip_on=False, zorder=4)
    axes.set_xlabel("parameters N (ticks on the axis: sizes in the table)")
    axes.set_ylabel("given away, in expectation")
    return figure


def _useful_sizes(view: View) -> tuple[float, float]:
    """From where to where sizes are worth a thought: those that give away under 15% of loss, and the recommended."""
    table = view.recommendation.regret
    near = table.loc[table["loss_regret"] < 0.15 + table["loss_regret"].min(), "params"]
    low, high = min(near.min(), view.recommendation.params), max(near.max(), view.recommendation.params)
    return low / 1.2, high * 1.2


def _top(view: View) -> float:
    """Upper limit of the axis in percent."""
    table = view.recommendation.regret
    low, high = _useful_sizes(view)
    inside = table[(table["params"] >= low) & (table["params"] <= high)]
    columns = [c for c in ("loss_regret", "return_regret") if c in table]
    return float(min(40.0, max(5.0, 105 * inside[columns].to_numpy().max())))


def _name_on_curve(axes: Axes, table, labels: list[tuple[str, str, str]], top: float) -> None:
    """Name each curve beside its right end, inside the axes."""
    low, high = axes.get_xlim()
    inside = table[(table["params"] > low) & (table["params"] < high)]
    ends = [EndLabel(min(float(100 * inside[c].iloc[-1]), top), text, colour) for c, text, colour in labels]
    order = sorted(ends, key=lambda e: e.y)
    for spot, end in zip(spread([e.y / top for e in order], 0.07), order, strict=True):
        axes.text(1.015, min(spot, 1.0), end.text, transform=axes.transAxes, color=end.colour, fontsize=8, va="center")
