"""An endless iterator of training batches, decoded ahead by threads or processes."""

import contextlib
from collections import deque
from typing import Any, NamedTuple, Self

from training.batches.decoding.crew import AHEAD, Crew
from training.batches.decoding.plan import BatchPlan
from training.batches.streams import Batch
from training.shards.reader import Shards


class BatchIterator:
    """Batches of a plan, [B, T, ...]; batch k depends on the shards, the plan and k alone, not on who decodes it.

    Fields, with the dtypes and shapes that policies take: for NetHack chars, colors, cursor, for Atari pixels
    [B, T, 4, 84, 84], and previous, start, action, mask.

    A yielded batch is the caller's for as long as he holds it: its memory is used again only once its arrays, and
    slices and tensors that share their memory, are gone. Who copies it to a device without waiting must hold it until
    the copy has ended. A caller that holds one batch while asking for the next gets all without a copy.

    Raises ConfigError when there are fewer frames to train on than a batch has rows; when iterated, DataError for a
    damaged shard file and MachineError when a process that decodes has died.
    """

    def __init__(self, shards: Shards, plan: BatchPlan, crew: Crew) -> None:
        self.shards, self.batch_size, self.unroll_length = shards, plan.batch_size, plan.unroll_length
        self.frames_per_epoch = sum(game.frames for game in shards.train)
        """Frames after which the data repeat, over all ranks."""
        self.update = 0
        """Which batch comes next, from 0."""
        self._plan, self._crew = plan, crew
        self._waiting: deque[_Pending] = deque()
        self._closed = False

    def seek(self, update: int) -> None:
        """Make batch `update` the next; it and those after it are what an uninterrupted run would have read."""
        if update < 0:
            raise ValueError(f"update must be 0 or more, got {update}.")
        self._drop()
        self.update = update

    def close(self) -> None:
        """End the threads and processes; the iterator cannot be used any more, batches that it gave can."""
        self._closed = True
        self._crew.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch:
        if self._closed:
            raise RuntimeError("These batches are closed; make new ones.")
        while len(self._waiting) < AHEAD:
            self._submit(self.update + len(self._waiting))
        try:
            self._wait(self._waiting[0])
        except Exception:
            self._drop()
            raise
        self.update += 1
        return self._crew.ring.lend(self._waiting.popleft().place)

    def _submit(self, update: int) -> None:
        first = not self._waiting
        place = self._crew.ring.take()
        parts = self._plan.parts_of(update, self._crew.parts)
        self._waiting.append(_Pending(place, [(part, self._crew.fill(part, update, place)) for part in parts]))
        for part, ahead in self._plan.ahead(update, self._crew.parts, first=first):
            self._crew.prepare(part, ahead)

    def _wait(self, pending: "_Pending") -> None:
        for part, ticket in pending.tickets:
            self._crew.wait(part, ticket)

    def _drop(self) -> None:
        """Forget what was decoded ahead."""
        while self._waiting:
            for part, ticket in self._waiting[0].tickets:
                with contextlib.suppress(Exception):
                    self._crew.wait(part, ticket)
            self._crew.ring.put_back(self._waiting.popleft().place)


class _Pending(NamedTuple):
    """A batch that is being decoded."""

    place: int
    """Where in the ring."""
    tickets: list[tuple[int, Any]]
    """Who decodes parts of it, to wait for."""
