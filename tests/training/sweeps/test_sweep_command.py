"""The command that makes a sweep: killed, interrupted, priced, and its table in the terminal."""

import dataclasses
import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from helpers import alive
from rich.console import Console
from small_sweeps import Here, measured, plan, workers_of
from typer.testing import CliRunner

from training.cli.commands import app
from training.cli.sweeps import _flops_done, _how_far, _picture
from training.design.plan import read_plan, to_toml
from training.errors import ConfigError
from training.learn.runs.monitor import PROGRESS
from training.learn.runs.table import read_rows
from training.policies.checkpoint import latest_checkpoint
from training.sweeps.jobs import last_words
from training.sweeps.sweep import Sweep, is_finished


def wait_for(what: Callable[[], object], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "what was waited for did not come"
        time.sleep(0.05)


def command(plan_file: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "training.cli", "sweep", str(plan_file), *options]


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_sweep_that_goes_on_undisturbed(data, tmp_path, number):
    """What a scheduler ends has all its time to save; what a person ends is saved or goes on from what was."""
    one = plan(data, budgets=(3e9, 6e9), sizes=(1e4,))
    (tmp_path / "plan.toml").write_text(to_toml(one))
    folder, (run,) = tmp_path / "sweep", one.runs
    place = folder / "runs" / run.name
    driver = subprocess.Popen(
        command(tmp_path / "plan.toml", "--out", str(folder), "--threads", "1"), stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: driver.poll() is not None or (place / PROGRESS).exists())
    workers = workers_of(folder)
    driver.send_signal(number)
    told = driver.communicate(timeout=60)[1]
    assert driver.returncode == 130, told
    assert "stopped with 0 of 1 runs finished; start the same command again to go on" in told
    assert workers
    assert not any(alive(pid) for pid in workers)
    if number == signal.SIGTERM:
        assert "start the same command again" in last_words(place)
        assert latest_checkpoint(place / "checkpoints")[0] is not None
    for where in (folder, tmp_path / "undisturbed"):
        Sweep.of(one.runs, where).go(Here())
    pd.testing.assert_frame_equal(measured(folder), measured(tmp_path / "undisturbed"))


def test_a_plan_says_what_it_costs(data, tmp_path):
    options = ["--flops", "2e9,4e9", "--sizes", "2", "--data", str(data), "--out", str(tmp_path / "plan.toml")]
    done = CliRunner().invoke(app, ["plan", *options])
    assert done.exit_code == 0, done.output
    assert "2 trainings, 4 rows, 8e+09 FLOPs: about " in done.output
    assert read_plan(tmp_path / "plan.toml").grid.keys() == {2e9, 4e9}
    refused = CliRunner().invoke(app, ["plan", *options], standalone_mode=False)
    assert isinstance(refused.exception, ConfigError)


def test_a_plan_of_more_passes_than_are_accepted_is_refused(data):
    options = ["plan", "--flops", "1e11", "--sizes", "1", "--data", str(data)]
    refused = CliRunner().invoke(app, options, standalone_mode=False)
    assert isinstance(refused.exception, ConfigError)
    assert "1 of 1 trainings need up to" in str(refused.exception)
    allowed = CliRunner().invoke(app, [*options, "--max-epochs", "1e6"])
    assert allowed.exit_code == 0, allowed.output
    assert "max_epochs = 1000000.0" in allowed.output


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


def test_a_log_tells_how_far_all_runs_are(data, tmp_path):
    sweep = Sweep.of(plan(data, budgets=(6e8,), sizes=(1e4, 2e4, 4e4, 8e4)).runs, tmp_path)
    first, second, _, last = sweep.runs
    before = _flops_done(sweep)
    assert _how_far(sweep, before, 12.0) == "0 finished, 0 running, 4 waiting after 12 s: 0% of the FLOPs"
    first.state, second.state, last.state = "finished", "running", "failed"
    second.job.folder.mkdir(parents=True)
    (second.job.folder / PROGRESS).write_text(json.dumps({"update": 3, "updates": 6}))
    told = "1 finished, 1 running, 1 waiting after 10 min: 50% of the FLOPs; about 10 min left"
    assert _how_far(sweep, before, 600.0) == told
