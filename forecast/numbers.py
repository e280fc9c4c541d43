"""Numbers as sentences and files hold them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def scientific(number: float) -> str:
    """FLOPs: 1e19, 2.05e18."""
    mantissa, exponent = f"{number:.2e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def count(number: float) -> str:
    """Parameters or samples to three digits: 31 M, 5.6 B."""
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.3g}"


def digits(number: float, of: int = 3) -> str:
    """A loss or a return to three digits: 0.143, 5,520, 0.000021."""
    rounded = float(f"{number:.{of}g}")
    if 1e-9 < abs(rounded) < 1e-3:
        return np.format_float_positional(rounded, trim="-")
    return f"{rounded:,.{max(of, 6)}g}"


def share(part: float) -> str:
    """A small part in percent, two digits of it: 1.8%, 0.042%."""
    return f"{100 * float(f'{part:.2g}'):.6g}%"


def toml(value: Any) -> str:
    """A value as TOML: text, numbers, booleans, lists and inline tables of them."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{k} = {toml(v)}" for k, v in value.items()) + " }" if value else "{}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        # JSON's escapes are TOML's, but for DEL.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, np.ndarray | Sequence):
        return "[" + ", ".join(toml(v) for v in value) + "]"
    return repr(float(value)) if isinstance(value, float) else str(value)
