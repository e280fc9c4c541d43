"""The house style: sizes, letters, colours, bands, and what stands in a legend."""

import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, ParamSpec, TypeVar

import numpy as np
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

INK, QUIET, FAINT = "#222222", "#6b6b6b", "#b5b5b5"
RULE, GRID = "#999999", "#ececec"
FORECAST, CHOSEN = "#0072b2", "#d55e00"  # Okabe and Ito (2008), as are the methods'
OUTCOME = "#7b3294"
SHADE, _SHADED = "#808080", 0.1
METHOD_COLOURS = {"power_law": "#009e73", "parabola": "#cc79a7", "huber_lse": "#b87a00", "varpro": "#3f9bd1"}
METHOD_NAMES = {
    "power_law": "power law of minima",
    "parabola": "isoFLOP parabolas",
    "huber_lse": "parametric, Huber",
    "varpro": "parametric, var. projection",
}
RETURN_NAMES = {"power_law": "power law of maxima"}
WIDTH, HEIGHT = 8.2, 4.5  # inches, of a plot in axes of its own
_END = 12  # characters of a long name that are shown, of its beginning and of its end


class Size(NamedTuple):
    """Of a figure on the page: inches, and points of its letters, at least 11 pixels as shown."""

    width: float
    height: float
    letters: float
    columns: int
    """Of the legend below it."""

    @property
    def wide(self) -> bool:
        """Whether there is room for words inside."""
        return self.width > 6


WIDE = Size(8.2, 4.7, 9.0, 4)
"""Over the whole width of the page (about 850 pixels)."""
SMALL = Size(4.2, 3.9, 10.5, 2)
"""Two beside each other, or one on a phone (about 350 pixels)."""
TILE = Size(2.75, 2.1, 7.0, 1)
"""One of several in a grid, without a legend."""
_STYLE: Any = {
    "font.family": ["DejaVu Sans"],  # comes with matplotlib: the same picture everywhere
    "axes.labelcolor": INK,
    "axes.edgecolor": RULE,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "text.color": INK,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "legend.handlelength": 1.6,
    "legend.columnspacing": 1.4,
    "legend.labelspacing": 0.35,
    "lines.solid_capstyle": "round",
    "mathtext.default": "regular",
    "svg.hashsalt": "forecast",
    "svg.fonttype": "none",
}
_LETTERS = 8.5  # points, of plots in axes of the caller's
Inputs = ParamSpec("Inputs")
Drawn = TypeVar("Drawn")


def method_name(method: str, losses: bool = True) -> str:
    """What a method is called, where it speaks of losses or of returns."""
    return METHOD_NAMES[method] if losses else RETURN_NAMES.get(method, METHOD_NAMES[method])


def house_style(draw: Callable[Inputs, Drawn]) -> Callable[Inputs, Drawn]:
    """Draw in the house style, whatever matplotlib's settings are."""

    @functools.wraps(draw)
    def styled(*args: Inputs.args, **kwargs: Inputs.kwargs) -> Drawn:
        with in_style(_LETTERS):
            return draw(*args, **kwargs)

    return styled


def in_style(letters: float) -> AbstractContextManager[None]:
    """The house style with letters of so many points; the words `small` and `x-small` are relative to them."""
    sizes: Any = {name: letters for name in ("font.size", "axes.labelsize", "axes.titlesize")}
    ticks: Any = {name: 0.94 * letters for name in ("xtick.labelsize", "ytick.labelsize", "legend.fontsize")}
    return rc_context(_STYLE | sizes | ticks)


def paint(size: Size, draw: Callable[[Axes], Sequence[Artist]]) -> Figure:
    """A figure of this size that `draw` fills; the keys that it returns make the legend below."""
    with in_style(size.letters):
        figure = Figure(figsize=(size.width, size.height), layout="constrained")
        keys = draw(figure.add_subplot())
        if keys and size is not TILE:
            figure.legend(handles=list(keys), loc="outside lower left", ncols=size.columns)
    return figure


