"""What the command prints: tables for people, JSON for machines, bars while they wait."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from rich.box import SIMPLE_HEAD
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from training.learn.runs.console import PlainConsole
from training.learn.runs.outlook import at_most

out = PlainConsole()
err = PlainConsole(stderr=True)
_SECONDS = 10
"""Between two lines of progress where there is no terminal."""
Bar = Callable[..., None]
"""Called with what is done, all there is and, where it is known, the seconds that the rest takes at most."""


def say(sentence: str) -> None:
    """A sentence for the user, on stderr."""
    err.print(sentence)


def show(values: Mapping[str, Any], as_json: bool, title: str) -> None:
    """Names and values on stdout."""
    if as_json:
        typer.echo(json.dumps(values, indent=2))
        return
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in values.items():
        table.add_row(name, str(value) if name == "seed" else _cell(value))
    out.print(table)


def _cell(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_cell, value)) or "-"
    if value is None or value == "":
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}" if isinstance(value, float) else str(value)


def show_rows(rows: Sequence[Mapping[str, Any]], title: str) -> None:
    """A table on stdout; the first column names its rows, the others are numbers."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for column, name in enumerate(rows[0]):
        table.add_column(name, justify="right" if column else "left")
    for row in rows:
        table.add_row(*(f"{v:,.0f}" if isinstance(v, int | float) else str(v) for v in row.values()))
    out.print(table)


@contextmanager
def progress(quiet: bool, what: str, first: str = "") -> Iterator[Bar | None]:
    """On stderr: a bar on a terminal, elsewhere a line every `_SECONDS`, as in the log of a job; nothing if quiet.

    first: a sentence for the beginning of the work, which comes when all checks are passed.
    """
    if quiet:
        yield None
        return
    if not err.is_terminal:
        yield _announced(line_by_line(what), first)
        return
    shown = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[rest]}"),
    )
    with Progress(*shown, console=err, transient=True) as bar:
        task = bar.add_task(what, total=None, rest="")

        def report(done: int, total: int, left: float | None) -> None:
            bar.update(task, completed=done, total=total, rest=at_most(left).removeprefix(", "))

        yield _announced(report, first)


def _announced(report: Bar, first: str) -> Bar:
    waiting = [first] if first else []

    def announced(done: int, total: int, left: float | None = None) -> None:
        if waiting:
            say(waiting.pop())
        report(done, total, left)

    return announced


def line_by_line(what: str) -> Bar:
    """Prints how far the work is, at most once in `_SECONDS`."""
    begun = shown = time.monotonic()

    def report(done: int, total: int, left: float | None = None) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown >= _SECONDS:
            shown = now
            say(f"{what}: {done:,} of {total:,} after {now - begun:.0f} s{at_most(left)}")

    return report
