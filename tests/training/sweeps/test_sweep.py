"""Sweeps of real runs: each once, in any order, whatever is killed, full, damaged or twice there."""

import dataclasses
import errno
import os
import signal

import pandas as pd
import pytest
import torch
from helpers import weights
from small_sweeps import Here, plan

from training.learn.runs.table import read_rows
from training.sweeps.jobs import ThisMachine
from training.sweeps.sweep import Sweep

VOLATILE = ["frames_per_second", "share_of_peak"]
"""Columns that say how fast it went."""


def table_of(folder):
    rows = pd.read_csv(folder / "runs.csv").drop(columns=VOLATILE)
    return rows.sort_values(["run", "update"], ignore_index=True)


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
