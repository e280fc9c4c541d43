"""What the command shows while its user waits."""

from pathlib import Path

import numpy as np
import pandas as pd

import forecast
from forecast.cli import terminal
from forecast.verify.scores import bundled_backtest, by_method, pooled


def lines_of(capsys, monkeypatch, seconds, *, quiet=False):
    """Lines on stderr where reports come at these seconds after the start, off a terminal."""
    clock = iter([0.0, *seconds])
    monkeypatch.setattr(terminal.time, "monotonic", lambda: next(clock))
    with terminal.progress(quiet, "sampling", "Fitting 9 rows.") as report:
        for done, _ in enumerate(seconds, start=1):
            if report is not None:
                report(done * 100, 2000)
    return capsys.readouterr().err.splitlines()


def test_off_a_terminal_a_line_every_ten_seconds(capsys, monkeypatch):
    lines = lines_of(capsys, monkeypatch, [3.0, 9.0, 12.0, 13.0, 21.0, 40.0])
    assert lines == ["Fitting 9 rows.", "sampling: 300 of 2,000 after 12 s", "sampling: 600 of 2,000 after 40 s"]


def test_nothing_is_shown_where_a_machine_reads(capsys, monkeypatch):
    assert lines_of(capsys, monkeypatch, [20.0, 40.0], quiet=True) == []


def test_names_with_brackets_are_printed_as_they_are(capsys):
    terminal.print_table(pd.DataFrame({"group": ["[/b] x", "[red]y"], "loss": [1.0, 2.0]}), "[/i] title")
    terminal.out.print("group [/b] x :warning:")
    terminal.wrote("the report", Path("rep[v2]"))
    shown = "".join(capsys.readouterr())
    assert all(text in shown for text in ("[/b] x", "[red]y", "[/i] title", "group [/b] x :warning:", "to rep[v2]."))


def test_what_would_steer_the_terminal_is_shown_and_not_sent(capsys):
    name = "\x1b[31mred\x07 \x9bm\r\u202e"
    terminal.print_table(pd.DataFrame({name: [name], "loss": [1.0]}), name)
    terminal.out.print(f"one line\n{name}")
    terminal.say(f"{name}\udcff")
    out, err = capsys.readouterr()
    assert out.count(r"\x1b[31mred\x07 \x9bm\r\u202e") == 4
    assert err == "\\x1b[31mred\\x07 \\x9bm\\r\\u202e\\udcff\n"
    assert all(c.isprintable() or c == "\n" for c in out)


def test_true_and_false_are_marks_and_nothing_is_empty(capsys):
    frame = pd.DataFrame({"check": ["a", "b"], "value": [0.5, np.nan], "passed": [True, False], "why": [None, "late"]})
    terminal.print_table(frame, None)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["a", "0.500", "✓"] in rows
    assert ["b", "✗", "late"] in rows


def test_tables_fit_80_columns_with_every_name_whole(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for source in ("nethack-transformer", "atari-cnn"):
        found = bundled_backtest(forecast.read_runs(source))
        for target in ("loss", "return"):
            terminal.print_table(by_method(pooled(found.scores()), target), target)
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown
    for name in ("this forecast", "power law", "parabolas", "Huber", "var. projection"):
        assert shown.count(f" {name}  ") == 4


def test_long_words_are_broken_and_not_cut(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    name = "x" * 120
    terminal.print_table(pd.DataFrame({"group": [name], "loss": [1.0]}), None)
    shown = capsys.readouterr().out
    assert shown.count("x") == 120
    assert "1.00" in shown


def test_files_that_were_written_are_named(capsys, tmp_path):
    terminal.wrote("the posterior", tmp_path / "p.nc")
    terminal.wrote("the posterior", None)
    terminal.wrote("the posterior", tmp_path / "p.nc", quiet=True)
    assert capsys.readouterr().err == f"Wrote the posterior to {tmp_path / 'p.nc'}.\n"
