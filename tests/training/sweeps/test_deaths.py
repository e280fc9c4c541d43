"""A worker that is killed at a random moment: rows, none twice, with all columns, and losses as if nothing had been."""

import os
import signal
import time

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import weights
from small_sweeps import Forked, measured, plan

from training.learn import loop
from training.sweeps.sweep import Sweep


def killed(data, folder, after=None):
    """A sweep whose first worker is killed so many seconds after its start, if at all; seconds that it took."""
    executor, sweep = Forked(), Sweep.of(plan(data, sizes=(1e4,)).runs, folder)
    begun, victims = time.monotonic(), []

    def kill():
        while after is not None and not victims and executor.running and time.monotonic() - begun < after:
            time.sleep(0.001)
        if after is not None and not victims and executor.running:
            victims.extend(executor.running.values())
            os.kill(victims[0], signal.SIGKILL)

    sweep.go(executor, kill)
    assert sweep.count("finished") == 1, [run.reason for run in sweep.runs]
    return time.monotonic() - begun, weights(sweep.runs[0].job.folder)


@pytest.mark.parametrize("moments", [3, pytest.param(100, marks=pytest.mark.slow)])
def test_a_worker_that_dies_at_any_moment_costs_nothing(data, tmp_path, monkeypatch, moments):
    monkeypatch.setattr(loop, "SAVE_EVERY", (0.1, 0.1))
    monkeypatch.setattr("training.sweeps.sweep._EVERY", 0.01)
    monkeypatch.setattr(loop, "matrix_rate", lambda *given: 1e9)
    took, expected = killed(data, tmp_path / "undisturbed")
    undisturbed = measured(tmp_path / "undisturbed")
    for number, moment in enumerate(np.random.default_rng(0).uniform(0, 0.9 * took, moments)):
        folder = tmp_path / str(number)
        _, found = killed(data, folder, moment)
        pd.testing.assert_frame_equal(measured(folder), undisturbed)
        assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())
