"""Sweeps of real runs: each once, whatever is killed, full, damaged or twice there."""

import dataclasses
import errno
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from helpers import weights
from letter_game import write_letters
from rich.console import Console
from typer.testing import CliRunner

import forecast
from training.cli.commands import app
from training.cli.sweeps import _picture
from training.config.base import to_toml as config_toml
from training.design.plan import RunGrid, read_plan, to_toml
from training.errors import ConfigError, DataError, DivergedError, MachineError, TrainingError
from training.interrupts import InterruptedRunError
from training.learn.monitor import PROGRESS
from training.learn.run_table import read_rows
from training.policies.checkpoint import latest_checkpoint
from training.sweeps import jobs
from training.sweeps.jobs import Ended, ThisMachine, last_words
from training.sweeps.sweep import Sweep, is_finished

VOLATILE = ["frames_per_second", "share_of_peak"]
"""Columns that say how fast it went."""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_letters(tmp_path_factory.mktemp("sweep") / "shards")


def plan(data, budgets=(3e8, 6e8), sizes=(1e4, 2e4), **run):
    given = {"data": str(data), "batch_size": 2, "unroll_length": 8, "max_epochs": 1e3, "heldout_frames": 100, **run}
    return RunGrid(grid={budget: list(sizes) for budget in budgets}, run=given)


class Here:
    """An executor that trains in this process, one run at a time, in which tests can change what they like."""

    def __init__(self):
        self.done = []

    def room(self, job):
        return not self.done

    def start(self, job):
        job.folder.mkdir(parents=True, exist_ok=True)
        try:
            jobs._train(job.config, job.folder, job.table, 1)
            self.done.append((job, Ended(code=0, words="")))
        except (TrainingError, OSError) as error:
            self.done.append((job, Ended(code=jobs.exit_code(error), words=str(error))))
        except InterruptedRunError:
            self.done.append((job, Ended(code=-signal.SIGKILL, words="")))

    def ended(self):
        done, self.done = self.done, []
        return done

    def stop(self):
        pass


def table_of(folder):
    rows = pd.read_csv(folder / "runs.csv").drop(columns=VOLATILE)
    return rows.sort_values(["run", "update"], ignore_index=True)


