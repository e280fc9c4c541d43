"""What every endless iterator of training batches does: check what is asked, count, seek, and close."""

import abc
from typing import Self

from training.batches.sizes import check_sizes, thread_count
from training.batches.streams import Batch
from training.errors import ConfigError
from training.shards.reader import Shards


class BatchIterator(abc.ABC):
    """An endless iterator of training batches; batch k depends on the shards, the seed and k alone.

    rank, world: this process gets rows rank, rank + world, ... of each batch. threads: how many decode in the
    background; one or two if None.

    Raises ConfigError when there are fewer frames to train on than a batch has rows, or `world` does not divide
    `batch_size`; when iterated, DataError for a damaged shard file.
    """

    def __init__(
        self,
        shards: Shards,
        *,
        batch_size: int,
        unroll_length: int,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        threads: int | None = None,
    ) -> None:
        check_sizes(batch_size, unroll_length, rank, world)
        self.shards, self.batch_size, self.unroll_length = shards, batch_size, unroll_length
        self.frames_per_epoch = sum(game.frames for game in shards.train)
        """Frames after which the data repeat, over all ranks."""
        if batch_size > self.frames_per_epoch:
            raise ConfigError(
                f"{shards.path} has {self.frames_per_epoch} frames to train on, fewer than batch_size = {batch_size}; "
                "record more games or lower batch_size."
            )
        self.update = 0
        """Which batch comes next, from 0."""
        self._seed, self._rows = seed, range(rank, batch_size, world)
        self._threads = thread_count(threads)

    def seek(self, update: int) -> None:
        """Make batch `update` the next; it and those after it are what an uninterrupted run would have read."""
        if update < 0:
            raise ValueError(f"update must be 0 or more, got {update}.")
        self.update = update
        self._moved()

    @abc.abstractmethod
    def close(self) -> None:
        """Stop the background threads; the iterator cannot be used any more."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch:
        batch = self._read()
        self.update += 1
        return batch

    @abc.abstractmethod
    def _moved(self) -> None:
        """Forget what was read ahead: another batch comes next than the one after the last."""

    @abc.abstractmethod
    def _read(self) -> Batch:
        """This process's rows of batch `update`."""
