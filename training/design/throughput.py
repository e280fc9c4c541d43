"""How fast a run trains on this machine, measured on frames of noise."""

import time

import numpy as np
import torch

from training.config.base import TrainingConfig
from training.config.cloning import CloningConfig
from training.design.cloning import device_here, spec_in
from training.policies.arithmetic import autocast, matrix_rate, precision, to_device
from training.policies.compiled import compiles
from training.policies.family import PolicySpec, build
from training.policies.flops import flops_per_sample
from training.policies.losses import cloning_loss
from training.shards.reader import Shards


def flops_per_second(run: TrainingConfig, threads: int, shards: Shards | None = None) -> float:
    """How fast the run trains here on so many cores, measured now on frames of noise.

    Cores matter only where there is no GPU. Games, which reinforcement learning plays while it learns, are left out.
    shards: those in the run's `data`, where they are open already.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        spec = spec_in(run, shards)
        return frames_per_second(spec, run, seconds=0.5) * flops_per_sample(spec, run.unroll_length)
    finally:
        torch.set_num_threads(before)


def remarks(run: CloningConfig, shards: Shards | None = None) -> str:
    """Comments for the top of its TOML: width, cost, and hours on this machine from rates measured now.

    shards: those in the run's `data`, where they are open already.
    """
    spec = spec_in(run, shards)
    cost = flops_per_sample(spec, run.unroll_length)
    speed, device = frames_per_second(spec, run), torch.device(device_here())
    share = speed * cost / matrix_rate(device, precision(run, device))
    uncompiled = ", uncompiled" if compiles(run, device) else ""
    return (
        f"# width {spec.width}, {cost:.4g} FLOPs a sample, {run.updates:,} updates\n"
        f"# about {run.samples / speed / 3600:.3g} hours on this machine, at {speed:,.0f} frames/s measured just now"
        f"{uncompiled}: {share:.1%} of its matrix rate\n"
    )


def frames_per_second(spec: PolicySpec, config: TrainingConfig, seconds: float = 2.0) -> float:
    """Measured rate of training steps on frames of noise, here; at least two steps, the first left out."""
    device = torch.device(device_here())
    policy = build(spec).to(device)
    optimizer = torch.optim.Adam(policy.parameters(), fused=True)
    # A few frames suffice to know the rate of a CPU, which does not grow with the batch.
    sequences = (
        config.batch_size if device.type == "cuda" else max(1, min(config.batch_size, 512 // config.unroll_length))
    )
    batch = to_device(noise(spec, sequences, config.unroll_length), device)
    memory = policy.initial_state(sequences, device)
    begun, steps = 0.0, 0
    while steps < 2 or time.perf_counter() - begun < seconds:
        with autocast(device, precision(config, device)):
            logits, _ = policy(batch, memory)
        total, count = cloning_loss(logits, batch["action"], batch["mask"])
        optimizer.zero_grad(set_to_none=True)
        (total / count).backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        steps += 1
        if steps == 1:
            begun = time.perf_counter()
    return (steps - 1) * sequences * config.unroll_length / (time.perf_counter() - begun)


def noise(spec: PolicySpec, batch: int, unroll: int, seed: int = 0) -> dict[str, np.ndarray]:
    """A batch of random frames [batch, unroll, ...] such as the loader gives."""
    rng, shape = np.random.default_rng(seed), (batch, unroll)
    frames = {
        "previous": rng.integers(0, spec.actions, shape),
        "action": rng.integers(0, spec.actions, shape),
        "start": np.zeros(shape, bool),
        "mask": np.ones(shape, bool),
    }
    if spec.env == "atari":
        return {**frames, "pixels": rng.integers(0, 256, (*shape, 4, 84, 84), dtype=np.uint8)}
    return {
        **frames,
        "chars": rng.integers(32, 127, (*shape, 24, 80), dtype=np.uint8),
        "colors": rng.integers(0, 16, (*shape, 24, 80), dtype=np.uint8),
        "cursor": np.stack([rng.integers(1, 22, shape), rng.integers(0, 80, shape)], -1).astype(np.uint8),
    }
