"""Tiny games for cloning: screens show one of four letters in the message line, the expert presses its number."""

from pathlib import Path

import numpy as np

from training.record.nethack.convert import nethack_writer


def write_letters(folder: Path) -> Path:
    """Seven games as shards in `folder`, 40% of them held out."""
    with nethack_writer(folder, source="test") as writer:
        for seed, length in enumerate((300, 500, 150, 420, 260, 90, 380)):
            encoder = writer.game(str(seed))
            encoder.append(**game(seed, length))
            writer.add(encoder.finish(points=length))
        writer.finish(holdout=0.4)
    return folder


def game(seed: int, length: int) -> dict[str, np.ndarray]:
    """The arrays of one."""
    rng = np.random.default_rng(seed)
    letter = rng.integers(0, 4, length)
    chars = np.full((length, 24, 80), 32, np.uint8)
    chars[:, 0, :5] = 65 + letter[:, None]
    return {
        "chars": chars,
        "colors": np.full((length, 24, 80), 7, np.uint8),
        "cursor": np.full((length, 2), 10, np.uint8),
        "action": letter.astype(np.uint8),
        "mask": rng.random(length) < 0.9,
        "score": np.zeros(length, np.int32),
    }
