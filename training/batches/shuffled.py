"""Shuffled single frames, for policies without memory, which learn little from a batch of neighbouring frames.

An epoch cuts every training game into chunks of consecutive frames, which are cheap to decode together, and lays the
chunks end to end in an order drawn from the seed. The line is read in pools of some thousand frames, a pool is shuffled
and dealt out to batches. So every frame is read once an epoch, a batch mixes hundreds of places, memory is a pool for
each thread or process that decodes, and batch k follows from k alone.
"""

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.batches.decoding.plan import BatchPlan
from training.batches.streams import STACK, Batch, GameStream, empty_batch
from training.errors import TrainingError
from training.shards.reader import RecordedGame, Shards

CHUNK = 32
POOL_FRAMES = 8192


@dataclass(frozen=True, kw_only=True)
class _Piece:
    """Part of a chunk within a pool."""

    game: RecordedGame
    first: int
    """Its first frame in the game."""
    length: int
    """How many frames it has."""


class ShuffledDecoder:
    """Single frames from everywhere, every one with `start` True.

    Of the pools this decoder decodes every `parts`-th, beginning with `part`, and it fills the batches of these. Every
    rank decodes the frames of all.
    """

    def __init__(self, shards: Shards, plan: BatchPlan, part: int, parts: int) -> None:
        self._shards, self._plan = shards, plan
        self._size = plan.batch_size * plan.updates_a_pool
        self._frames_per_epoch = sum(game.frames for game in shards.train)
        self._chunk_game, self._chunk_first, self._chunk_length = _chunks(shards.train)
        self._order = functools.lru_cache(maxsize=4)(self._epoch)
        self._number: int | None = None
        self._frames: Batch = {}

    def fill(self, update: int, batch: Batch) -> None:
        """Write batch `update` over whatever `batch` holds."""
        pool, place = divmod(update, self._plan.updates_a_pool)
        self._hold(pool)
        deal = np.random.default_rng([self._plan.seed, 1, pool]).permutation(self._size)
        dealt = deal[place * self._plan.batch_size : (place + 1) * self._plan.batch_size]
        _gather(self._frames, dealt[self._plan.rank :: self._plan.world], batch)

    def prepare(self, update: int) -> None:
        """Decode the pool of batch `update`. An error is left to `fill`, which meets it again."""
        with contextlib.suppress(TrainingError):
            self._hold(update // self._plan.updates_a_pool)

    def _epoch(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The chunks in their order, and where each ends on the line of all frames."""
        order = np.random.default_rng([self._plan.seed, 0, number]).permutation(len(self._chunk_length))
        return order, np.cumsum(self._chunk_length[order])

    def _pieces(self, pool: int) -> Iterator[_Piece]:
        """What the pool is made of, along the line."""
        position, end = pool * self._size, (pool + 1) * self._size
        while position < end:
            epoch, place = divmod(position, self._frames_per_epoch)
            order, ends = self._order(epoch)
            index = int(np.searchsorted(ends, place, side="right"))
            chunk = order[index]
            skipped = int(place - (ends[index] - self._chunk_length[chunk]))
            length = min(int(self._chunk_length[chunk]) - skipped, end - position)
            game = self._shards.train[self._chunk_game[chunk]]
            yield _Piece(game=game, first=int(self._chunk_first[chunk]) + skipped, length=length)
            position += length

    def _hold(self, pool: int) -> None:
        """Decode a pool, unless it is at hand: fields [n, ...], Atari's pixels single, with three more a piece."""
        if pool == self._number:
            return
        self._number, self._frames = None, {}  # the memory of the pool before is free
        pieces = list(self._pieces(pool))
        empty = empty_batch(self._shards, 1, self._size)
        frames = {name: array[0] for name, array in empty.items() if name != "pixels"}
        lead = STACK - 1 if self._shards.env == "atari" else 0
        if lead:
            frames["pixels"] = np.zeros((self._size + lead * len(pieces), *self._shards.layout.shape), np.uint8)
            lengths = [piece.length for piece in pieces]
            frames["newest"] = np.arange(self._size) + lead * np.repeat(np.arange(1, len(pieces) + 1), lengths)
        start = 0
        for index, piece in enumerate(pieces):
            stream = GameStream(self._shards, piece.game, piece.first)
            end = start + piece.length
            row = {name: array[start:end] for name, array in frames.items() if name not in ("pixels", "newest")}
            if lead:
                stream.read_unstacked(row, frames["pixels"][start + lead * index : end + lead * (index + 1)])
            else:
                stream.read(row)
            row["start"][:] = True
            start = end
        self._number, self._frames = pool, frames


def _chunks(games: tuple[RecordedGame, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Of every chunk of the games: the game's index, the first frame and the length."""
    counts = [-(-game.frames // CHUNK) for game in games]
    game = np.repeat(np.arange(len(games)), counts)
    first = np.concatenate([np.arange(0, game.frames, CHUNK) for game in games])
    length = np.minimum(CHUNK, np.repeat([game.frames for game in games], counts) - first)
    return game, first, length


def _gather(frames: Batch, chosen: NDArray[np.int64], batch: Batch) -> None:
    """Write the chosen frames into a batch [B, 1, ...]."""
    # mode: the default would write to a buffer first, so that a wrong index leaves `out` as it was.
    for name, array in batch.items():
        if name == "pixels":
            stack = frames["newest"][chosen][:, None] + np.arange(1 - STACK, 1)
            np.take(frames[name], stack, axis=0, out=array[:, 0], mode="clip")
        else:
            np.take(frames[name], chosen, axis=0, out=array[:, 0], mode="clip")
