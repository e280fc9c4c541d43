"""What a run is taken to need of a GPU, counted on the CPU, beside what a step really takes there."""

import dataclasses
import os
import subprocess
import sys

import pytest

from training.design.cloning import configure
from training.design.memory import CONTEXT, run_memory
from training.design.reinforcement import configure as configure_rl
from training.policies.family import count_params, spec_for

STEPS = """
import sys
import torch
from training.design.cloning import configure, spec_in
from training.design.noise import noise
from training.policies.arithmetic import to_device
from training.policies.family import build
from training.policies.losses import cloning_loss

def of_process(name):  # not getrusage, whose peak begins with that of the process which started this one
    line = next(line for line in open("/proc/self/status") if line.startswith(name))
    return 1024 * int(line.split()[1])

def learn(run):
    spec = spec_in(run)
    policy = build(spec)
    optimizer = torch.optim.Adam(policy.parameters(), fused=True)
    batch = to_device(noise(spec, run.batch_size, run.unroll_length), torch.device("cpu"))
    for _ in range(2):
        logits, _ = policy(batch, policy.initial_state(run.batch_size))
        total, count = cloning_loss(logits, batch["action"], batch["mask"])
        optimizer.zero_grad(set_to_none=True)
        (total / count).backward()
        optimizer.step()

torch.set_num_threads(1)
settings = dict(params=1e6, flops=1e14, **eval(sys.argv[1]))
learn(configure(**{**settings, "batch_size": 2}))  # what torch takes once does not count
before = of_process("VmRSS")
learn(configure(**settings))
print(of_process("VmHWM") - before)
"""
"""Prints the bytes that two training steps add to a process at their peak."""


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 32, "unroll_length": 32},
        {"batch_size": 16, "unroll_length": 32, "core": "transformer"},
        {"batch_size": 1024, "env": "atari"},
    ],
)
def test_the_estimate_is_near_the_measured_peak(settings):
    at_once = {"MALLOC_TRIM_THRESHOLD_": "0", "MALLOC_MMAP_THRESHOLD_": "65536"}  # freed memory goes back
    done = subprocess.run(
        [sys.executable, "-c", STEPS, repr(settings)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **at_once},
    )
    estimate = run_memory(configure(params=1e6, flops=1e14, **settings)) - CONTEXT
    assert 0.65 < estimate / int(done.stdout) < 1.6  # measured here: 1.25, 1.27 and 0.78


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
