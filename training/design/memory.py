"""Memory that a run needs, and what is free: whether it fits, and how many fit side by side. Nothing is allocated."""

import contextlib
import dataclasses
import functools
from pathlib import Path

import torch
from torch import Tensor

from training.config.base import TrainingConfig
from training.config.reinforcement import ReinforcementConfig
from training.design.cloning import spec_in
from training.design.noise import noise
from training.policies.arithmetic import to_device
from training.policies.family import PolicySpec, build, count_params
from training.policies.losses import cloning_loss

CONTEXT = 0.8e9
"""Bytes that a process takes on a GPU before it computes anything."""
FILLED = 0.9
"""Share of a GPU's memory that runs may fill together."""
_FRAMES = 64
_SLACK = 1.3  # what a step needs beside what it keeps for its gradients
_WEIGHT = 16.0  # bytes a parameter: itself, its gradient and Adam's two moments, in float32
_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")  # of a container, in either version of cgroups


def run_memory(config: TrainingConfig) -> float:
    """Bytes of a run: a process's own, the weights with what goes with them, and what a batch keeps for gradients."""
    frames = config.batch_size * config.unroll_length
    if isinstance(config, ReinforcementConfig):
        frames = max(frames, config.envs)
    return CONTEXT + step_memory(spec_in(config), frames, config.unroll_length)


def step_memory(spec: PolicySpec, frames: int, unroll_length: int) -> float:
    """Bytes of a training step on so many frames, weights and optimizer included."""
    return _WEIGHT * count_params(spec) + _SLACK * frames * _kept(spec, min(unroll_length, _FRAMES))


def free_memory(device: torch.device) -> float:
    """Bytes that this process may still take there; of a CPU, within the limit of its container."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    free = float("inf")
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = 1024.0 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1])
    for name in _LIMITS:
        with contextlib.suppress(OSError, ValueError):  # no container, or one without a limit
            free = min(free, float((Path("/sys/fs/cgroup") / name).read_text()))
    return free


@functools.lru_cache(maxsize=1024)
def _kept(spec: PolicySpec, unroll: int) -> float:
    """Bytes a frame that a forward pass keeps for gradients, in float32: counted on torch's device without content."""
    meta = torch.device("meta")
    spec = dataclasses.replace(spec, context=min(spec.context, _FRAMES))
    with meta:
        policy = build(spec)
    sequences = max(1, _FRAMES // unroll)
    kept: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        return tensor

    weights = {p.untyped_storage()._cdata for p in policy.parameters()}
    batch = to_device(noise(spec, sequences, unroll), meta)
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        logits, _ = policy(batch, policy.initial_state(sequences, meta))
        cloning_loss(logits, batch["action"], batch["mask"])
    return sum(size for storage, size in kept.items() if storage not in weights) / (sequences * unroll)
