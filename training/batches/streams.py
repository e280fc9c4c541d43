"""Consecutive frames of one game as policies take them: stacked for Atari, each with the action before it."""

import numpy as np
from numpy.typing import NDArray

from training.shards.reader import RecordedGame, Shards

Batch = dict[str, NDArray]
"""Field -> [slots, time, ...], as policies take it."""
STACK = 4
"""Atari frames in one observation, the newest last; zeros before a game's first, as AtariVectorEnv gives them."""


def batch_fields(shards: Shards, slots: int, length: int) -> dict[str, tuple[type, tuple[int, ...]]]:
    """Type and shape of each field of a batch of the shards' environment."""
    time = (slots, length)
    rows, columns = shards.layout.shape
    observation: dict[str, tuple[type, tuple[int, ...]]]
    if shards.env == "atari":
        observation = {"pixels": (np.uint8, (*time, STACK, rows, columns))}
    else:
        observation = {name: (np.uint8, (*time, rows, columns)) for name in shards.layout.planes}
        observation["cursor"] = (np.uint8, (*time, 2))
    return observation | {
        "previous": (np.int64, time),
        "start": (np.bool_, time),
        "action": (np.int64, time),
        "mask": (np.bool_, time),
    }


def empty_batch(shards: Shards, slots: int, length: int) -> Batch:
    """A batch of zeros."""
    return {name: np.zeros(shape, dtype) for name, (dtype, shape) in batch_fields(shards, slots, length).items()}


class GameStream:
    """Consecutive frames of one game, as a policy takes them."""

    def __init__(self, shards: Shards, game: RecordedGame, frame: int) -> None:
        self._atari = shards.env == "atari"
        lead = min(frame, STACK - 1) if self._atari else 0
        self._reader = shards.open(game, frame - lead)
        self._previous = self._reader.action_before(frame)
        if self._atari:
            self._recent = np.zeros((STACK - 1, *shards.layout.shape), np.uint8)
            if lead:
                self._reader.read({"pixels": self._recent[-lead:]})

    def read(self, row: Batch) -> None:
        """Fill a part of a row [n, ...]."""
        if not self._atari:
            self._fill(row, row)
            return
        frames = np.zeros((STACK - 1 + len(row["action"]), *self._recent.shape[1:]), np.uint8)
        self.read_unstacked(row, frames)
        windows = np.lib.stride_tricks.sliding_window_view(frames, STACK, axis=0)
        row["pixels"][:] = np.moveaxis(windows, -1, 1)

    def read_unstacked(self, row: Batch, frames: NDArray[np.uint8]) -> None:
        """Fill a part of a row [n, ...]; its pixels go to `frames` [3 + n, 84, 84], zeros, after the three before."""
        frames[: STACK - 1] = self._recent
        self._fill(row, row | {"pixels": frames[STACK - 1 :]})
        self._recent = frames[1 - STACK :].copy()

    def _fill(self, row: Batch, fields: Batch) -> None:
        self._reader.read({name: array for name, array in fields.items() if name not in ("previous", "start")})
        row["previous"][0] = self._previous
        row["previous"][1:] = row["action"][:-1]
        self._previous = row["action"][-1]
