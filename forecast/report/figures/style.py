"""The house style: type, colours, fans, labels on the lines themselves, and the bytes of a figure."""

import functools
import io
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, ParamSpec, TypeVar

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, QUIET, FAINT = "#222222", "#6b6b6b", "#b5b5b5"
FORECAST, CHOSEN = "#0072b2", "#d55e00"  # Okabe and Ito (2008), as are the methods'
OUTCOME = "#7b3294"
METHOD_COLOURS = {"power_law": "#009e73", "parabola": "#cc79a7", "huber_lse": "#b87a00", "varpro": "#3f9bd1"}
METHOD_NAMES = {
    "power_law": "power law of minima",
    "parabola": "isoFLOP parabolas",
    "huber_lse": "parametric, Huber",
    "varpro": "parametric, var. projection",
}
RETURN_NAMES = {"power_law": "power law of maxima"}
WIDTH, HEIGHT = 8.2, 4.5  # inches
_STYLE: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same picture everywhere
    "font.size": 8.5,
    "axes.labelsize": 8.5,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#999999",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#ececec",
    "grid.linewidth": 0.7,
    "xtick.color": "#999999",
    "ytick.color": "#999999",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "text.color": INK,
    "lines.solid_capstyle": "round",
    "mathtext.default": "regular",
    "svg.hashsalt": "forecast",
    "svg.fonttype": "path",
}
_GAP = 0.05  # of the height of the axes, between two labels at the ends of lines
_LEADER = {"arrowstyle": "-", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 0, "relpos": (0.0, 0.5)}
_PATH, _DIGITS = re.compile(rb'\bd="[^"]*"'), re.compile(rb"(\.\d\d)\d+")
Inputs = ParamSpec("Inputs")
Drawn = TypeVar("Drawn")


def method_name(method: str, losses: bool = True) -> str:
    """What a method is called, where it speaks of losses or of returns."""
    return METHOD_NAMES[method] if losses else RETURN_NAMES.get(method, METHOD_NAMES[method])


def house_style(draw: Callable[Inputs, Drawn]) -> Callable[Inputs, Drawn]:
    """Draw in the house style, whatever matplotlib's settings are."""

    @functools.wraps(draw)
    def styled(*args: Inputs.args, **kwargs: Inputs.kwargs) -> Drawn:
        with rc_context(_STYLE):
            return draw(*args, **kwargs)

    return styled


def blank(*, columns: int = 1, height: float = HEIGHT) -> tuple[Figure, list[Axes]]:
    """A figure of page width with `columns` panels side by side."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False)[0]
    return figure, list(axes)


def svg(figure: Figure) -> bytes:
    """The figure as SVG: equal figures, equal bytes. Paths are rounded to a hundredth of a point."""
    content = _bytes(figure, format="svg", metadata={"Date": None, "Creator": None})
    return _PATH.sub(lambda path: _DIGITS.sub(rb"\1", path[0]), content)


def png(figure: Figure) -> bytes:
    """The figure as PNG, 200 dots an inch."""
    return _bytes(figure, format="png", dpi=200)


def _bytes(figure: Figure, **how: Any) -> bytes:
    buffer = io.BytesIO()
    with rc_context(_STYLE):
        figure.savefig(buffer, **how)
    return buffer.getvalue()


def fan(axes: Axes, x: np.ndarray, draws: np.ndarray, colour: str = FORECAST, **line: Any) -> np.ndarray:
    """Median, 50% and 90% band of draws [S, T] over x [T]; returns the five quantiles [5, T]."""
    q = np.quantile(draws, (0.05, 0.25, 0.5, 0.75, 0.95), axis=0)
    axes.fill_between(x, q[0], q[4], color=colour, alpha=0.16, linewidth=0, zorder=1.5)
    axes.fill_between(x, q[1], q[3], color=colour, alpha=0.28, linewidth=0, zorder=1.6)
    axes.plot(x, q[2], color=colour, **{"linewidth": 1.8, "zorder": 3, **line})
    return q


def beyond(axes: Axes, largest: float, *, named: bool = True) -> None:
    """Shade the compute that no run of the table has reached, up to the right limit, which must be set."""
    right = axes.get_xlim()[1]
    if right <= largest:
        return
    axes.axvspan(largest, right, color="#000000", alpha=0.045, linewidth=0, zorder=0)
    if not named:
        return
    at = axes.get_xaxis_transform()
    axes.text(largest, 0.985, "  beyond the data", transform=at, va="top", fontsize=7.5, color=QUIET, style="italic")


class EndLabel(NamedTuple):
    """Text beside the right end of a line that ends at height y."""

    y: float
    text: str
    colour: str


def label_ends(axes: Axes, labels: Sequence[EndLabel]) -> None:
    """Name lines at the right edge, moved apart where they would touch; the limits must be set.

    Lines that end above or below the axes are named at the corner with an arrow.
    """
    place = axes.transData + axes.transAxes.inverted()
    middle = float(np.sqrt(np.prod(axes.get_xlim()))) if axes.get_xscale() == "log" else axes.get_xlim()[0]
    least = 1e-300 if axes.get_yscale() == "log" else -np.inf
    heights = [float(place.transform((middle, max(label.y, least)))[1]) for label in labels]
    figure_height = axes.get_figure(root=True).get_size_inches()[1]  # type: ignore[union-attr]
    place_in_grid = axes.get_subplotspec()
    rows = 1 if place_in_grid is None else place_in_grid.get_gridspec().nrows / len(place_in_grid.rowspan)
    order = sorted(range(len(labels)), key=lambda i: heights[i])
    spots = spread([min(max(heights[i], 0.0), 1.0) for i in order], _GAP * HEIGHT * rows / figure_height)
    for spot, i in zip(spots, order, strict=True):
        arrow = " ↑" if heights[i] > 1 else " ↓" if heights[i] < 0 else ""
        axes.annotate(
            labels[i].text + arrow,
            xy=(1.0, min(max(heights[i], 0.0), 1.0)),
            xytext=(1.018, spot),
            xycoords="axes fraction",
            color=labels[i].colour,
            fontsize=7.5,
            va="center",
            arrowprops={**_LEADER, "color": labels[i].colour},
            annotation_clip=False,
        )


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Ascending heights moved as little as it takes to lie `gap` apart, clusters around their middle, within 0 to 1."""
    clusters: list[list[float]] = []  # each [sum of (height - offset), count]
    for height in heights:
        clusters.append([height, 1.0])
        while len(clusters) > 1:
            (low, n), (high, m) = clusters[-2:]
            if high / m - low / n >= gap * (n + m) / 2:
                break
            clusters[-2:] = [[low + high, n + m]]
    apart = [c / n + gap * (k - (n - 1) / 2) for c, n in clusters for k in range(int(n))]
    for k in range(len(apart)):  # inside 0 to 1, as far as there is room
        apart[k] = max(apart[k], k * gap)
    for k in range(len(apart)):
        apart[-1 - k] = min(apart[-1 - k], 1 - k * gap)
    return apart
