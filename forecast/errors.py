"""What a user can have done wrong. Anything else that is raised is a bug and keeps its traceback."""

from collections.abc import Sequence
from dataclasses import dataclass

ROWS_SHOWN = 8


class ForecastError(ValueError):
    """What the user is told: one sentence that says what was received, where, and what to do.

    It is a ValueError so that callers who catch those go on doing so; no code here catches a ValueError of its own.
    """


class FitError(ForecastError):
    """The rows cannot determine what was to be fitted to them."""


class SavedFileError(ForecastError):
    """A file that an earlier command saved cannot be read back: a posterior, a frozen forecast, a back-test."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a table.

    rows: line numbers, the header being line 1 and the first data row line 2 (the same count is used for Parquet files
    and DataFrames); empty when the problem is not tied to rows. column: canonical or file column, "" for whole rows.
    """

    rows: tuple[int, ...]
    column: str
    what: str
    fix: str

    def __str__(self) -> str:
        where = [_lines(self.rows)] if self.rows else []
        where += [f"column `{self.column}`"] if self.column else []
        return " ".join(f"{', '.join(where)}{': ' if where else ''}{self.what}; {self.fix}.".split())


class TableError(ForecastError):
    """A run table that cannot be used. `problems` is complete; the message shortens long lists of rows."""

    def __init__(self, source: str, problems: Sequence[Problem]):
        super().__init__(source, tuple(problems))
        self.source = source
        self.problems = tuple(problems)

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return f"{self.source}: {self.problems[0]}"
        return "\n".join([f"{self.source}: {len(self.problems)} problems", *(f"- {p}" for p in self.problems)])


def _lines(rows: Sequence[int]) -> str:
    shown = ", ".join(str(r) for r in rows[:ROWS_SHOWN])
    more = f" and {len(rows) - ROWS_SHOWN} more" if len(rows) > ROWS_SHOWN else ""
    return f"line{'s' if len(rows) > 1 else ''} {shown}{more}"
