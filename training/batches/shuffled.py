"""Shuffled single frames, for policies without memory, which learn little from a batch of neighbouring frames.

An epoch cuts every training game into chunks of consecutive frames, which are cheap to decode together, and lays the
chunks end to end in an order drawn from the seed. The line is read in pools of some thousand frames, a pool is shuffled
and dealt out to batches. So every frame is read once an epoch, a batch mixes hundreds of places, memory is two pools,
and batch k follows from k alone.
"""

import functools
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.batches.iterator import BatchIterator
from training.batches.streams import STACK, Batch, GameStream, empty_batch
from training.shards.reader import RecordedGame, Shards

CHUNK = 32
_POOL_FRAMES = 8192


@dataclass(frozen=True, kw_only=True)
class _Piece:
    """Part of a chunk within a pool."""

    game: RecordedGame
    first: int
    """Its first frame in the game."""
    length: int
    """How many frames it has."""


class ShuffledBatches(BatchIterator):
    """Single frames from everywhere, [B, 1, ...], in fields as of `Batches`; every one has `start` True.

    Every rank decodes the frames of all.
    """

    def __init__(self, shards: Shards, **settings: Any) -> None:
        """settings: of `BatchIterator`, but for `unroll_length`, which is 1."""
        super().__init__(shards, unroll_length=1, **settings)
        self._updates_a_pool = -(-_POOL_FRAMES // self.batch_size)
        self._chunk_game, self._chunk_first, self._chunk_length = _chunks(shards.train)
        self._order = functools.lru_cache(maxsize=4)(self._epoch)
        self._executor = ThreadPoolExecutor(self._threads, thread_name_prefix="demonstrations")
        self._pools: dict[int, tuple[Batch, list[Future[None]]]] = {}

    def close(self) -> None:
        """Stop the background threads; the iterator cannot be used any more."""
        self._executor.shutdown(cancel_futures=True)

    def _moved(self) -> None:
        """Nothing to forget: pools are known by their number, and `_read` drops those that it does not need."""

    def _read(self) -> Batch:
        pool, place = divmod(self.update, self._updates_a_pool)
        for number in {pool, pool + 1} - self._pools.keys():
            self._pools[number] = self._decode(number)
        for number in self._pools.keys() - {pool, pool + 1}:
            for task in self._pools.pop(number)[1]:
                task.cancel()
        frames, tasks = self._pools[pool]
        for task in tasks:
            task.result()
        size = self.batch_size * self._updates_a_pool
        deal = np.random.default_rng([self._seed, 1, pool]).permutation(size)
        dealt = deal[place * self.batch_size : (place + 1) * self.batch_size]
        return _gather(frames, dealt[self._rows.start :: self._rows.step])

    def _epoch(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The chunks in their order, and where each ends on the line of all frames."""
        order = np.random.default_rng([self._seed, 0, number]).permutation(len(self._chunk_length))
        return order, np.cumsum(self._chunk_length[order])

    def _pieces(self, pool: int) -> Iterator[_Piece]:
        """What the pool is made of, along the line."""
        size = self.batch_size * self._updates_a_pool
        position, end = pool * size, (pool + 1) * size
        while position < end:
            epoch, place = divmod(position, self.frames_per_epoch)
            order, ends = self._order(epoch)
            index = int(np.searchsorted(ends, place, side="right"))
            chunk = order[index]
            skipped = int(place - (ends[index] - self._chunk_length[chunk]))
            length = min(int(self._chunk_length[chunk]) - skipped, end - position)
            game = self.shards.train[self._chunk_game[chunk]]
            yield _Piece(game=game, first=int(self._chunk_first[chunk]) + skipped, length=length)
            position += length

    def _decode(self, pool: int) -> tuple[Batch, list[Future[None]]]:
        """Begin to read a pool: fields [n, ...], Atari's pixels as single frames with three more before each piece."""
        pieces = list(self._pieces(pool))
        size = self.batch_size * self._updates_a_pool
        frames = {name: array[0] for name, array in empty_batch(self.shards, 1, size).items() if name != "pixels"}
        lead = STACK - 1 if self.shards.env == "atari" else 0
        if lead:
            frames["pixels"] = np.zeros((size + lead * len(pieces), *self.shards.layout.shape), np.uint8)
            lengths = [piece.length for piece in pieces]
            frames["newest"] = np.arange(size) + lead * np.repeat(np.arange(1, len(pieces) + 1), lengths)
        starts = np.cumsum([0, *(piece.length for piece in pieces)])
        tasks = [
            self._executor.submit(self._fill, pieces, starts, lead, frames, range(part, len(pieces), self._threads))
            for part in range(self._threads)
        ]
        return frames, tasks

    def _fill(self, pieces: list[_Piece], starts: NDArray[np.int64], lead: int, frames: Batch, part: range) -> None:
        for index in part:
            piece, start = pieces[index], int(starts[index])
            stream = GameStream(self.shards, piece.game, piece.first)
            end = start + piece.length
            row = {name: array[start:end] for name, array in frames.items() if name not in ("pixels", "newest")}
            if lead:
                stream.read_unstacked(row, frames["pixels"][start + lead * index : end + lead * (index + 1)])
            else:
                stream.read(row)
            row["start"][:] = True


def _chunks(games: tuple[RecordedGame, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Of every chunk of the games: the game's index, the first frame and the length."""
    counts = [-(-game.frames // CHUNK) for game in games]
    game = np.repeat(np.arange(len(games)), counts)
    first = np.concatenate([np.arange(0, game.frames, CHUNK) for game in games])
    length = np.minimum(CHUNK, np.repeat([game.frames for game in games], counts) - first)
    return game, first, length


def _gather(frames: Batch, chosen: NDArray[np.int64]) -> Batch:
    batch = {name: array[chosen][:, None] for name, array in frames.items() if name not in ("pixels", "newest")}
    if "pixels" in frames:
        newest = frames["newest"][chosen]
        batch["pixels"] = frames["pixels"][newest[:, None] + np.arange(1 - STACK, 1)][:, None]
    return batch
