"""Errors that the user can mend. Any other exception is a bug and keeps its traceback."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

ROWS_SHOWN = 8


class ForecastError(ValueError):
    """One sentence for the user: what was received, where, and what to do.

    It is a ValueError, so that callers who catch ValueError also catch it; no code of this package relies on that.
    """


class FitError(ForecastError):
    """The rows do not suffice to fit what was asked for."""


class SavedFileError(ForecastError):
    """A saved posterior, frozen forecast or back-test cannot be read back."""


@dataclass(frozen=True)
class Problem:
    """One problem of a table."""

    rows: tuple[int, ...]
    """Line numbers: the header is line 1, the first data row line 2, also in Parquet files and DataFrames. Empty where
    the problem does not concern single rows."""
    column: str
    """Canonical or file column, "" for whole rows."""
    what: str
    """What is wrong, without its place."""
    fix: str
    """What to do."""
    mapping: str = ""
    """A mapping of a column that would mend it: loss=nll."""

    def __str__(self) -> str:
        return self.text()

    def text(self, *, command: bool = False) -> str:
        """The sentence; command: a mapping is shown as an option of the command line, not as an argument of Python."""
        fix = self.fix
        if self.mapping:
            name, _, spec = self.mapping.partition("=")
            shown = f"--column {shlex.quote(self.mapping)}" if command else f"columns={{{name!r}: {spec!r}}}"
            fix = f"{fix}: {shown}"
        where = [_lines(self.rows)] if self.rows else []
        where += [f"column `{self.column}`"] if self.column else []
        return " ".join(f"{', '.join(where)}{': ' if where else ''}{self.what}; {fix}.".split())


class TableError(ForecastError):
    """A run table that cannot be used.

    `problems` lists every problem with all its rows; the message shows at most `ROWS_SHOWN` rows of each.
    """

    def __init__(self, source: str, problems: Sequence[Problem]):
        super().__init__(source, tuple(problems))
        self.source = source
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return self.text()

    def text(self, *, command: bool = False) -> str:
        """All problems; command: in the words of the command line, as in `Problem.text`."""
        told = [p.text(command=command) for p in self.problems]
        if len(told) == 1:
            return f"{self.source}: {told[0]}"
        return "\n".join([f"{self.source}: {len(told)} problems", *(f"- {t}" for t in told)])


def _lines(rows: Sequence[int]) -> str:
    shown = ", ".join(str(r) for r in rows[:ROWS_SHOWN])
    more = f" and {len(rows) - ROWS_SHOWN} more" if len(rows) > ROWS_SHOWN else ""
    return f"line{'s' if len(rows) > 1 else ''} {shown}{more}"
