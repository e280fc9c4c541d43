"""Notes on where rows come from: failed runs, versions of the code and sets of demonstrations."""

from collections.abc import Mapping

import pandas as pd
from pandas.api.types import is_scalar

from forecast.errors import ROWS_SHOWN
from forecast.runs.files import Sheet, refuse

FAILED = ("failed", "crashed", "killed")
"""Values of a column `state`, in any case, of runs that did not finish, as training and W&B write them."""
MISSING = {"", "nan", "na", "n/a", "null", "none"}
"""Contents of a cell without a value, in lower case."""
_REASON = 80  # characters of a reason that are shown


def without_failed(sheet: Sheet, picked: Mapping[str, tuple[str, str]]) -> tuple[Sheet, list[str]]:
    """The sheet without rows of failed runs that measured nothing, and a note on the rows left out.

    Line numbers stay as they were. A row of a failed run that holds a loss or a return is a measured checkpoint and
    stays.
    picked: canonical name -> (column of the sheet, factor).

    Raises TableError if no row is left.
    """
    column = next((c for c in sheet.cells if c.casefold() == "state"), None)
    if column is None:
        return sheet, []
    measured = [sheet.cells[picked[name][0]] for name in ("loss", "return_mean") if name in picked]
    lost = [
        row
        for row in sheet.rows
        if _text(sheet.cells[column][row]).casefold() in FAILED and all(not _text(cells[row]) for cells in measured)
    ]
    if not lost:
        return sheet, []
    if len(lost) == len(sheet.rows):
        what = f"every row belongs to a failed run without a loss or a return ({_with_reasons(sheet, column, lost)})"
        raise refuse(sheet.source, what, "train them again", column=column)
    kept = [row for row in sheet.rows if row not in set(lost)]
    rest = Sheet(sheet.source, tuple(kept), {c: v.loc[kept] for c, v in sheet.cells.items()}, sheet.is_text)
    subject = "1 row of a failed run is" if len(lost) == 1 else f"{len(lost)} rows of failed runs are"
    return rest, [f"{subject} left out: {_with_reasons(sheet, column, lost)}."]


def code_note(table: pd.DataFrame) -> list[str]:
    """A sentence if rows were made by several versions of the code, which a column `code` names."""
    if "code" not in table:
        return []
    versions = pd.Series([_text(v) for v in table["code"].tolist()]).value_counts(sort=False)
    unnamed = int(versions.pop("")) if "" in versions else 0
    if len(versions) < 2:
        return []
    shown = [f"{name} ({count})" for name, count in versions.items()]
    more = f" and {len(shown) - ROWS_SHOWN} more" if len(shown) > ROWS_SHOWN else ""
    without = f"; {unnamed} row{'s name' if unnamed > 1 else ' names'} no version" if unnamed else ""
    names = ", ".join(shown[:ROWS_SHOWN])
    return [f"Rows were made by {len(shown)} versions of the code: {names}{more}{without}."]


def data_note(table: pd.DataFrame) -> list[str]:
    """A sentence if rows of a group were trained on several sets of demonstrations, which a column `data` names."""
    if "data" not in table:
        return []
    sets = table.assign(data=[_text(v) for v in table["data"].tolist()]).query("data != ''").groupby("group")["data"]
    mixed = {str(group): count for group, count in sets.nunique().items() if count > 1}
    if not mixed:
        return []
    names = ", ".join(f"{group} ({count})" for group, count in list(mixed.items())[:ROWS_SHOWN])
    more = f" and {len(mixed) - ROWS_SHOWN} more" if len(mixed) > ROWS_SHOWN else ""
    return [f"Rows of one group were trained on different data, and one law is fitted to them all: {names}{more}."]


def _with_reasons(sheet: Sheet, column: str, lost: list[int]) -> str:
    """Lines with their state and reason: line 5 (failed, out of memory), line 9 (killed)."""
    reasons = next((sheet.cells[c] for c in sheet.cells if c.casefold() == "reason"), None)
    shown = []
    for row in lost[:ROWS_SHOWN]:
        why = "" if reasons is None else " ".join(_text(reasons[row]).split()).rstrip(".")
        why = why if len(why) <= _REASON else why[:_REASON] + "…"
        shown.append(f"line {row} ({', '.join(filter(None, (_text(sheet.cells[column][row]), why)))})")
    more = f" and {len(lost) - ROWS_SHOWN} more" if len(lost) > ROWS_SHOWN else ""
    return ", ".join(shown) + more


def _text(cell: object) -> str:
    """The stripped text of a cell, empty where it has no value."""
    if is_scalar(cell) and bool(pd.isna(cell)):  # pyright: ignore[reportArgumentType, reportCallIssue]
        return ""
    text = str(cell).strip()
    return "" if text.casefold() in MISSING else text
