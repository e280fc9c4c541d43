"""Tables as people read them: the cells of a frame as text, and as HTML for notebooks."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from forecast.numbers import count, decimals, digits, percent, scientific

_MOST = 100  # rows of a frame in HTML
_ELPD = partial(decimals, places=1)
_FORMS: dict[str, Callable[[float], str]] = {
    "params": count,
    "samples": count,
    "flops": scientific,
    "elpd": _ELPD,
    "se": _ELPD,
    "difference": _ELPD,
    "difference_se": _ELPD,
    "pareto_k_high": percent,
    "probability": partial(decimals, places=2),
}
"""How numbers of a column, or of a row with this name in its first cell, are written."""


def cells(frame: pd.DataFrame) -> list[tuple[str, ...]]:
    """The rows of a frame as text.

    `_FORMS` says how numbers are written, else they have three digits; ✓ and ✗ stand for true and false, and a missing
    value is empty.
    """
    rows = []
    for row in frame.itertuples(index=False):
        forms = (_FORMS.get(str(name)) or _FORMS.get(str(row[0])) or digits for name in frame.columns)
        rows.append(tuple(_cell(value, form) for value, form in zip(row, forms, strict=True)))
    return rows


def names(texts: Sequence[str], most: int = 5) -> str:
    """The first few names: a, b, c and 52 more."""
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


def html_table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in HTML, whatever characters its texts have."""

    def line(tag: str, texts: Sequence[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(str(text))}</{tag}>" for text in texts) + "</tr>"

    body = "".join(line("td", row) for row in rows)
    title = f'<caption style="caption-side: top; text-align: left">{escape(caption)}</caption>'
    return f"<table>{title}<thead>{line('th', head)}</thead><tbody>{body}</tbody></table>"


def html_frame(caption: str, frame: pd.DataFrame) -> str:
    """The first `_MOST` rows of a frame in HTML, their cells as in `cells`."""
    if len(frame) > _MOST:
        caption = f"{caption} (the first {_MOST} of {len(frame):,} rows)"
    return html_table(caption, [str(name) for name in frame.columns], cells(frame.head(_MOST)))


def _cell(value: Any, form: Callable[[float], str]) -> str:
    if isinstance(value, bool | np.bool_):
        return "✓" if value else "✗"
    if value is None or value is pd.NA or value != value:
        return ""
    return form(value) if isinstance(value, float) else str(value)