def written(name: str) -> str:
    """A name as a figure can show it: no formula, and not too long."""
    short = name if len(name) <= 2 * _END + 1 else f"{name[:_END]}…{name[-_END:]}"
    return short.replace("$", r"\$")


def line_key(label: str, colour: Any, **line: Any) -> Line2D:
    """A line in a legend."""
    return Line2D([], [], color=colour, label=label, **{"linewidth": 1.8, **line})


def point_key(label: str, colour: Any, *, marker: str = "o", size: float = 4.5, hollow: bool = False) -> Line2D:
    """A point in a legend."""
    face = "none" if hollow else colour
    return Line2D([], [], linestyle="none", marker=marker, markersize=size, color=colour, mfc=face, label=label)


def band_keys(colour: Any = FORECAST) -> list[Artist]:
    """A median with its two intervals, in a legend."""
    return [
        line_key("median", colour),
        Patch(color=colour, alpha=0.44, linewidth=0, label="50% interval"),
        Patch(color=colour, alpha=0.16, linewidth=0, label="90% interval"),
    ]


def fan(axes: Axes, x: np.ndarray, draws: np.ndarray, colour: str = FORECAST, **line: Any) -> np.ndarray:
    """Median, 50% and 90% band of draws [S, T] over x [T]; returns the five quantiles [5, T]."""
    q = np.quantile(draws, (0.05, 0.25, 0.5, 0.75, 0.95), axis=0)
    bands(axes, x, q, colour, **line)
    return q


def bands(axes: Axes, x: np.ndarray, q: np.ndarray, colour: Any = FORECAST, **line: Any) -> None:
    """Median, 50% and 90% band of the five quantiles q [5, T] over x [T]."""
    axes.fill_between(x, q[0], q[4], color=colour, alpha=0.16, linewidth=0, zorder=1.5)
    axes.fill_between(x, q[1], q[3], color=colour, alpha=0.28, linewidth=0, zorder=1.6)
    axes.plot(x, q[2], color=colour, **{"linewidth": 1.8, "zorder": 3, **line})


def interval(axes: Axes, x: float, q: Mapping[str, float], colour: Any = CHOSEN, order: float = 6) -> None:
    """The five quantiles of one value: 90% as a thin line, 50% as a thick one, the median as a stroke across it."""
    for low, high, width in (("q05", "q95", 1.6), ("q25", "q75", 4.4)):
        axes.plot([x, x], [q[low], q[high]], color=colour, linewidth=width, solid_capstyle="butt", zorder=order)
    axes.plot(x, q["median"], marker="_", markersize=12, markeredgewidth=2.0, color=colour, zorder=order + 0.5)


def interval_key(label: str, colour: Any = CHOSEN) -> Line2D:
    """An interval in a legend."""
    return Line2D([], [], color=colour, linewidth=1.6, marker="|", markersize=8, markeredgewidth=2.0, label=label)


def beyond(axes: Axes, largest: float) -> list[Artist]:
    """Shade the compute that no run of the table has reached, up to the right limit, which must be set; its key."""
    right = axes.get_xlim()[1]
    if right <= largest:
        return []
    axes.axvspan(largest, right, color=SHADE, alpha=_SHADED, linewidth=0, zorder=0)
    return [shade_key("beyond the data")]


def shade_key(label: str, colour: Any = SHADE, alpha: float = 2 * _SHADED) -> Patch:
    """A shaded range in a legend."""
    return Patch(color=colour, alpha=alpha, linewidth=0, label=label)


def row_keys(near: str, *, others: bool = True, aside: bool = False) -> list[Artist]:
    """Rows of the table in a legend: those near the best, the others, and those set aside."""
    keys: list[Artist] = [point_key(near, INK)]
    if others:
        keys.append(point_key("other rows", FAINT))
    if aside:
        keys.append(point_key("rows set aside", FAINT, hollow=True))
    return keys
