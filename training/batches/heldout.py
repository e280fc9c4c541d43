"""Held-out demonstrations: one pass over every frame, or over some of them, the same for every policy."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from training.batches.sizes import check_sizes
from training.batches.streams import Batch, GameStream, empty_batch
from training.shards.reader import RecordedGame, Shards

PIECE = 2048
"""Frames of a game that are read in a row."""
_AHEAD = 2


def heldout(
    shards: Shards,
    *,
    batch_size: int,
    unroll_length: int,
    frames: int | None = None,
    rank: int = 0,
    world: int = 1,
) -> Iterator[Batch]:
    """One pass over every frame of the held-out games, each exactly once; or over about `frames` of them.

    Games are read in pieces of `PIECE` frames, at whose beginning `start` is True. With `frames`, pieces are taken in
    an order drawn once for all, the same whatever the policy, until there are enough. Each row streams through pieces,
    the longest dealt first, and every rank gets as many batches; rows are no more than pieces, rounded up to a multiple
    of `world`. Frames that fill the last unrolls have mask False and `game` -1; `game` int64 [B, T] else is the index
    into `shards.heldout`, for a standard error over games.
    """
    check_sizes(batch_size, unroll_length, rank, world)
    pieces = _pieces(shards.heldout, frames)
    rows = min(batch_size, -(-len(pieces) // world) * world)
    queues: list[list[_Piece]] = [[] for _ in range(rows)]
    lengths = [0] * rows
    for piece in sorted(pieces, key=lambda piece: -piece.frames):
        row = lengths.index(min(lengths))
        queues[row].append(piece)
        lengths[row] += piece.frames
    tracks = [_Track(shards, queue) for queue in queues[rank::world]]

    def read() -> Batch:
        batch = empty_batch(shards, len(tracks), unroll_length)
        batch["game"] = np.full((len(tracks), unroll_length), -1, np.int64)
        for row, track in enumerate(tracks):
            track.read({name: array[row] for name, array in batch.items()})
        return batch

    with ThreadPoolExecutor(1, thread_name_prefix="demonstrations") as pool:
        waiting: deque[Future[Batch]] = deque()
        for _ in range(-(-max(lengths, default=0) // unroll_length)):
            waiting.append(pool.submit(read))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class _Piece(NamedTuple):
    """Consecutive frames of a held-out game."""

    game: int
    """Index into the held-out games."""
    first: int
    """Its first frame in the game."""
    frames: int
    """How many frames it has."""


def _pieces(games: Sequence[RecordedGame], frames: int | None) -> list[_Piece]:
    pieces = [
        _Piece(index, first, min(PIECE, game.frames - first))
        for index, game in enumerate(games)
        for first in range(0, game.frames, PIECE)
    ]
    if frames is None or frames >= sum(piece.frames for piece in pieces):
        return pieces
    order = np.random.default_rng(0).permutation(len(pieces))
    enough = int(np.searchsorted(np.cumsum([pieces[i].frames for i in order]), frames)) + 1
    return [pieces[i] for i in order[:enough]]


class _Track:
    """One row of the held-out pass: pieces of games one after the other, then padding."""

    def __init__(self, shards: Shards, pieces: list[_Piece]) -> None:
        self._shards = shards
        self._pieces = deque(pieces)
        self._stream: GameStream | None = None
        self._left = 0

    def read(self, row: Batch) -> None:
        done, length = 0, len(row["start"])
        while done < length and self._pieces:
            piece = self._pieces[0]
            if self._stream is None:
                self._stream = GameStream(self._shards, self._shards.heldout[piece.game], piece.first)
                self._left = piece.frames
                row["start"][done] = True
            count = min(length - done, self._left)
            self._stream.read({name: array[done : done + count] for name, array in row.items() if name != "game"})
            row["game"][done : done + count] = piece.game
            done += count
            self._left -= count
            if self._left == 0:
                self._pieces.popleft()
                self._stream = None
