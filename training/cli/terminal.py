"""What the command prints: tables for people, JSON for machines, bars while they wait."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def say(sentence: str) -> None:
    """A sentence for the user, on stderr."""
    err.print(sentence, markup=False)


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
def progress(quiet: bool, what: str) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on stderr; none where nobody watches."""
    if quiet or not err.is_terminal:
        yield None
        return
    shown = TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*shown, console=err, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
