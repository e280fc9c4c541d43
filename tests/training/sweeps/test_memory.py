"""What a run is taken to need of a GPU, counted on the CPU."""

import dataclasses

import pytest

from training.design.cloning import configure
from training.design.reinforcement import configure as configure_rl
from training.policies.family import count_params, spec_for
from training.sweeps.memory import CONTEXT, run_memory


def test_memory_grows_with_the_batch_and_with_the_weights():
    run = configure(params=1e5, flops=1e13, batch_size=16, unroll_length=32)
    base = run_memory(run) - CONTEXT
    wide = run_memory(dataclasses.replace(run, batch_size=32)) - CONTEXT
    weights = 16.0 * count_params(spec_for("nethack", "lstm", 1e5, 121))
    assert wide - weights == pytest.approx(2 * (base - weights))
    larger = run_memory(configure(params=1e7, flops=1e16, batch_size=16, unroll_length=32)) - CONTEXT
    assert larger > base + 16.0 * 9e6


def test_every_kind_of_run_has_its_memory():
    for run in (
        configure(params=1e5, flops=1e13, core="transformer"),
        configure(params=1e5, flops=1e13, env="atari"),
        configure_rl(params=1e5, flops=1e13),
        configure_rl(params=2e4, flops=1e13, env="atari", algorithm="vtrace"),
    ):
        assert CONTEXT < run_memory(run) < 20e9
