"""A write that fails, whichever it is: started again, the table has one row a checkpoint and no failed run."""

import errno
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest
from full_disks import full_at, small_disk
from small_sweeps import Here, measured, plan

from training.learn.runs.table import read_rows
from training.sweeps.sweep import TABLE, Sweep


def short(data):
    """A run of two updates, a row after each."""
    return plan(data, budgets=(4e7, 8e7), sizes=(1e4,)).runs


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "sweep"
    Sweep.of(short(data), folder).go(Here())
    return measured(folder)


def test_whichever_write_fails_the_table_ends_with_its_rows(undisturbed, data, tmp_path, monkeypatch):
    """Every file is put in place by `os.replace`: here the k-th does not come through, for every k."""
    monkeypatch.setattr("training.learn.loop.matrix_rate", lambda *given: 1e9)
    monkeypatch.setattr("training.sweeps.sweep._EVERY", 0.0)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    k, failed = 0, [Path()]
    while failed:
        k, folder = k + 1, tmp_path / "sweep"
        with full_at(k, once=True) as failed:
            Sweep.of(short(data), folder, retries=0).go(Here())
        again = Sweep.of(short(data), folder)
        again.go(Here())
        assert again.count("finished") == 1
        pd.testing.assert_frame_equal(measured(folder), undisturbed)
        shutil.rmtree(folder)
    assert k > 12  # of config, rows, and files of checkpoints


def test_a_failed_row_goes_when_the_config_of_its_run_changes(data, tmp_path):
    folder = tmp_path / "sweep"
    bad = plan(data, budgets=(8e7,), sizes=(1e4,), max_epochs=0.001).runs
    Sweep.of(bad, folder).go(Here())
    assert [row["state"] for row in read_rows(folder / TABLE)] == ["failed"]
    Sweep.of(plan(data, budgets=(8e7,), sizes=(1e4,)).runs, folder).go(Here())
    rows = read_rows(folder / TABLE)
    assert [(row["state"], row["update"], row["reason"]) for row in rows] == [("", "2", "")]


def test_a_row_written_before_its_machine_failed_ends_its_run(data, tmp_path, monkeypatch):
    """When the checkpoint of the last row cannot be pinned, nothing is missing: no failed row follows."""

    def full(*given):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("training.learn.learner.pin_checkpoint", full)
    sweep = Sweep.of(plan(data, budgets=(8e7,), sizes=(1e4,)).runs, tmp_path / "sweep", retries=0)
    sweep.go(Here())
    assert sweep.count("finished") == 1
    assert [row["update"] for row in read_rows(tmp_path / "sweep" / TABLE)] == ["2"]


def test_a_disk_too_full_to_start_a_process_is_tried_again(data, tmp_path, monkeypatch):
    begun = []

    class Full(Here):
        def start(self, job):
            begun.append(job)
            if len(begun) == 1:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            super().start(job)

    sweep = Sweep.of(plan(data, budgets=(8e7,), sizes=(1e4,)).runs, tmp_path / "sweep")
    sweep.pause = 0.0
    sweep.go(Full())
    assert (sweep.count("finished"), len(begun)) == (1, 2)


def test_a_disk_too_small_and_then_enlarged_loses_nothing(data, tmp_path):
    runs, folder = plan(data).runs, tmp_path / "disk" / "sweep"
    Sweep.of(runs, tmp_path / "sweep").go(Here())
    with small_disk(tmp_path / "disk", 300) as enlarge:
        sweep, told = Sweep.of(runs, folder, retries=0), []
        sweep.say = told.append
        sweep.go(Here())
        assert sweep.count("failed")
        assert "No space left on device" in told[0]
        enlarge()
        again = Sweep.of(runs, folder)
        again.go(Here())
        assert again.count("finished") == 2
        pd.testing.assert_frame_equal(measured(folder), measured(tmp_path / "sweep"))
