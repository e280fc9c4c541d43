"""GPU memory that a run needs: how many runs fit side by side."""

import dataclasses

import torch
from torch import Tensor

from training.config.base import TrainingConfig
from training.config.reinforcement import ReinforcementConfig
from training.design.cloning import spec_in
from training.design.throughput import noise
from training.policies.arithmetic import to_device
from training.policies.family import build, count_params
from training.policies.losses import cloning_loss

CONTEXT = 0.8e9
"""Bytes that a process takes on a GPU before it computes anything."""
FILLED = 0.9
"""Share of a GPU's memory that runs may fill together."""
_FRAMES = 64
_SLACK = 1.3  # what a step needs beside what it keeps for its gradients
_WEIGHT = 16.0  # bytes a parameter: itself, its gradient and Adam's two moments, in float32


def run_memory(config: TrainingConfig) -> float:
    """Bytes of a run: a process's own, the weights with all that goes with them, and what a batch keeps for gradients.

    What a frame keeps is counted, in float32, in a forward pass of a few frames on the CPU.
    """
    spec = spec_in(config)
    spec = dataclasses.replace(spec, context=min(spec.context, _FRAMES))
    policy = build(spec)
    unroll = min(config.unroll_length, _FRAMES)
    sequences = max(1, _FRAMES // unroll)
    batch = to_device(noise(spec, sequences, unroll), torch.device("cpu"))
    kept: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    weights = {p.untyped_storage().data_ptr() for p in policy.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        logits, _ = policy(batch, policy.initial_state(sequences))
        cloning_loss(logits, batch["action"], batch["mask"])
    per_frame = sum(size for pointer, size in kept.items() if pointer not in weights) / (sequences * unroll)
    frames = config.batch_size * config.unroll_length
    if isinstance(config, ReinforcementConfig):
        frames = max(frames, config.envs)
    return CONTEXT + _WEIGHT * count_params(spec) + _SLACK * per_frame * frames
