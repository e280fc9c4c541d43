"""The figures of the page as it holds them: the SVG, its shape, and where the rows of the table lie in it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from forecast.report import figures
from forecast.report.figures import View
from forecast.verify.backtest import Backtest
from forecast.verify.outcome import Score

_POINTS_AN_INCH = 72
_HEIGHTS = 65  # at which the axis of heights is told, so that the script needs to know no scale


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure as it stands on the page."""

    name: str
    """Of its file, without suffix."""
    svg: bytes
    size: tuple[float, float]
    """Inches."""
    axes: Axes = field(repr=False)
    rows: pd.DataFrame | None = None
    """Where rows of the table are drawn, by their lines: x and y in units of the axes."""
    target: str | None = None
    """What its height is: loss or return; None where the script does not ask."""
    narrow: "Picture | None" = None
    """The same for a phone, where it has another shape there."""

    @property
    def width(self) -> int:
        """Points."""
        return round(_POINTS_AN_INCH * self.size[0])

    @property
    def height(self) -> int:
        """Points."""
        return round(_POINTS_AN_INCH * self.size[1])

    @property
    def uri(self) -> Markup:
        """The figure inside an address, between single quotes, so that the page needs no other file."""
        text = self.svg.decode().replace("\n", " ").replace("%", "%25").replace("#", "%23").replace("'", "%27")
        return Markup("data:image/svg+xml;charset=utf-8," + str(escape(text)).replace("&lt;", "<").replace(
            "&gt;", ">").replace("&#34;", '"'))  # fmt: skip

    def places(self, lines: pd.Index) -> dict[str, Any]:
        """For the script: the frame of the axes, their scales, and `points` [x, y, position of the row in `lines`].

        All as parts of the figure's width and height, counted from below on the left.
        """
        shapes = {"wide": self._places(lines)}
        if self.narrow is not None:
            shapes["narrow"] = self.narrow._places(lines)
        return shapes

    def _places(self, lines: pd.Index) -> dict[str, Any]:
        figure = self.axes.get_figure(root=True)
        assert figure is not None
        onto = self.axes.transData + figure.transFigure.inverted()
        box = self.axes.get_position()
        levels = np.linspace(0, 1, _HEIGHTS)
        heights = self.axes.transData.inverted().transform(
            self.axes.transAxes.transform(np.column_stack([np.full(_HEIGHTS, 0.5), levels]))
        )[:, 1]
        points: list[list[float]] = []
        if self.rows is not None:
            at = onto.transform(self.rows[["x", "y"]].to_numpy(float))
            position = lines.get_indexer(self.rows.index)
            inside = (at > [box.x0, box.y0]).all(axis=1) & (at < [box.x1, box.y1]).all(axis=1)
            points = [
                [round(x, 4), round(y, 4), int(i)] for (x, y), i in zip(at[inside], position[inside], strict=True)
            ]
        return {
            "box": [round(float(v), 4) for v in (box.x0, box.y0, box.width, box.height)],
            "across": [round(float(np.log10(v)), 5) for v in sorted(self.axes.get_xlim())],
            "heights": [float(f"{v:.5g}") for v in heights],
            "target": self.target,
            "points": points,
        }


def of_forecast(view: View, slug: str, *, tile: bool) -> dict[str, Picture]:
    """The figures of a group's forecast, by name; tile: with the headline as one of several."""
    losses, rows = view.posterior.has_losses, view.table
    seen: Mapping[str, Any] = {"y": view.headline_column, "target": view.headline_column.removesuffix("_mean")}
    narrow = figures.headline(view, figures.SMALL)
    drawn = {"headline": picture(f"{slug}-headline", figures.headline(view), rows, narrow=narrow, **seen)}
    if tile:
        drawn["tile"] = picture(f"{slug}-tile", figures.tile(view))
    best = "minimal_loss" if losses else "best_return"
    drawn[best] = picture(f"{slug}-{best}", figures.frontier(view), rows, y=view.measured)
    if losses and view.posterior.has_returns:
        returns = figures.return_on_loss(view)
        drawn["return_on_loss"] = picture(f"{slug}-return_on_loss", returns, rows, x="loss", y="return_mean")
    plain: dict[str, Callable[[], Figure]] = {
        "optimum-params": lambda: figures.optimum(view, "params"),
        "optimum-samples": lambda: figures.optimum(view, "samples"),
        "isoflop": lambda: figures.isoflop(view),
        "regret": lambda: figures.regret(view),
    }
    return drawn | {name: picture(f"{slug}-{name}", draw()) for name, draw in plain.items()}


def of_outcome(view: View, slug: str, score: Score) -> dict[str, Picture]:
    """A figure for everything that was scored."""
    names = {f"outcome-{target}": target for target in figures.scored_targets(score)}
    return {name: picture(f"{slug}-{name}", figures.outcome(view, score, target)) for name, target in names.items()}


def of_past(view: View, slug: str, past: Backtest) -> dict[str, Picture]:
    """A figure for every method whose past forecasts are shown."""
    names = {f"past-{method}": method for method in figures.side_by_side(past, view.group)}
    shown = view.table, view.table["excess"], past, view.group
    drawn = {name: figures.past_forecasts(*shown, method) for name, method in names.items()}
    return {name: picture(f"{slug}-{name}", figure) for name, figure in drawn.items()}


def picture(
    name: str,
    figure: Figure,
    rows: pd.DataFrame | None = None,
    *,
    x: str = "flops",
    y: str = "",
    target: str | None = None,
    narrow: Figure | None = None,
) -> Picture:
    """A figure for the page; rows: those that are drawn in its first axes, at their columns x and y."""
    width, height = figure.get_size_inches()
    seen: Mapping[str, Any] = {"x": x, "y": y, "target": target}
    return Picture(
        name=name,
        svg=figures.svg(figure),
        size=(float(width), float(height)),
        axes=figure.axes[0],
        rows=None if rows is None else pd.DataFrame({"x": rows[x], "y": rows[y]}).dropna(),
        target=target,
        narrow=None if narrow is None else picture(f"{name}-narrow", narrow, rows, **seen),
    )
