"""The run table: one row for each checkpoint, the contract with `forecast`.

A row is there whole or not at all: the table is written anew beside itself and put in place of the old one, under a
lock that several runs may wait for. A checkpoint that is measured again, after a crash between two writes, takes the
place of its row. A run that failed has a row without an update, until it gets a whole one.
"""

import contextlib
import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path

from training.errors import DataError, MachineError
from training.files import locked, write_atomically

Row = Mapping[str, str | int | float | None]
"""Column -> value; None is an empty cell, never 0."""
KEY = ("run", "update")
"""What tells a row from the others."""


def check_table(path: str | Path) -> None:
    """Read the table and lock it once, before a run has cost anything.

    Raises DataError for a file that is not a run table, MachineError where the table cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.with_name(f".{path.name}.lock")):
            _read(path)
    except OSError as error:
        raise MachineError(
            f"{path}: the run table cannot be written ({error.strerror}); choose another --table."
        ) from None


def read_rows(path: str | Path) -> list[dict[str, str]]:
    """The cells of a run table, as text; none where there is no file. Raises DataError for one that is not a table."""
    try:
        return _read(Path(path))[1]
    except OSError as error:
        raise DataError(f"{path}: the run table cannot be read ({error.strerror}); choose another --table.") from None


def append_row(path: str | Path, row: Row) -> None:
    """Put a row into the CSV table at `path`, which is made where it is missing; new columns come last.

    Raises DataError for a file that is not a run table, MachineError where it cannot be written; it is then as it was.
    """
    cells = {name: _cell(value) for name, value in row.items()}
    with _changing(Path(path)) as (columns, rows):
        rows[:] = [r for r in rows if r.get("run") != cells["run"] or r.get("update") not in ("", cells["update"])]
        rows.append(cells)
        columns += [name for name in cells if name not in columns]


def drop_failures(path: str | Path) -> None:
    """Take the rows of failed runs out of the table at `path`.

    Raises as `append_row` does.
    """
    with _changing(Path(path)) as (_, rows):
        rows[:] = [row for row in rows if row.get("update") or row.get("state") != "failed"]


@contextlib.contextmanager
def _changing(path: Path) -> Iterator[tuple[list[str], list[dict[str, str]]]]:
    """The columns and rows of a table, under its lock; written when the block ends, where it changed them."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.with_name(f".{path.name}.lock")):
            columns, rows = _read(path)
            before = list(rows)
            yield columns, rows
            if rows == before:
                return
            text = io.StringIO()
            # Python before 3.13 leaves a carriage return by itself without quotes, and readers take it for a line end.
            quoted = csv.QUOTE_ALL if any("\r" in cell for row in rows for cell in row.values()) else csv.QUOTE_MINIMAL
            writer = csv.DictWriter(text, columns, restval="", lineterminator="\n", quoting=quoted)
            writer.writeheader()
            writer.writerows(rows)
            write_atomically(path, text.getvalue().encode())
    except OSError as error:
        raise MachineError(
            f"{path}: the run table cannot be written ({error.strerror}); it is as it was. Make room or choose another "
            "--table, and start the same command again."
        ) from None


def _read(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    if not path.exists() or path.stat().st_size == 0:
        return [], []
    with open(path, newline="", encoding="utf-8-sig") as file:
        try:
            reader = csv.DictReader(file, strict=True)
            rows = list(reader)
            columns = list(reader.fieldnames or [])
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"{path}: the file is not a CSV table ({error}); choose another --table.") from None
    if any(None in row or None in row.values() for row in rows) or not set(KEY) <= set(columns):
        raise DataError(
            f"{path}: the file is not a table of training runs (its rows differ in length, or "
            f"{' or '.join(KEY)} is missing); choose another --table."
        )
    return columns, rows


def _cell(value: str | int | float | None) -> str:
    if value is None or value != value:
        return ""
    return repr(value) if isinstance(value, float) else str(value)
