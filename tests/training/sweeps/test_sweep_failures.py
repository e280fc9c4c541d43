"""Runs that fail: the row and the reason that are left of them, and which are started again."""

import dataclasses
import errno
import os
import sys
import time
from pathlib import Path

import pytest
from helpers import alive
from small_sweeps import Here, plan, workers_of

import forecast
from training.config.base import to_toml as config_toml
from training.errors import ConfigError, DataError, DivergedError, MachineError
from training.interrupts import InterruptedRunError
from training.learn.runs.table import read_rows
from training.sweeps import jobs
from training.sweeps.jobs import ThisMachine, last_words
from training.sweeps.sweep import Sweep


def plant(error: str, where: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let training raise an error in the processes of jobs for which an expression holds; the rest of them is real."""
    (folder / "sitecustomize.py").write_text(  # which Python runs at its start
        "import importlib, sys, training.errors\n"
        "class Bad:\n"
        "    def __getattr__(self, name):\n"
        f"        if {where}:\n"
        f"            raise {error}\n"
        "        del sys.modules['training.learn.bc']\n"
        "        return getattr(importlib.import_module('training.learn.bc'), name)\n"
        "sys.modules['training.learn.bc'] = Bad()\n"
    )
    root = str(Path(__file__).parents[3])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), root]))


STUBBORN = """
import subprocess, sys, types
def train(*given, **settings):
    import signal, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print(subprocess.Popen(["sleep", "60"]).pid, flush=True)
    time.sleep(60)
sys.modules["training.learn.bc"] = types.SimpleNamespace(train=train)
"""


def job_that_raises(error, data, folder, monkeypatch):
    """The process of a job, in this one, whose training raises an error."""

    def fail(*_):
        raise error

    (folder / "config.toml").write_text(config_toml(plan(data).runs[0]))
    monkeypatch.setattr(jobs, "_train", fail)
    monkeypatch.setattr(sys, "argv", ["jobs", str(folder), str(folder / "runs.csv"), "1", str(os.getppid())])
    jobs.main()


def test_a_failed_run_is_a_row_with_reason_and_stops_no_other(data, tmp_path):
    bad = dataclasses.replace(plan(data).runs[0], max_epochs=0.001)
    told = []
    runs = [*plan(data, budgets=(3e8, 4.5e8, 6e8), sizes=(1e4, 2e4, 4e4)).runs, bad]
    sweep = Sweep.of(runs, tmp_path / "sweep", say=told.append)
    sweep.go(Here())
    assert (sweep.count("finished"), sweep.count("failed")) == (3, 1)
    (row,) = [row for row in read_rows(tmp_path / "sweep" / "runs.csv") if row["state"] == "failed"]
    assert row["config"] == bad.identity
    assert "passes where max_epochs = 0.001" in row["reason"]
    assert row["loss"] == row["update"] == ""
    assert any("failed: " in sentence for sentence in told)
    found = forecast.read_runs(tmp_path / "sweep" / "runs.csv")
    assert len(found.table) == 9
    assert any("failed" in note for note in found.notes)


def test_a_run_whose_process_always_dies_fails_in_words(data, tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "_train", lambda *arguments: (_ for _ in ()).throw(InterruptedRunError()))
    sweep = Sweep.of(plan(data, sizes=(1e4,)).runs, tmp_path / "sweep", retries=1)
    sweep.go(Here())
    assert sweep.runs[0].starts == 2
    (row,) = read_rows(tmp_path / "sweep" / "runs.csv")
    assert "killed" in row["reason"]
    assert "2 times" in row["reason"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("change it."), jobs.REFUSED),
        (DataError("record it again."), jobs.REFUSED),
        (DivergedError("lower learning_rate."), jobs.REFUSED),
        (MachineError("make room."), jobs.MACHINE),
        (OSError(errno.ENOSPC, "No space left on device"), jobs.MACHINE),
        (MemoryError("no room"), jobs.MACHINE),
    ],
)
def test_the_exit_code_says_whether_to_try_again(data, tmp_path, monkeypatch, capsys, error, code):
    with pytest.raises(SystemExit) as ended:
        job_that_raises(error, data, tmp_path, monkeypatch)
    assert ended.value.code == code
    assert str(error) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "starts", "words", "traceback"),
    [
        ("ValueError('a bug')", 1, "a bug ended it (ValueError: a bug); its log is {folder}/log.txt", True),
        (
            "training.errors.MachineError('the disk is full.')",
            2,
            "its machine failed (the disk is full.), 2 times",
            False,
        ),
        ("training.errors.ConfigError('lower params.')", 1, "lower params.", False),
    ],
)
def test_only_what_may_pass_is_started_again(data, tmp_path, monkeypatch, error, starts, words, traceback):
    plant(error, "sys.argv", tmp_path, monkeypatch)
    sweep = Sweep.of(plan(data, sizes=(1e4,)).runs, tmp_path / "sweep", retries=1)
    sweep.pause = 0.0
    sweep.go(ThisMachine(1))
    (run,) = sweep.runs
    words = words.format(folder=run.job.folder)
    assert (run.state, run.starts, run.reason) == ("failed", starts, words)
    (row,) = read_rows(tmp_path / "sweep" / "runs.csv")
    assert row["reason"] == words
    assert ("Traceback" in (run.job.folder / "log.txt").read_text()) == traceback


def test_a_bug_is_shown_at_once_and_stops_no_other(data, tmp_path, monkeypatch):
    runs = plan(data, budgets=(3e8,)).runs
    plant("ValueError('a bug')", f"{runs[0].name!r} in sys.argv[1]", tmp_path, monkeypatch)
    sentences = []
    sweep = Sweep.of(runs, tmp_path / "sweep", say=sentences.append)
    sweep.go(ThisMachine(1))
    assert [(run.state, run.starts) for run in sweep.runs] == [("failed", 1), ("finished", 1)]
    verdict, lines = sentences
    assert verdict.startswith(f"{runs[0].name} failed: a bug ended it (ValueError: a bug)")
    log = sweep.runs[0].job.folder / "log.txt"
    assert verdict.endswith(str(log))
    assert log.read_text().endswith(f"{lines}\n")
    assert "sitecustomize.py" in lines  # where it was raised
    assert lines.endswith("ValueError: a bug")


def test_a_bug_in_a_job_is_no_refusal(data, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="a bug"):  # which ends the process with its traceback in the log, and code 1
        job_that_raises(ValueError("a bug"), data, tmp_path, monkeypatch)


def test_a_process_that_does_not_end_is_killed_with_its_own(data, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(STUBBORN)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(Path(__file__).parents[3])]))
    machine, (run, *_) = ThisMachine(1), Sweep.of(plan(data).runs, tmp_path / "sweep").runs
    machine.start(run.job)
    while not (helper := last_words(run.job.folder)):
        time.sleep(0.05)
    (worker,) = workers_of(tmp_path)
    begun = time.monotonic()
    machine.stop(0.2)
    assert 0.2 < time.monotonic() - begun < 3
    assert not alive(worker)
    while alive(int(helper)):  # it is killed, and gone in a moment
        assert time.monotonic() - begun < 10
        time.sleep(0.01)
