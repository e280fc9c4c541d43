"""Batches of demonstrations: slots that stream through games end to end, so that recurrent state carries over.

An epoch lays all training games end to end in an order drawn from the seed and cuts this line into as many equal
segments as the batch has slots. Each slot reads its segment, then its segment of the next epoch. So every frame is
read exactly once an epoch, nothing is padded, there may be more slots than games, a batch holds early and late frames
of games from the first update on, and where a slot stands after k updates is arithmetic, not a replay.
"""

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training.batches.decoding.plan import BatchPlan
from training.batches.streams import Batch, GameStream
from training.shards.reader import RecordedGame, Shards


class SequenceDecoder:
    """Unbroken sequences of games: row s of a batch goes on where row s of the batch before ended.

    `start` is True in a game's first frame, and where a slot goes on to a new segment in the middle of a game. Of the
    plan's rows this decoder fills every `parts`-th, beginning with `part`: each slot is read by one decoder, in order.
    """

    def __init__(self, shards: Shards, plan: BatchPlan, part: int, parts: int) -> None:
        order = _Order(shards.train, plan.seed)
        self._length = plan.unroll_length
        self._slots = {
            row: _Slot(shards, order, plan.rows[row], plan.batch_size) for row in range(part, len(plan.rows), parts)
        }
        self._next: int | None = None

    def fill(self, update: int, batch: Batch) -> None:
        """Write this decoder's rows of batch `update` over whatever they hold."""
        if update != self._next:
            for slot in self._slots.values():
                slot.seek(update * self._length)
        self._next = None  # a slot that fails stands nowhere
        for row, slot in self._slots.items():
            slot.read({name: array[row] for name, array in batch.items()})
        self._next = update + 1

    def prepare(self, update: int) -> None:
        """Nothing can be done ahead."""


class _Order:
    """The order of games in each epoch; shared by all slots."""

    def __init__(self, games: Sequence[RecordedGame], seed: int) -> None:
        self.games = games
        self.frames = sum(game.frames for game in games)
        self._seed = seed
        self._lengths = np.array([game.frames for game in games], np.int64)
        self.epoch = functools.lru_cache(maxsize=4)(self._epoch)  # slots are in one epoch or the next

    def _epoch(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The games in their order, and where each ends on the line of all frames."""
        order = np.random.default_rng([self._seed, number]).permutation(len(self.games))
        return order, np.cumsum(self._lengths[order])


class _Slot:
    """One slot of a batch: its place on the line of frames, and a reader at that place."""

    def __init__(self, shards: Shards, order: _Order, slot: int, slots: int) -> None:
        self._shards, self._order = shards, order
        self._low = order.frames * slot // slots
        self._length = order.frames * (slot + 1) // slots - self._low
        self._planes = () if shards.env == "atari" else shards.layout.planes  # Atari's are stacked, and written whole

    def seek(self, frames: int) -> None:
        """Stand where the slot stands after having given so many frames."""
        self._frames_read = frames
        self._stream: GameStream | None = None

    def read(self, row: Batch) -> None:
        """Fill a row [T, ...] of a batch."""
        for name in (*self._planes, "start"):
            row[name][:] = 0
        done, length = 0, len(row["start"])
        while done < length:
            epoch, place = divmod(self._frames_read, self._length)
            order, ends = self._order.epoch(epoch)
            position = self._low + place
            index = int(np.searchsorted(ends, position, side="right"))
            game = self._order.games[order[index]]
            frame = position - int(ends[index] - game.frames)
            jump = place == 0 or frame == 0
            if self._stream is None or jump:
                self._stream = GameStream(self._shards, game, frame)
            count = min(length - done, game.frames - frame, self._length - place)
            self._stream.read({name: array[done : done + count] for name, array in row.items()})
            row["start"][done] = jump
            done += count
            self._frames_read += count