def wait_for(what: Callable[[], object], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "what was waited for did not come"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    """A sweep that nothing happened to, and its folder."""
    folder = tmp_path_factory.mktemp("undisturbed") / "sweep"
    sweep = Sweep.of(plan(data).runs, folder)
    sweep.go(Here())
    return sweep, folder


def test_each_run_has_a_row_at_each_budget(undisturbed, data):
    sweep, folder = undisturbed
    assert (sweep.count("finished"), sweep.count("failed")) == (2, 0)
    rows = table_of(folder)
    assert len(rows) == 4
    assert rows["loss"].notna().all()
    for run in plan(data).runs:
        own = rows[rows["config"] == run.identity]
        assert own["update"].tolist() == [run.updates_within(budget) for budget in run.budgets]


def test_processes_side_by_side_give_the_same_table_in_any_order(undisturbed, data, tmp_path):
    _, folder = undisturbed
    sweep = Sweep.of(plan(data).runs[::-1], tmp_path / "sweep")
    sweep.go(ThisMachine(2))
    assert sweep.count("finished") == 2
    pd.testing.assert_frame_equal(table_of(tmp_path / "sweep"), table_of(folder))


def test_what_is_finished_is_never_run_again(undisturbed, data):
    """Neither the version of the code nor clocks decide, but the rows: a newer code adds what is missing."""
    sweep, folder = undisturbed
    path = folder / "runs.csv"
    before = path.read_text()
    rows = pd.read_csv(path, dtype=str, keep_default_na=False).assign(code="0.0.1 older")
    rows[rows["config"] != sweep.runs[1].job.config.identity].to_csv(path, index=False)
    for file in folder.rglob("*"):
        os.utime(file, (4e9, 4e9))  # as if written in a far future
    try:
        again = Sweep.of(plan(data).runs, folder)
        assert [run.state for run in again.runs] == ["finished", "waiting"]
        # Its folder says finished, but the rows are gone: nothing is made up, and the table says so.
        again.go(Here())
        assert again.runs[1].state == "failed"
        assert "its rows are not in" in again.runs[1].reason
        for file in sorted(again.runs[1].job.folder.rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()
        again.runs[1].job.folder.rmdir()
        third = Sweep.of(plan(data).runs, folder)
        third.go(Here())
        rows = pd.read_csv(path)
        assert len(rows) == 4
        assert rows["code"].nunique() == 2
        assert rows["loss"].notna().all()  # the row of the failure is gone
    finally:
        path.write_text(before)


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


def test_a_killed_worker_starts_again_and_ends_with_same_weights(undisturbed, data, tmp_path):
    _, folder = undisturbed
    runs = plan(data).runs
    sweep = Sweep.of(runs, tmp_path / "sweep", say=print)
    machine = ThisMachine(1)
    killed = []

    def kill_once():
        for process, _ in machine._running.values():
            first = runs[0].updates_within(runs[0].budgets[0])
            if not killed and (sweep.runs[0].job.folder / "checkpoints" / f"update-{first:010d}").exists():
                os.kill(process.pid, signal.SIGKILL)
                killed.append(process.pid)

    sweep.go(machine, kill_once)
    assert killed
    assert sweep.count("finished") == 2
    pd.testing.assert_frame_equal(table_of(tmp_path / "sweep"), table_of(folder))
    for run in sweep.runs:
        expected = weights(folder / "runs" / run.job.folder.name)
        assert all(torch.equal(w, expected[name]) for name, w in weights(run.job.folder).items())


def test_a_run_whose_process_always_dies_fails_in_words(data, tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "_train", lambda *arguments: (_ for _ in ()).throw(InterruptedRunError()))
    sweep = Sweep.of(plan(data, sizes=(1e4,)).runs, tmp_path / "sweep", retries=1)
    sweep.go(Here())
    assert sweep.runs[0].starts == 2
    (row,) = read_rows(tmp_path / "sweep" / "runs.csv")
    assert "killed" in row["reason"]
    assert "2 times" in row["reason"]


@pytest.mark.parametrize(("retries", "failed", "rows"), [(0, 2, 1), (2, 0, 4)])
def test_a_full_disk_loses_nothing(undisturbed, data, tmp_path, monkeypatch, retries, failed, rows):
    _, folder = undisturbed
    calls, replace = [], os.replace

    def full(source, target):
        if str(target).endswith("runs.csv"):
            calls.append(target)
            if 2 <= len(calls) <= 5:  # the second row of the first run, and what comes then
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    told = []
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        sweep = Sweep.of(plan(data).runs, tmp_path / "sweep", retries=retries, say=told.append)
        sweep.pause = 0.0
        sweep.go(Here())
    assert sweep.count("failed") == failed
    assert any("No space left on device" in sentence for sentence in told)
    assert any("started again" in sentence for sentence in told) == (retries > 0)
    assert len(read_rows(tmp_path / "sweep" / "runs.csv")) == rows
    again = Sweep.of(plan(data).runs, tmp_path / "sweep")
    again.go(Here())
    pd.testing.assert_frame_equal(
        table_of(tmp_path / "sweep").drop(columns=["state", "reason"], errors="ignore"), table_of(folder)
    )


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


def test_a_bug_in_a_job_is_no_refusal(data, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="a bug"):  # which ends the process with its traceback in the log, and code 1
        job_that_raises(ValueError("a bug"), data, tmp_path, monkeypatch)


def job_that_raises(error, data, folder, monkeypatch):
    """The process of a job, in this one, whose training raises an error."""

    def fail(*_):
        raise error

    (folder / "config.toml").write_text(config_toml(plan(data).runs[0]))
    monkeypatch.setattr(jobs, "_train", fail)
    monkeypatch.setattr(sys, "argv", ["jobs", str(folder), str(folder / "runs.csv"), "1", str(os.getppid())])
    jobs.main()


def test_a_damaged_checkpoint_falls_back_to_the_one_before(undisturbed, data, tmp_path):
    _, folder = undisturbed
    sweep = Sweep.of(plan(data).runs, tmp_path / "sweep")
    sweep.go(Here())
    run = sweep.runs[0].job
    newest = max((run.folder / "checkpoints").glob("update-*"))
    file = newest / "policy.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    rows = pd.read_csv(run.table)
    rows[(rows["config"] != run.config.identity) | (rows["update"] != rows["update"].max())].to_csv(
        run.table, index=False
    )
    again = Sweep.of(plan(data).runs, tmp_path / "sweep")
    assert again.runs[0].state == "waiting"
    again.go(Here())
    pd.testing.assert_frame_equal(table_of(tmp_path / "sweep"), table_of(folder))


# ---- the command --------------------------------------------------------------------------------------------------


def command(plan_file: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "training.cli", "sweep", str(plan_file), *options]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def workers_of(folder: Path) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"training.sweeps.jobs" in arguments and any(str(folder).encode() in argument for argument in arguments):
            found.append(int(entry.name))
    return found


def test_a_killed_driver_ends_its_workers_and_the_next_goes_on(data, tmp_path):
    long = plan(data, budgets=(3e8, 6e8), sizes=(1e4, 2e4))
    long = dataclasses.replace(long, grid={**long.grid, 2e10: [2e4]})
    (tmp_path / "plan.toml").write_text(to_toml(long))
    folder, first = tmp_path / "sweep", long.runs[0]
    driver = subprocess.Popen(
        command(tmp_path / "plan.toml", "--out", str(folder), "--parallel", "1"), stderr=subprocess.PIPE, text=True
    )
    try:
        lock = folder / ".sweep.lock"
        wait_for(lambda: driver.poll() is not None or (lock.exists() and lock.read_text()))
        # Two drivers on one sweep: the second one is sent away.
        second = subprocess.run(
            command(tmp_path / "plan.toml", "--out", str(folder)), capture_output=True, text=True, timeout=120
        )
        assert second.returncode == 2
        assert f"another driver (process {driver.pid} on " in second.stderr
        wait_for(lambda: driver.poll() is not None or len(read_rows(folder / "runs.csv")) >= 3)
        workers = workers_of(folder)
        assert workers
        assert driver.poll() is None
    finally:
        driver.kill()
        driver.communicate()
    wait_for(lambda: not any(alive(pid) for pid in workers), 60)
    assert is_finished(first, read_rows(folder / "runs.csv"))
    log = (folder / "runs" / first.name / "log.txt").read_text()
    done = subprocess.run(
        command(tmp_path / "plan.toml", "--out", str(folder)), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "1 of 2 runs are finished already" in done.stderr
    assert "2 of 2 runs finished" in done.stdout
    assert (folder / "runs" / first.name / "log.txt").read_text() == log  # never started again
    rows = pd.read_csv(folder / "runs.csv")
    assert not rows.duplicated(["run", "update"]).any()
    assert len(rows) == 5
    assert "goes on after update" in (folder / "runs" / long.runs[1].name / "log.txt").read_text()


def test_ctrl_c_saves_and_says_how_to_go_on(data, tmp_path):
    (tmp_path / "plan.toml").write_text(to_toml(plan(data, budgets=(2e10,), sizes=(1e4,))))
    driver = subprocess.Popen(
        command(tmp_path / "plan.toml", "--out", str(tmp_path / "sweep")), stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: driver.poll() is not None or list(tmp_path.glob("sweep/runs/*/progress.json")))
    driver.send_signal(signal.SIGINT)
    told = driver.communicate(timeout=60)[1]
    assert driver.returncode == 130, told
    assert "stopped with 0 of 1 runs finished; start the same command again to go on" in told
    (folder,) = (tmp_path / "sweep" / "runs").iterdir()
    assert "start the same command again" in last_words(folder)
    assert latest_checkpoint(folder / "checkpoints")[0] is not None


def test_jobs_share_a_gpu_as_far_as_its_memory_goes(undisturbed):
    """By arithmetic alone: there is no GPU here."""
    sweep, _ = undisturbed
    job = sweep.runs[0].job
    machine = ThisMachine(8, gpus=[10.0, 16.0])
    placed = []
    for need in (6.0, 6.0, 6.0, 4.0):
        wanted = dataclasses.replace(job, memory=need)
        gpu = machine._gpu(wanted)
        placed.append(gpu)
        if gpu is not None:
            machine._free[gpu] -= need
    assert placed == [1, 0, 1, 0]  # the fuller of two is left for later while the other has more room
    assert machine._gpu(dataclasses.replace(job, memory=6.0)) is None
    assert ThisMachine(1, gpus=[10.0])._gpu(dataclasses.replace(job, memory=99.0)) == 0  # too large: tried alone


def test_a_plan_says_what_it_costs_and_which_runs_lack_data(data, tmp_path):
    options = ["--flops", "2e9,4e9", "--sizes", "2", "--data", str(data), "--out", str(tmp_path / "plan.toml")]
    done = CliRunner().invoke(app, ["plan", *options])
    assert done.exit_code == 0, done.output
    assert "2 trainings, 4 rows, 8e+09 FLOPs: about " in done.output
    assert "would fail" not in done.output
    assert read_plan(tmp_path / "plan.toml").grid.keys() == {2e9, 4e9}
    refused = CliRunner().invoke(app, ["plan", *options], standalone_mode=False)
    assert isinstance(refused.exception, ConfigError)
    done = CliRunner().invoke(app, ["plan", "--flops", "1e11", "--sizes", "1", "--data", str(data)])
    assert "1 of 1 trainings need up to" in " ".join(done.output.split())


def test_the_table_in_the_terminal_tells_of_each_run(data, tmp_path):
    sweep = Sweep.of(plan(data, budgets=(6e8,), sizes=(1e4, 2e4, 4e4)).runs, tmp_path)
    first, second, _ = sweep.runs
    first.state, second.state = "finished", "running"
    second.job.folder.mkdir(parents=True)
    told = {"update": 3, "updates": 12, "doing": "training", "loss": 2.3456, "flops_per_second": 4.2e9}
    (second.job.folder / PROGRESS).write_text(json.dumps({**told, "seconds_left": 75.0}))
    terminal = Console(file=io.StringIO(), width=140)
    terminal.print(_picture(sweep))
    lines = [line.split() for line in terminal.file.getvalue().splitlines() if line.strip()]
    names = [run.job.config.name for run in sweep.runs]
    assert lines[2] == [names[1], "6e+08", "training", "25%", "loss", "2.346", "4.2e+09", "75", "s"]
    assert lines[3:5] == [[names[2], "6e+08", "waiting"], [names[0], "6e+08", "finished"]]
    assert " ".join(lines[5]) == "1 finished, 1 running, 1 waiting, 0 failed"
