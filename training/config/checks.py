"""Checks of single values, each a ConfigError that names the value, what it must be, and what it is."""

import difflib
import math
import sys
from collections.abc import Collection
from typing import Any

from training.errors import ConfigError

MAX_INT = 2**63 - 1  # the largest integer that every TOML reader must take


def typed(name: str, kind: Any, value: Any) -> Any:
    """The value as its field's type: whole floats become int, ints become float, nothing else is converted.

    Raises ConfigError for a value of another type.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind == tuple[float, ...]:
        if isinstance(value, list | tuple):
            return tuple(sorted({typed(name, float, item) for item in value}))
        raise ConfigError(f"{name} must be a list of numbers, got {value!r}.")
    if kind in (str, bool) and isinstance(value, kind):
        return value
    if kind is float and number:
        try:
            converted = float(value)
        except OverflowError:
            converted = math.inf
        if math.isfinite(converted):
            return converted
    if kind is int and number and (isinstance(value, int) or value.is_integer()):
        return int(value)
    wanted = {str: "text", bool: "true or false", float: "a finite number", int: "a whole number"}[kind]
    raise ConfigError(f"{name} must be {wanted}, got {value!r}.")


def one_of(name: str, value: Any, allowed: Collection[str] | Collection[int]) -> None:
    """Raise ConfigError for a value that is not among those allowed."""
    if value not in allowed:
        raise ConfigError(f"{name} must be {' or '.join(map(str, allowed))}, got {value!r}.")


def positive(name: str, *values: Any) -> None:
    """Raise ConfigError unless there is a value and all are finite numbers above 0."""
    most = sys.float_info.max  # whole numbers of TOML go further
    refused = [v for v in values if isinstance(v, bool) or not isinstance(v, int | float) or not 0 < v <= most]
    if refused or not values:
        raise ConfigError(f"{name} must be positive, got {', '.join(map(repr, refused)) or 'no number'}.")


def share(name: str, value: float) -> None:
    """Raise ConfigError for a number outside 0 to 1."""
    if not 0 <= value <= 1:
        raise ConfigError(f"{name} must be a share from 0 to 1, got {value:g}.")


def at_least(least: int, name: str, value: int) -> None:
    """Raise ConfigError for a whole number below `least` or above what TOML holds."""
    if not least <= value <= MAX_INT:
        raise ConfigError(f"{name} must be between {least} and 2^63 - 1, got {value}.")


def known_key(key: str, known: Collection[str], where: str = "") -> None:
    """Raise ConfigError for a key that there is not, with the nearest ones that there are; `where` follows its name."""
    if key not in known:
        near = difflib.get_close_matches(key, known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"the keys are {', '.join(known)}."
        raise ConfigError(f"unknown key {key!r}{where}; {hint}")
