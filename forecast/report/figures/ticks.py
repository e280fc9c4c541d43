"""Where a logarithmic axis is labelled."""

import math
from collections.abc import Callable
from itertools import chain

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator

from forecast.errors import ForecastError

_FEWEST = 4  # labels on an axis; one less where there is little room
_ROOMY = 8
_PLAIN_PART = 0.3  # of a decade: how high the plain part of an axis is between 0 and where it becomes logarithmic


def log_ticks(low: float, high: float, most: int = 8) -> list[float]:
    """Where to label a logarithmic axis from low to high: the roundest numbers of which at least four lie within.

    Three are enough where `most` is small.

    Powers of ten (every second, third ... where there are more than `most`), else 1, 3 or 1, 2, 5 of each, else finer;
    and where the range is too short for any, even steps. Raises ForecastError unless 0 < low < high.
    """
    if not 0 < low < high < math.inf:
        raise ForecastError(f"a logarithmic axis from {low} to {high} cannot be labelled; give 0 < low < high.")
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    decades = [e for e in range(first, last + 1) if _inside(10.0**e, low, high)]
    fewest = _FEWEST if most >= _ROOMY else _FEWEST - 1
    if len(decades) >= fewest:
        stride = -(-len(decades) // most)
        return [10.0**e for e in decades if e % stride == 0]
    for steps in ((1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        every = chain.from_iterable((float(f"{s}e{e}") for s in steps) for e in range(first, last + 1))
        ticks = [x for x in every if _inside(x, low, high)]
        if len(ticks) >= fewest:
            return ticks
    ticks = []
    for bins in (6, 9):
        even = MaxNLocator(nbins=bins, steps=[1, 2, 5, 10]).tick_values(low, high)
        ticks = [float(f"{x:.10g}") for x in even if _inside(float(x), low, high)]
        if len(ticks) >= _FEWEST:
            break
    return ticks


def label_log(axis: Axis, low: float, high: float, form: Callable[[float], str], most: int = 8) -> None:
    """Set limits, labels in `form` and unlabelled minor ticks of an axis that is or becomes logarithmic."""
    axes = axis.axes
    if axis.axis_name == "x":  # type: ignore[attr-defined]
        axes.set_xscale("log")
        axes.set_xlim(low, high)
    else:
        axes.set_yscale("log")
        axes.set_ylim(low, high)
    _label(axis, log_ticks(low, high, most), _minor(low, high), form)


def label_log_from_zero(axes: Axes, low: float, least: float, high: float, form: Callable[[float], str]) -> None:
    """The same of heights that are logarithmic from `least` up and plain below, down to 0 or to a negative `low`."""
    axes.set_yscale("symlog", linthresh=least, linscale=_PLAIN_PART)
    axes.set_ylim(min(1.2 * low, -0.2 * least), high)
    _label(axes.yaxis, [0.0, *log_ticks(least, high)], _minor(least, high), form)


def _label(axis: Axis, ticks: list[float], minor: list[float], form: Callable[[float], str]) -> None:
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda x, _: form(x)))
    axis.set_minor_formatter(NullFormatter())
    axis.set_minor_locator(FixedLocator(minor) if minor else NullLocator())


def _minor(low: float, high: float) -> list[float]:
    """2 to 9 of every power of ten, where there is room to see them."""
    if math.log10(high / low) > 5:
        return []
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = (float(f"{m}e{e}") for e in exponents for m in range(1, 10))
    return [x for x in every if _inside(x, low, high)]


def _inside(x: float, low: float, high: float) -> bool:
    return low * (1 - 1e-9) <= x <= high * (1 + 1e-9)
