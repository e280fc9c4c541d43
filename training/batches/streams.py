"""Consecutive frames of one game as policies take them: stacked for Atari, each with the action before it."""

import numpy as np
from numpy.typing import NDArray

from training.shards.reader import RecordedGame, Shards

Batch = dict[str, NDArray]
"""Field -> [slots, time, ...], as policies take it."""
STACK = 4
"""Atari frames in one observation, the newest last; zeros before a game's first, as AtariVectorEnv gives them."""


def empty_batch(shards: Shards, slots: int, length: int) -> Batch:
    """A batch of zeros of the shards' environment."""
    time = (slots, length)
    rows, columns = shards.layout.shape
    observation: Batch
    if shards.env == "atari":
        observation = {"pixels": np.zeros((*time, STACK, rows, columns), np.uint8)}
    else:
        observation = {name: np.zeros((*time, rows, columns), np.uint8) for name in shards.layout.planes}
        observation["cursor"] = np.zeros((*time, 2), np.uint8)
    return observation | {
        "previous": np.zeros(time, np.int64),
        "start": np.zeros(time, bool),
        "action": np.zeros(time, np.int64),
        "mask": np.zeros(time, bool),
    }


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
