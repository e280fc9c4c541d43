"""Reading a run table from a CSV or Parquet file, a DataFrame or a bundled table, with a mapping of columns."""

import re
import tomllib
from collections.abc import Mapping
from decimal import InvalidOperation
from os import PathLike
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_complex_dtype, is_numeric_dtype, is_scalar

from forecast.arguments import received
from forecast.errors import ForecastError, Problem, TableError
from forecast.published.catalogue import Dataset, datasets
from forecast.runs.cells import clean, number
from forecast.runs.checks import CANONICAL, TEXT, check
from forecast.runs.files import Sheet, read_sheet, sheet_of_frame
from forecast.runs.mapping import listed, pick
from forecast.runs.notes import CONSULTED, code_note, data_note, expert_note, without_failed
from forecast.runs.plausible import doubts, implausible, told_apart
from forecast.runs.table import UNNAMED, Runs


def read_runs(
    source: str | Path | pd.DataFrame, *, columns: Mapping[str, str] | None = None, to_fit: bool = True
) -> Runs:
    """Read and validate a run table.

    source: a file (`forecast.runs.files.SUFFIXES`), a DataFrame, or the name of a bundled table (`forecast.published`).
    columns: canonical name -> column in the file, with an optional factor: {"params": "config.params_m*1e6"}; or
    arithmetic over columns: {"flops": "6*params*samples"}, see `forecast.runs.arithmetic`. A column -> "" is left out.
    Canonical columns that are not mapped are read under their own name, or under another that the field uses for them
    (`forecast.runs.mapping.USUAL`).
    to_fit: False also accepts a table of too few sizes and budgets to fit a law, such as a table of outcomes.

    Raises TableError with every problem, its rows and its column, and ForecastError for anything but a source.
    """
    if not isinstance(source, str | PathLike | pd.DataFrame):
        raise ForecastError(
            f"{received(source)} is not a run table; give a file, a DataFrame, the name of a bundled table, or what "
            "read_runs returned."
        )
    dataset: Dataset | None = None
    if isinstance(source, pd.DataFrame):
        sheet = sheet_of_frame(source, "DataFrame")
    elif dataset := datasets().get(str(source)):
        sheet = read_sheet(dataset.path, dataset.name)
    else:
        sheet = read_sheet(Path(source), str(source), bundled=tuple(datasets()))
    picked = pick(sheet, columns or {})
    problems = list(picked.problems)
    sheet, failed = without_failed(picked.sheet)
    table, unread, unreadable = _read_cells(sheet, picked.columns)
    has_runs = "run" in table
    table, completed = _complete(_without_empty_losses(table, unread))
    problems += [*unreadable, *check(table, unread=unread, has_runs=has_runs, to_fit=to_fit)]
    if to_fit and not problems:
        settled = {*(columns or {}), *({"group"} & picked.columns.keys())}
        problems += implausible(table, mapped=settled, unread=picked.unread)
    if problems:
        raise TableError(sheet.source, problems)
    table, renamed = told_apart(table) if has_runs else (table, [])
    bundled = dataset.as_notes() if dataset else ()
    unread = [c for c in picked.unread if c.casefold() not in CONSULTED]
    left = [f"Columns that were not read: {listed(unread)}."] if unread else []
    notes = (*bundled, *picked.notes, *failed, *completed, *renamed, *doubts(table), *code_note(table))
    return Runs(table=table, source=sheet.source, notes=(*notes, *data_note(table), *expert_note(table), *left))


def as_runs(runs: Runs | str | Path | pd.DataFrame, *, to_fit: bool = True) -> Runs:
    """A run table as it is, or read by `read_runs` from a file, a DataFrame or the name of a bundled table.

    Raises what `read_runs` raises.
    """
    return runs if isinstance(runs, Runs) else read_runs(runs, to_fit=to_fit)


