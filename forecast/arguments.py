"""Arguments of public functions: what cannot be used is refused in one sentence, before anything is computed."""

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np

from forecast.errors import ForecastError


def number(name: str, value: Any, *, positive: bool = True) -> float:
    """The value as a float. Raises ForecastError unless it is one finite number, above zero where `positive`."""
    value = _scalar(value)
    if not _is_number(value):
        raise ForecastError(f"{name} is {received(value)}; give a number.")
    try:
        of_float = float(value)
    except OverflowError:
        of_float = float("inf")
    if not np.isfinite(of_float) or (positive and of_float <= 0):
        raise ForecastError(f"{name} is {of_float:g}; give a {'positive' if positive else 'finite'} number.")
    return of_float


def whole(name: str, value: Any, least: int = 0, most: int = 2**63 - 1) -> int:
    """The value as an int. Raises ForecastError unless it is a whole number from `least` to `most`."""
    value = _scalar(value)
    if not _is_number(value) or not least <= value <= most or value != int(value):
        limits = f"from {least} to {most}" if most < 2**31 else f"of {least} or more"
        raise ForecastError(f"{name} is {received(value)}; give a whole number {limits}.")
    return int(value)


def numbers(name: str, values: Any) -> np.ndarray:
    """The values as floats [P]; one number is [1]. Raises ForecastError for anything but numbers in one row."""
    try:
        array = np.atleast_1d(np.asarray(values))
    except ValueError:  # lists of unequal lengths
        array = np.array([None])
    if array.dtype.kind not in "iuf" and not all(_is_number(x) for x in array.ravel().tolist()):
        raise ForecastError(f"{name} is {received(values)}; give a number or an array of numbers.")
    if array.ndim > 1:
        raise ForecastError(f"{name} has the shape {array.shape}; give a number or an array of one dimension.")
    return array.astype(float)


def one_of(name: str, value: Any, choices: Sequence[str]) -> None:
    """Raise ForecastError unless the value is one of the choices."""
    if not isinstance(value, str) or value not in choices:
        raise ForecastError(f"{name} {value!r} does not exist; choose one of {', '.join(choices)}.")


def of_kind(name: str, value: Any, kind: type | tuple[type, ...], wanted: str) -> None:
    """Raise ForecastError unless the value is of a kind; wanted: what to give."""
    if not isinstance(value, kind):
        raise ForecastError(f"{name} is {received(value)}; give {wanted}.")


def received(value: Any) -> str:
    """What was passed, in words: the text '1e19', 1.5, None, a list."""
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    if value is None or isinstance(value, bool):
        return str(value)
    if _is_number(value):
        return str(value)
    kind = type(value).__name__
    return f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"


def _scalar(value: Any) -> Any:
    """A scalar of numpy or jax as Python's; others as they are."""
    return value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
