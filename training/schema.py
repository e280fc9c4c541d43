"""JSON as our files hold it: read, hashed, and checked against a schema, a TypedDict, where it comes in."""

import hashlib
import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints, is_typeddict

_MOST = 2**63  # whole numbers beyond it are no counts


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises OSError where it cannot be read, ValueError where it is not JSON."""
    try:
        return json.loads(path.read_bytes())
    except RecursionError:
        raise ValueError("it is nested beyond reason") from None


def content_hash(content: Mapping[str, Any], field: str) -> str:
    """SHA-256 of JSON or TOML content, in hex, without the field that holds this hash; `forecast` makes the same."""
    rest = {name: value for name, value in content.items() if name != field}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, default=str).encode()).hexdigest()


def misfit(value: Any, kind: Any, name: str = "") -> str:
    """What of a JSON value is not as its type says, in words; nothing where all is.

    kind: a TypedDict, whose further keys are free; list[X], tuple[X, Y], dict[str, X], X | None; int, float (finite,
    also whole), str, bool or object (anything). name: of the value in its file.
    """
    if is_typeddict(kind):
        return _misfit_of_table(value, kind, name)
    if kind is object:
        return ""
    arguments = get_args(kind)
    if get_origin(kind) is UnionType:
        return min((misfit(value, one, name) for one in arguments), key=len)
    if get_origin(kind) is dict and isinstance(value, dict):
        return _first(misfit(item, arguments[1], f"{name}.{key}"[:80]) for key, item in value.items())
    if get_origin(kind) is list and isinstance(value, list):
        return _first(misfit(item, arguments[0], f"{name}[{i}]") for i, item in enumerate(value))
    if get_origin(kind) is tuple and isinstance(value, list) and len(value) == len(arguments):
        return _first(misfit(*pair, f"{name}[{i}]") for i, pair in enumerate(zip(value, arguments, strict=True)))
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    fits = {
        str: isinstance(value, str),
        bool: isinstance(value, bool),
        NoneType: value is None,
        int: isinstance(number, int) and abs(number) < _MOST,
        float: abs(number) <= sys.float_info.max,
    }
    return "" if fits.get(kind, False) else f"{name or 'it'} is {_short(value)}"


def _misfit_of_table(value: Any, kind: Any, name: str) -> str:
    if not isinstance(value, dict):
        return f"{name or 'it'} is {_short(value)}"
    inside = f"{name}." if name else ""
    if missing := sorted(kind.__required_keys__ - value.keys()):
        return f"it has no {inside}{missing[0]}"
    types = get_type_hints(kind)
    return _first(misfit(value[key], types[key], f"{inside}{key}") for key in types.keys() & value.keys())


def _first(misfits: Any) -> str:
    return next(filter(None, misfits), "")


def _short(value: Any) -> str:
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "a list"
    return repr(value) if len(repr(value)) <= 40 else f"{repr(value)[:37]}..."
