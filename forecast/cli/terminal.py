"""What the command prints: tables for people, JSON for machines, bars while they wait."""

import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

import forecast

if TYPE_CHECKING:
    import pandas as pd
    from rich.text import Text

    from forecast.bayes.provenance import Provenance


class _Plain(Console):
    """Prints names and paths as they are, whatever brackets they have, and shows what would steer the terminal."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, soft_wrap=True, markup=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> "Text":
        """The text with every character that is not printed as an escape, such as \\x1b; lines stay lines."""
        plain = "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)
        return super().render_str(plain, **options)


out = _Plain()
err = _Plain(stderr=True)
_SECONDS = 10
"""Between two lines of progress where there is no terminal."""
_NUMBER = re.compile(r"[−+<>]?\d.*|[–✓✗]?")
"""A cell that is written flush right."""


@contextmanager
def progress(quiet: bool, what: str, announced: str) -> Iterator[Callable[[int, int], None] | None]:
    """On stderr: what comes, once it begins, and a bar; off a terminal a line every `_SECONDS`; nothing if quiet."""
    if quiet:
        yield None
        return
    if not err.is_terminal:
        yield _after(announced, _line_by_line(what))
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    shown = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*shown, console=err, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield _after(announced, lambda done, total: bar.update(task, completed=done, total=total))


def _after(announced: str, report: Callable[[int, int], None]) -> Callable[[int, int], None]:
    """Prints what was announced before the first report."""
    sentences = [announced]

    def reported(done: int, total: int) -> None:
        while sentences:
            err.print(sentences.pop())
        report(done, total)

    return reported


def _line_by_line(what: str) -> Callable[[int, int], None]:
    """Prints how far the work is, at most once in `_SECONDS`."""
    begun = shown = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown >= _SECONDS:
            shown = now
            err.print(f"{what}: {done:,} of {total:,} after {now - begun:.0f} s")

    return report


def notes(posterior: "forecast.Posterior") -> list[str]:
    """What was mapped, left out, set aside or assumed, a sentence each."""
    rows = len(posterior.runs.table)
    counts = posterior.set_aside.value_counts()
    return [*posterior.runs.notes, *(f"Set aside: {n} of {rows} rows, {reason}." for reason, n in counts.items())]


def tell(sentences: Iterable[str], *, quiet: bool = False) -> None:
    """Notes on stderr, unless quiet."""
    for sentence in () if quiet else sentences:
        err.print(f"note: {sentence}")


def warn(posterior: "forecast.Posterior", made: "Provenance | None" = None, *, quiet: bool = False) -> None:
    """Say on stderr what a posterior rests on, unless quiet, and why not to believe it, if there is a reason.

    made: of the forecast that was made from it, which may lie far beyond the table; None: of one inside the table.
    """
    tell(notes(posterior), quiet=quiet)
    verdict = (made or posterior.provenance).verdict
    if verdict.level != "green":
        err.print(verdict.sentence, style={"amber": "yellow", "red": "bold red"}[verdict.level])


def diagnostics(posterior: "forecast.Posterior") -> dict[str, Any]:
    """The verdict for machines."""
    return {**posterior.provenance.diagnostics, "checks": posterior.diagnostics.checks.to_dict(orient="records")}


def print_json(value: Any) -> None:
    """JSON on stdout; a number that is not finite is null."""
    sys.stdout.write(as_json(value))


def as_json(value: Any) -> str:
    """JSON with a line end; a number that is not finite is null."""
    return json.dumps(_plain(value), indent=2, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    """JSON types; a number that is not finite is null."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not abs(value) < float("inf") else value


def print_table(frame: "pd.DataFrame", title: str | None) -> None:
    """A table on stdout, its cells as in `forecast.shown.cells`; words too long for a narrow terminal are broken."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from forecast.shown import cells

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    rows = cells(frame)
    for k, name in enumerate(frame.columns):
        right = all(_NUMBER.fullmatch(row[k]) for row in rows)
        table.add_column(str(name), justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    out.print(table)


def say(sentence: str, *, quiet: bool = False) -> None:
    """A sentence on stderr, unless quiet."""
    if not quiet:
        err.print(sentence)


def wrote(what: str, place: Path | None, *, quiet: bool = False) -> None:
    """Say on stderr what was written where, unless quiet or nothing was."""
    if place is not None and not quiet:
        err.print(f"Wrote {what} to {place}.")
