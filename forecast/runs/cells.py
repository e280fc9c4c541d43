"""Single cells of a table as text and as numbers."""

import re
from decimal import Context, Decimal

import numpy as np
import pandas as pd
from pandas.api.types import is_scalar

from forecast.runs.files import NUMBER, printable

MISSING = {"", "nan", "na", "n/a", "null", "none"}
"""Contents of a cell without a value, in lower case."""
_INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)


def clean(value: object) -> str:
    """Stripped text that can be written as UTF-8, on one line and without characters that steer a terminal."""
    return printable(str(value))


def number(cell: object, factor: str) -> float:
    """One cell as a float. Raises ValueError or TypeError if it is not a number: "1e5x", "1,000", "1_000", True."""
    if not is_scalar(cell) or isinstance(cell, (bool, np.bool_, complex, bytes)):
        raise TypeError("not a number")
    if bool(pd.isna(cell)):  # pyright: ignore[reportArgumentType, reportCallIssue]
        return np.nan
    text = str(cell).strip()
    if text.casefold() in MISSING:
        return np.nan
    if _INFINITE.fullmatch(text):
        return float(text)
    if not NUMBER.fullmatch(text):
        raise ValueError("not a number")
    # Decimal, so that 188.793 × 1e6 is 188793 and not its neighbour: sizes are compared for equality.
    scale = Context(prec=60, traps=[])
    return float(scale.multiply(Decimal(text), Decimal(factor))) if factor else float(text)
