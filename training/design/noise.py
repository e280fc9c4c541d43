"""Batches of random frames, for what needs a batch and no game."""

import numpy as np

from training.policies.family import PolicySpec


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
