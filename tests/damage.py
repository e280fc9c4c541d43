"""Ways to damage a file: bytes at random, and another value in the place of one in JSON or TOML."""

import copy
import json
from typing import Any

import numpy as np

VALUES = [None, True, -1, 10**400, 1e308, -0.0, float("nan"), "", "abc", "\x00", [], [[]], {}, {"a": 1}, [1, "a"]]
"""What stands in the place of another value; TOML has no null."""
DEEP = 200_000


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """A copy in which bytes are turned, overwritten, taken out, doubled or put in, or that is cut short."""
    copy, start = bytearray(content), int(rng.integers(len(content)))
    end = start + int(rng.integers(1, 200))
    match rng.integers(7):
        case 0:
            copy[start] ^= 1 << int(rng.integers(8))
        case 1:
            copy[start:end] = rng.bytes(len(copy[start:end]))
        case 2:
            copy[start:end] = bytes(len(copy[start:end]))
        case 3:
            del copy[start:]
        case 4:
            del copy[start:end]
        case 5:
            copy[start:start] = copy[start:end]
        case _:
            copy[start:start] = rng.bytes(end - start)
    return bytes(copy)


def altered(document: Any, rng: np.random.Generator) -> Any:
    """A copy in which one value, however deep, is another one or is missing."""
    document = copy.deepcopy(document)
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    walk(document)
    node, key = places[rng.integers(len(places))]
    if rng.integers(5):
        node[key] = VALUES[rng.integers(len(VALUES))]
    else:
        del node[key]
    return document


def toml(document: dict[str, Any]) -> str:
    """A document as TOML, a line a key."""
    return "".join(f"{json.dumps(key)} = {_toml(value)}\n" for key, value in document.items() if value is not None)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        pairs = (f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items() if v is not None)
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, list):
        return f"[{', '.join(_toml(item) for item in value if item is not None)}]"
    return json.dumps(value) if isinstance(value, bool | str) else repr(value)
