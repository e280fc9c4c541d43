"""Batches of demonstrations: slots that stream through games end to end, so that recurrent state carries over.

An epoch lays all training games end to end in an order drawn from the seed and cuts this line into as many equal
segments as the batch has slots. Each slot reads its segment, then its segment of the next epoch. So every frame is
read exactly once an epoch, nothing is padded, there may be more slots than games, a batch holds early and late frames
of games from the first update on, and where a slot stands after k updates is arithmetic, not a replay.
"""

import functools
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.batches.iterator import BatchIterator
from training.batches.streams import Batch, GameStream, empty_batch
from training.shards.reader import RecordedGame, Shards

_AHEAD = 2


class Batches(BatchIterator):
    """Unbroken sequences of games, [B, T, ...]: row s of a batch goes on where row s of the batch before ended.

    Each yielded dict is freshly allocated, dtypes and shapes as policies take them: for NetHack chars, colors, cursor,
    for Atari pixels [B, T, 4, 84, 84], and previous, start, action, mask. `start` is True in a game's first frame, and
    where a slot goes on to a new segment in the middle of a game. Up to three batches are decoded ahead.
    """

    def __init__(self, shards: Shards, **settings: Any) -> None:
        """settings: of `BatchIterator`."""
        super().__init__(shards, **settings)
        self._order = _Order(shards.train, self._seed)
        self._threads = min(self._threads, len(self._rows))
        self._waiting: deque[_Pending] = deque()
        self._pools = [ThreadPoolExecutor(1, thread_name_prefix="demonstrations") for _ in range(self._threads)]
        self.seek(0)

    def close(self) -> None:
        """Stop the background threads; the iterator cannot be used any more."""
        self._drop()
        for pool in self._pools:
            pool.shutdown()

    def _moved(self) -> None:
        self._drop()
        self._slots = [_Slot(self.shards, self._order, slot, self.batch_size) for slot in self._rows]
        for slot in self._slots:
            slot.seek(self.update * self.unroll_length)

    def _read(self) -> Batch:
        while len(self._waiting) <= _AHEAD:
            self._submit()
        batch = self._waiting[0].result()
        self._waiting.popleft()
        return batch

    def _submit(self) -> None:
        batch = empty_batch(self.shards, len(self._slots), self.unroll_length)
        # A slot always belongs to the same thread, so its batches are read in order.
        parts = [range(part, len(self._slots), self._threads) for part in range(self._threads)]
        tasks = [
            pool.submit(_read_slots, self._slots, part, batch) for pool, part in zip(self._pools, parts, strict=True)
        ]
        self._waiting.append(_Pending(batch, tasks))

    def _drop(self) -> None:
        for pending in self._waiting:
            for task in pending.tasks:
                if not task.cancel():
                    task.exception()
        self._waiting.clear()


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

    def seek(self, frames: int) -> None:
        """Stand where the slot stands after having given so many frames."""
        self._frames_read = frames
        self._stream: GameStream | None = None

    def read(self, row: Batch) -> None:
        """Fill a row [T, ...] of a batch."""
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


class _Pending:
    """A batch that threads are filling."""

    def __init__(self, batch: Batch, tasks: list[Future[None]]) -> None:
        self.batch, self.tasks = batch, tasks

    def result(self) -> Batch:
        for task in self.tasks:
            task.result()
        return self.batch


def _read_slots(slots: list[_Slot], part: range, batch: Batch) -> None:
    for index in part:
        slots[index].read({name: array[index] for name, array in batch.items()})