def read_columns(path: str | Path) -> dict[str, str]:
    """A column mapping from the `[columns]` section of a TOML file: `params = "config.params_m*1e6"`.

    Raises TableError if the file cannot be read or has no such section.
    """
    example = 'write a section [columns] with lines such as params = "config.params_m*1e6"'
    try:
        content = tomllib.loads(Path(path).read_bytes().decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:  # ValueError: not UTF-8, not TOML, not a path
        raise TableError(str(path), [Problem((), "", f"the mapping cannot be read ({error})", example)]) from None
    section = content.get("columns")
    if not isinstance(section, dict) or not section:
        raise TableError(str(path), [Problem((), "", "the file has no section [columns]", example)])
    wrong = [k for k, v in section.items() if not isinstance(v, str)]
    if wrong:
        what = "is mapped to a value that is not text"
        raise TableError(str(path), [Problem((), k, what, "write the column name in quotes") for k in wrong])
    return dict(section)


def _read_cells(
    sheet: Sheet, picked: Mapping[str, tuple[str, str]]
) -> tuple[pd.DataFrame, dict[str, list[int]], list[Problem]]:
    """The table with canonical columns parsed and the others unchanged, and the cells that are not numbers."""
    data, unread, problems = {}, {}, []
    for name in CANONICAL:
        if name not in picked:
            continue
        column, factor = picked[name]
        cells = sheet.cells[column]
        if name in TEXT:
            data[name] = _texts(cells, seed=name == "seed")
            problems += _alike(name, cells, data[name]) if name != "seed" else []
            continue
        data[name], bad = _numbers(cells, factor)
        if bad:
            unread[name] = list(bad)
            shown = ", ".join(repr(v)[:40] for v in list(bad.values())[:3])
            what = f"is not a number ({shown}{', …' if len(bad) > 3 else ''})"
            where = f"{what} in the file's column `{column}`" if column != name else what
            fix = "write plain numbers such as 1500 or 1.5e3, without units or thousands separators"
            problems.append(Problem(tuple(bad), name, where, fix))
    taken = {c for c, _ in picked.values()} | set(CANONICAL) | {"row"}  # `row` is the index of a saved run table
    extra = {c: sheet.extra(c) for c in sheet.cells if c not in taken}
    return pd.DataFrame({**data, **extra}, index=pd.Index(sheet.rows, name="row", dtype=int)), unread, problems


def _texts(cells: pd.Series, *, seed: bool) -> pd.Series:
    """Stripped text, null where blank. A seed 3.0 (an integer column that once held a null) is the seed 3."""
    text = [None if is_scalar(v) and bool(pd.isna(v)) else clean(v) for v in cells.tolist()]
    text = [None if t is None or t.casefold() in ("", "nan") else t for t in text]
    if seed:
        text = [t and re.sub(r"^([+-]?\d+)\.0*$", r"\1", t) for t in text]
    return pd.Series(text, index=cells.index, dtype="string")


def _alike(name: str, cells: pd.Series, texts: pd.Series) -> list[Problem]:
    """A problem where names that differ in the file do not do so here, where blanks stand for what is not printed."""
    known = texts.notna()
    variants = cells[known].astype(str).str.strip().groupby(texts[known]).nunique()
    mixed = variants.index[variants > 1]
    if mixed.empty:
        return []
    what = f"holds names that differ only in characters that are not printed ({mixed[0]!r})"
    rows = tuple(int(row) for row in texts.index[texts.isin(mixed)])
    return [Problem(rows, name, what, "write one name for what is the same, and another one for each of the others")]


def _numbers(cells: pd.Series, factor: str) -> tuple[pd.Series, dict[int, object]]:
    """float64 values, NaN where missing or unreadable, and the unreadable cells by row."""
    numeric = is_numeric_dtype(cells.dtype) and not is_bool_dtype(cells.dtype) and not is_complex_dtype(cells.dtype)
    if numeric and not factor:
        return pd.Series(cells.to_numpy(dtype="float64", na_value=np.nan), index=cells.index), {}
    values, bad = [], {}
    for row, cell in zip(cells.index, cells.tolist(), strict=True):
        try:
            values.append(number(cell, factor))
        except (TypeError, ValueError, OverflowError, InvalidOperation):
            values.append(np.nan)
            bad[int(row)] = cell
    return pd.Series(values, index=cells.index, dtype="float64"), bad


def _without_empty_losses(table: pd.DataFrame, unread: Mapping[str, list[int]]) -> pd.DataFrame:
    """The table without its columns of losses, if these are empty in every row and some row has a return."""
    if "loss" in table and table["loss"].isna().all() and not unread.get("loss"):
        empty = [c for c in ("loss", "loss_se") if c in table and table[c].isna().all()]
        return table.drop(columns=empty) if "return_mean" in table and table["return_mean"].notna().any() else table
    return table


def _complete(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The table with `group` and `run` filled in where absent and columns in canonical order, and notes on it."""
    notes = []
    table = table.copy()
    if "group" not in table:
        table["group"] = pd.Series(UNNAMED, index=table.index, dtype="string")
        notes.append("There is no `group` column, so all rows are treated as one game and one architecture.")
    if "run" not in table:
        table["run"] = pd.Series([f"row {r}" for r in table.index], index=table.index, dtype="string")
        notes.append(
            "There is no `run` column, so every row counts as a separate training; if rows are checkpoints of one "
            "training, their errors are correlated and the intervals of the forecast are too narrow."
        )
    if "loss" not in table:
        notes.append("There are no losses, so the law describes the return as a function of size, samples and compute.")
    order = [c for c in CANONICAL if c in table]
    return table.loc[:, order + [c for c in table.columns if c not in order]], notes
