"""Notes on where rows come from: failed runs, versions of the code and sets of demonstrations."""

from dataclasses import replace

import pandas as pd
from pandas.api.types import is_scalar

from forecast.errors import ROWS_SHOWN
from forecast.runs.cells import MISSING
from forecast.runs.files import Sheet, refuse
from forecast.runs.mapping import listed
from forecast.runs.table import expert_returns

FAILED = ("failed", "crashed", "killed", "preempted", "error")
"""Values of a column of states, in any case, of runs that did not finish, as training and W&B write them."""
STATES = ("state", "status", "run_state", "run.state")
"""Names of that column, in any case."""
CONSULTED = (*STATES, "reason", "code", "data")
"""Columns that are none of a run table's and that notes are made from, in lower case."""
_REASON = 80  # characters of a reason that are shown


def without_failed(sheet: Sheet) -> tuple[Sheet, list[str]]:
    """The sheet without rows of failed runs, and a note on the rows left out.

    Line numbers stay as they were. A loss in such a row is that of the last step that was logged, while its samples and
    compute are often those that were planned.

    Raises TableError if no row is left.
    """
    column = next((c for c in sheet.cells if c.casefold() in STATES), None)
    if column is None:
        return sheet, []
    lost = [row for row in sheet.rows if _text(sheet.cells[column][row]).casefold() in FAILED]
    if not lost:
        return sheet, []
    if len(lost) == len(sheet.rows):
        what = f"every row belongs to a failed run ({_with_reasons(sheet, column, lost)})"
        raise refuse(sheet.source, what, "train them again", column=column)
    kept = [row for row in sheet.rows if row not in set(lost)]
    rest = replace(sheet, rows=tuple(kept), cells={c: v.loc[kept] for c, v in sheet.cells.items()})
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


def expert_note(table: pd.DataFrame) -> list[str]:
    """A sentence if runs that have a loss too return far more than their demonstrator, `expert_return`."""
    if not {"loss", "expert_return"} <= {*table.columns}:
        return []
    over = sorted({*table.dropna(subset=["expert_return"])["group"]} - {*expert_returns(table)})
    if not over:
        return []
    return [f"Runs return more than their `expert_return`, which is not taken for the most there is: {listed(over)}."]


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
