"""What the command shows while its user waits."""

import pandas as pd

from forecast.cli import terminal


def lines_of(capsys, monkeypatch, seconds, *, quiet=False):
    """Lines on stderr where reports come at these seconds after the start, off a terminal."""
    clock = iter([0.0, *seconds])
    monkeypatch.setattr(terminal.time, "monotonic", lambda: next(clock))
    with terminal.progress(quiet) as report:
        for done, _ in enumerate(seconds, start=1):
            if report is not None:
                report(done * 100, 2000)
    return capsys.readouterr().err.splitlines()


def test_off_a_terminal_a_line_every_ten_seconds(capsys, monkeypatch):
    lines = lines_of(capsys, monkeypatch, [3.0, 9.0, 12.0, 13.0, 21.0, 40.0])
    assert lines == ["sampling: 300 of 2,000 after 12 s", "sampling: 600 of 2,000 after 40 s"]


def test_nothing_is_shown_where_a_machine_reads(capsys, monkeypatch):
    assert lines_of(capsys, monkeypatch, [20.0, 40.0], quiet=True) == []


def test_names_with_brackets_are_printed_as_they_are(capsys):
    terminal.print_table(pd.DataFrame({"group": ["[/b] x", "[red]y"], "loss": [1.0, 2.0]}), "[/i] title")
    terminal.out.print("group [/b] x")
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("[/b] x", "[red]y", "[/i] title", "group [/b] x"))
