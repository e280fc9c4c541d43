"""From a file to named columns of raw cells with line numbers; no cell is interpreted here.

CSV cells stay text: a reader that guesses types turns a typing error into a different column.
"""

import csv
import difflib
import gzip
import io
import itertools
import json
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from forecast.errors import Problem, TableError

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".jsonl", ".parquet", ".pq")
MOST_BYTES = 2**28
"""Of a file, unpacked: a million rows of twenty columns are less."""
# How a number is written; float() also takes "1_000" and digits of other scripts, which in a table are errors.
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_COMMA_NUMBER = re.compile(r"[+-]?\d+,\d+(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_ZERO_PADDED = re.compile(r"0\d")


@dataclass(frozen=True)
class Sheet:
    """The raw cells of a table."""

    source: str
    """File, bundled name or "DataFrame"."""
    rows: tuple[int, ...]
    """Line numbers: the header is line 1, the first data row line 2."""
    cells: dict[str, pd.Series]
    """Raw column by stripped name, indexed by line number."""
    is_text: bool
    """Whether every cell is text, as in a CSV file."""
    notes: tuple[str, ...] = ()
    """What was understood of the file's form, a sentence each."""

    def near(self, name: str) -> list[str]:
        """Up to three columns spelt almost like `name`, those differing only in case first."""
        folded = {c.casefold(): c for c in self.cells}
        same = [c for c in self.cells if c.casefold() == name]
        close = [folded[c] for c in difflib.get_close_matches(name, folded, n=3, cutoff=0.6)]
        return list(dict.fromkeys([*same, *close]))[:3]

    def extra(self, name: str) -> pd.Series:
        """A column that is kept as it is; text of a CSV becomes float64 if every cell is a number or blank."""
        cells = self.cells[name]
        if not self.is_text:
            return cells
        values = [c for c in cells if c]
        if values and all(NUMBER.fullmatch(c) and not _ZERO_PADDED.match(c) for c in values):  # 007 is a name
            return cells.where(cells != "", "nan").astype("float64")
        return cells.astype("string")


def refuse(source: str, what: str, fix: str, rows: Sequence[int] = (), column: str = "") -> TableError:
    """A TableError of a single problem."""
    return TableError(source, [Problem(tuple(rows), column, what, fix)])


def read_sheet(path: Path, source: str, *, bundled: tuple[str, ...] = ()) -> Sheet:
    """Read a CSV file (of commas, semicolons or tabs), JSON lines or a Parquet file.

    bundled: names of bundled tables, which the message lists where the file does not exist.

    Raises TableError if the file cannot be read as such.
    """
    data = _bytes(path, source, bundled)
    if path.name.lower().endswith((".parquet", ".pq")):
        return sheet_of_frame(_parquet(data, source), source)
    if path.name.lower().endswith(".gz"):
        try:
            with gzip.open(io.BytesIO(data)) as file:
                data = _within(file, source)
        except (OSError, EOFError, zlib.error) as error:
            raise refuse(source, f"the file is not valid gzip ({error})", "compress the CSV again") from None
    text = _text(data, source)
    return _json_lines(text, source) if path.name.lower().endswith(".jsonl") else _csv(text, source)


def _bytes(path: Path, source: str, bundled: tuple[str, ...]) -> bytes:
    kinds = ", ".join(SUFFIXES)
    try:
        if path.is_dir():
            raise refuse(source, "the path is a directory", f"give a file ({kinds})")
        if not path.exists():
            close = difflib.get_close_matches(path.name, bundled, n=1)
            fix = f"did you mean {close[0]}? Else " if close else ""
            fix += f"give a file ({kinds}) or the name of a bundled table ({', '.join(bundled)})"
            raise refuse(source, "there is no such file", fix)
        if not path.name.lower().endswith(SUFFIXES):
            raise refuse(
                source, f"the file name does not end in {kinds}", "export it as CSV or Parquet with such a name"
            )
        with path.open("rb") as file:
            data = _within(file, source)
    except (OSError, ValueError) as error:
        if isinstance(error, TableError):
            raise
        raise refuse(source, f"the file cannot be read ({error})", "check the path and its permissions") from None
    if not data:
        raise refuse(source, "the file is empty", "export the table again")
    return data


def read_within(path: Path, source: str) -> bytes:
    """The bytes of a text file, unpacked where its name ends in .gz, up to the size of a table.

    Raises TableError for more than that, OSError and what gzip raises where it cannot be read.
    """
    packed = path.name.lower().endswith(".gz")
    with gzip.open(path) if packed else path.open("rb") as file:
        return _within(file, source)


def _within(file: io.BufferedIOBase, source: str) -> bytes:
    """What a file holds, if that is a table's size: one that never ends would take all memory."""
    data = file.read(MOST_BYTES + 1)
    _check_size(len(data), source)
    return data


def _check_size(size: int, source: str) -> None:
    if size > MOST_BYTES:
        most = f"{MOST_BYTES // 2**20} MiB"
        raise refuse(source, f"the file holds more than {most}", "leave out columns, or checkpoints between others")


def _parquet(data: bytes, source: str) -> pd.DataFrame:
    try:
        # ParquetFile and not read_table, which would read directories named a=b as a column.
        file = pq.ParquetFile(pa.BufferReader(data))
        groups = range(file.metadata.num_row_groups)
        _check_size(sum(file.metadata.row_group(i).total_byte_size for i in groups), source)
        table = file.read()
        table.validate(full=True)  # text that is not UTF-8 would otherwise fail much later
        return table.to_pandas()
    except TableError:
        raise
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise refuse(source, f"the file is not a readable Parquet table ({reason})", "export the table again") from None


def _text(data: bytes, source: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        what = f"the file is not UTF-8 text (byte {error.start}: {error.reason})"
        raise refuse(source, what, "save it as CSV with the encoding UTF-8", (line,)) from None


def _csv(text: str, source: str) -> Sheet:
    comments = _comment_lines(text)
    body = "".join(text.splitlines(keepends=True)[comments:])
    delimiter = _delimiter(body)
    reader = csv.reader(io.StringIO(body, newline=""), strict=True, delimiter=delimiter)
    lines, records, start = [], [], 1
    try:
        for record in reader:
            if record:  # a blank line is not a row
                lines.append(start + comments)
                records.append(record)
            start = reader.line_num + 1
    except csv.Error as error:
        fix = "check the quotes and commas in that line"
        raise refuse(source, f"the file is not CSV ({error})", fix, (reader.line_num + comments,)) from None
    if not records:
        raise refuse(source, "the file is empty", "export the table again")
    header, records, lines = records[0], records[1:], lines[1:]
    names = _names(header, source)
    _no_chart(names, source)
    _same_width(len(names), records, lines, source)
    columns = {n: pd.Series([r[i] for r in records], index=lines, dtype=object) for i, n in enumerate(names)}
    notes = []
    if delimiter != ",":
        columns, decimal = _with_points(columns)
        notes = [f"Columns are separated by {_SEPARATORS[delimiter]}{decimal}."]
    if comments:
        notes.append(f"Lines of comment before the header that were skipped: {comments}.")
    return Sheet(source, tuple(lines), columns, is_text=True, notes=tuple(notes))


def _comment_lines(text: str) -> int:
    """How many lines before the header begin with #."""
    return sum(1 for _ in itertools.takewhile(lambda line: line.startswith("#"), text.splitlines()))


def _delimiter(text: str) -> str:
    """What separates the header's cells: the most frequent of `_SEPARATORS` outside quotes."""
    header = re.sub(r'"[^"]*"', "", text.partition("\n")[0])
    return max(_SEPARATORS, key=lambda mark: header.count(mark))


def _with_points(columns: dict[str, pd.Series]) -> tuple[dict[str, pd.Series], str]:
    """Columns of numbers with decimal commas with points in their place; ", with decimal commas" where there are any.

    A column in which every comma may separate thousands, as in 1,500, stays as it is, and is refused as no number.
    """
    changed = dict(columns)
    for name, cells in columns.items():
        values = [c.strip() for c in cells if c.strip()]
        with_comma = [v for v in values if _COMMA_NUMBER.fullmatch(v)]
        if with_comma and all(NUMBER.fullmatch(v) or v in with_comma for v in values):
            if any("." in v for v in values) or all(_THOUSANDS.fullmatch(v) for v in with_comma):
                continue
            changed[name] = cells.str.replace(",", ".")
    return changed, ", with decimal commas" if any(changed[n] is not columns[n] for n in columns) else ""


def _no_chart(names: Sequence[str], source: str) -> None:
    """Raise TableError for the export of a W&B chart, which has three columns a run and no sizes."""
    if sum(n.endswith(("__MIN", "__MAX")) for n in names) >= 2:
        what = "this is the export of a W&B chart, which has a column for each run and neither sizes nor compute"
        raise refuse(source, what, "export the table of runs: a row for each run or checkpoint, with its config")


def _json_lines(text: str, source: str) -> Sheet:
    """A JSON object a line; nested ones become columns with dots, as W&B writes them."""
    records, lines = [], []
    for line, content in enumerate(text.splitlines(), 1):
        if not content.strip():
            continue
        try:
            record = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise refuse(source, f"the line is not JSON ({error})", "write one JSON object a line", (line,)) from None
        if not isinstance(record, dict):
            raise refuse(source, "the line is no JSON object", "write one JSON object a line", (line,))
        records.append(record)
        lines.append(line)
    if not records:
        raise refuse(source, "the file is empty", "export the table again")
    frame = pd.json_normalize(records)
    names = _names(list(frame.columns), source)
    cells = {n: frame.iloc[:, i].set_axis(lines) for i, n in enumerate(names)}
    return Sheet(source, tuple(lines), cells, is_text=False)


def _same_width(width: int, records: list[list[str]], lines: list[int], source: str) -> None:
    ragged: dict[int, list[int]] = {}
    for line, record in zip(lines, records, strict=True):
        if len(record) != width:
            ragged.setdefault(len(record), []).append(line)
    fix = "quote cells that contain commas, and write one cell for each column in every row"
    problems = [
        Problem(tuple(rows), "", f"the row has {n} cells and the header {width}", fix) for n, rows in ragged.items()
    ]
    if problems:
        raise TableError(source, problems)


def printable(text: str) -> str:
    """The text as UTF-8 can hold it, a blank for every character that is not printed, and none at its ends."""
    return "".join(c if c.isprintable() else " " for c in text.encode("utf-8", "replace").decode()).strip()


def _names(header: Iterable[object], source: str) -> list[str]:
    """Stripped column names; a blank name (of a saved index) is numbered. Raises TableError on equal names."""
    names = [printable(str(h)) for h in header]
    names = [n or f"column {i}" for i, n in enumerate(names, start=1)]
    double = sorted({n for n in names if names.count(n) > 1})
    if double:
        what, fix = "appears more than once in the header", "rename or delete one of the columns"
        raise TableError(source, [Problem((1,), n, what, fix) for n in double])
    return names


def sheet_of_frame(frame: pd.DataFrame, source: str) -> Sheet:
    """The columns of a DataFrame; row i counts as line i + 2. Named index levels are columns, an unnamed index is not.

    Raises TableError on several header levels and on equal names.
    """
    if frame.columns.nlevels > 1:
        raise refuse(source, f"the header has {frame.columns.nlevels} levels", "flatten it to one name for each column")
    levels = [i for i, name in enumerate(frame.index.names) if name is not None and name != "row"]
    parts = [(frame.index.names[i], frame.index.get_level_values(i).to_series()) for i in levels]
    parts += [(name, frame.iloc[:, i]) for i, name in enumerate(frame.columns)]
    names = _names([name for name, _ in parts], source)
    rows = tuple(range(2, len(frame) + 2))
    cells = {n: part.set_axis(list(rows)) for n, (_, part) in zip(names, parts, strict=True)}
    return Sheet(source, rows, cells, is_text=False)
