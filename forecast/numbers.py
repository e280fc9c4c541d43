"""Numbers as sentences, tables, axes and files hold them."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

_RAISED = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
_UNITS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))


def scientific(number: float) -> str:
    """FLOPs: 1e19, 2.05e18."""
    mantissa, exponent = f"{number:.2e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def count(number: float) -> str:
    """A number of parameters or samples to three digits: 725, 189 k, 31 M, 5.6 B."""
    if not math.isfinite(number):
        return "–"
    for size, unit in _UNITS:
        if number >= 0.9995 * size:
            return f"{_whole_or_three(number / size)} {unit}"
    return _whole_or_three(number)


def digits(number: float, of: int = 3) -> str:
    """A loss or a return, always so many digits, zeros kept: 0.140, 1.28, 5,520, −0.0300."""
    if not math.isfinite(number):
        return "–"
    if number == 0:
        return "0"
    places = of - 1 - math.floor(math.log10(float(f"{abs(number):.{of - 1}e}")))
    return f"{round(number, places):,.{max(places, 0)}f}".replace("-", "−")


def plain(number: float) -> str:
    """A loss or a return on an axis, three digits without zeros at the end: 0.14, 5, 18,300, −0.03."""
    text = digits(number)
    return text.rstrip("0").rstrip(".") if "." in text else text


def power(number: float) -> str:
    """FLOPs on an axis: 10¹⁸, 2·10¹⁸."""
    exponent = math.floor(math.log10(number) + 1e-9)
    mantissa = number / 10**exponent
    lead = "" if abs(mantissa - 1) < 1e-6 else f"{mantissa:.3g}·"
    return f"{lead}10{str(exponent).translate(_RAISED)}"


def decimals(number: float, places: int, *, signed: bool = False) -> str:
    """An exponent, a ratio, its log, an elpd: always so many decimals, as −0.30, 12.5, and signed +0.031."""
    if not math.isfinite(number):
        return "–"
    return f"{number:{'+' if signed else ''}.{places}f}".replace("-", "−")


def share(part: float) -> str:
    """A part in percent, two digits of it below a tenth and whole percents from there on: 0.042%, 1.8%, 92%, 123%."""
    if not math.isfinite(part):
        return "–"
    return percent(part) if abs(part) >= 0.1 else f"{100 * float(f'{part:.2g}'):.6g}%"


def percent(part: float) -> str:
    """A part in whole percents: how near is near."""
    return f"{100 * part:.0f}%" if math.isfinite(part) else "–"


def chance(probability: float) -> str:
    """A probability in whole percents; none is said to be certain: under 1%, over 99%."""
    if 0.01 <= probability <= 0.99:
        return percent(probability)
    return "over 99%" if probability > 0.5 else "under 1%"


def ordinal(number: int) -> str:
    """1st, 2nd, 63rd, 11th."""
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in (11, 12, 13) else "th"
    return f"{number}{suffix}"


def percentile(part: float, beyond: str = "") -> str:
    """Where an outcome lies in a forecast: at the 63rd percentile; below, above it where `beyond` is `<`, `>`.

    part: share of the forecast below the outcome, 0 to 1.
    """
    side = {"": "at", "<": "below", ">": "above"}[beyond]
    return f"{side} the {ordinal(round(100 * part))} percentile"


def toml(value: Any) -> str:
    """A value as TOML: text, numbers, booleans, lists and inline tables of them."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{k} = {toml(v)}" for k, v in value.items()) + " }" if value else "{}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        # JSON's escapes are TOML's, but for DEL.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if hasattr(value, "tolist"):  # of numpy
        value = value.tolist()
    if isinstance(value, Sequence):
        return "[" + ", ".join(toml(v) for v in value) + "]"
    return repr(float(value)) if isinstance(value, float) else str(value)


def _whole_or_three(number: float) -> str:
    rounded = float(f"{number:.3g}")
    return f"{rounded:.0f}" if rounded >= 100 else f"{rounded:g}"
