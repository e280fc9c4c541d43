"""Demonstrations on disk, one format for every game: read whole games in order, or any frame of any game.

A folder holds `header.json`, see `training.shards.format`, and pairs of `00000.arrow` (Arrow IPC: a record batch a
game, a row a block, see `training.shards.blocks`) and `00000.parquet` (a row a game).
"""

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from training.errors import DataError
from training.shards import blocks
from training.shards.blocks import Deltas, Layout
from training.shards.format import GAMES, block_schema, damaged, layout_of, read_header, split_key

_OPEN_FILES = 64


@dataclass(frozen=True, kw_only=True)
class RecordedGame:
    """One recorded game."""

    name: str
    """Where it came from, within the source."""
    digest: str
    """SHA-256 of all its frames."""
    file: int
    """Which data file holds it."""
    batch: int
    """Which record batch of that file."""
    frames: int
    """Its length."""
    samples: int
    """Frames that take part in the loss."""
    points: int | None
    """Final score, when known."""
    character: str | None
    """Character or role, when known."""
    heldout: bool
    """Whether it is kept from training."""


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A game that was not converted."""

    name: str
    """Where it is, within the source."""
    reason: str
    """Why it was left out."""


class Shards:
    """A finished folder of shards, opened for reading; safe to read from several threads.

    Raises DataError, naming the file, when the folder is unfinished, or a file is missing, cut short or altered, and
    MachineError when the machine does not let it be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.header = read_header(self.path)
        self.layout = layout_of(self.header)
        self._files: dict[int, pa.ipc.RecordBatchFileReader] = {}
        self._lock = threading.Lock()
        self.games = self._read_games()

    @property
    def env(self) -> str:
        """nethack or atari."""
        return self.header["env"]

    @property
    def actions(self) -> int:
        """Number of actions."""
        return len(self.header["actions"])

    @property
    def identity(self) -> str:
        """Hash of what the games hold and which are held out: equal for equal data, in whatever order converted."""
        return self.header["identity"]

    @cached_property
    def train(self) -> tuple[RecordedGame, ...]:
        """The games to learn from, ordered by content."""
        return tuple(game for game in self.games if not game.heldout)

    @cached_property
    def heldout(self) -> tuple[RecordedGame, ...]:
        """The games kept from training, ordered by content."""
        return tuple(game for game in self.games if game.heldout)

    @cached_property
    def samples(self) -> int:
        """Distinct training samples: frames of the training games that take part in the loss."""
        return sum(game.samples for game in self.train)

    @cached_property
    def expert_return(self) -> float | None:
        """Mean final score of the games, held-out ones included; None where no game's score is known."""
        scores = [game.points for game in self.games if game.points is not None]
        return sum(scores) / len(scores) if scores else None

    def cut_before(self, actions: int) -> bool:
        """Whether a game was cut off after fewer actions than these, so that its score says less; 0: no limit."""
        limit = self.header["options"].get("max_steps")
        return limit is not None and not 0 < actions <= limit and any(game.frames >= limit for game in self.games)

    @property
    def expert_loss(self) -> float | None:
        """Loss on the held-out games of the policy that played (nats a frame); None where it is not known.

        It is the entropy of what the policy does: no clone is expected to come below it.
        """
        return self.header.get("expert_loss")

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """What could not be converted, and why."""
        return tuple(LeftOut(name=game["name"], reason=game["reason"]) for game in self.header["left_out"])

    @cached_property
    def bytes(self) -> int:
        """Size of the data files."""
        return sum(file["bytes"] for file in self.header["files"])

    def open(self, game: RecordedGame, frame: int = 0) -> "GameReader":
        """A reader of the game, at `frame`."""
        return GameReader(self, game, frame)

    def verify(self) -> None:
        """Read every block once. Raises DataError, naming the file, at the first that does not match its checksum."""
        for game in self.games:
            for row in range(len(self.rows(game))):
                self.block(game, self.rows(game), row)

    def rows(self, game: RecordedGame) -> pa.RecordBatch:
        """The game's blocks as they lie on disk."""
        path = self.path / f"{game.file:05d}.arrow"
        try:
            with self._lock:
                file = self._files.pop(game.file, None) or pa.ipc.open_file(pa.memory_map(str(path)))
                self._files[game.file] = file  # now the last to be closed
                if len(self._files) > _OPEN_FILES:
                    del self._files[next(iter(self._files))]  # rows read from it stay valid
                rows = file.get_batch(game.batch)
            rows.validate(full=True)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise damaged(path, error) from None
        if not rows.schema.equals(block_schema(self.layout)):
            raise damaged(path, "its columns are not those of the header")
        return rows

    def block(self, game: RecordedGame, rows: pa.RecordBatch, index: int) -> Deltas:
        """Block `index` of a game, decompressed and checked."""
        try:
            return blocks.decode(self.layout, _row(self.layout, rows, index))
        except (DataError, ValueError, OSError, pa.ArrowException) as error:
            raise damaged(self.path / f"{game.file:05d}.arrow", f"game {game.name}: {error}") from None

    def _read_games(self) -> tuple[RecordedGame, ...]:
        split = self.header["split"]
        games = []
        for number, file in enumerate(self.header["files"]):
            data, index = self.path / f"{number:05d}.arrow", self.path / f"{number:05d}.parquet"
            try:
                size, content = data.stat().st_size, index.read_bytes()
            except OSError as error:
                raise damaged(Path(error.filename), error) from None
            if size != file["bytes"]:
                raise damaged(data, f"{size} bytes instead of {file['bytes']}")
            if hashlib.sha256(content).hexdigest() != file["games"]:
                raise damaged(index, "it does not match its checksum")
            for row in _table(index, content):
                heldout = split_key(split["seed"], row["digest"]) <= split["below"]
                games.append(RecordedGame(file=number, heldout=heldout, **row))
        return tuple(sorted(games, key=lambda game: game.digest))


class GameReader:
    """Reads one game forwards from any frame, with one block's changes and one screen in memory."""

    def __init__(self, shards: Shards, game: RecordedGame, frame: int = 0) -> None:
        self.game = game
        self._shards, self._layout = shards, shards.layout
        self._rows = shards.rows(game)
        lengths = np.asarray(self._rows.column("frames"))
        self._starts = np.concatenate([[0], np.cumsum(lengths)])
        if self._starts[-1] != game.frames:
            raise damaged(shards.path / f"{game.file:05d}.arrow", f"game {game.name} has {self._starts[-1]} frames")
        self._index = -1
        self.seek(frame)

    def seek(self, frame: int) -> None:
        """Make `frame` the next one read; 0 <= frame <= game.frames."""
        if not 0 <= frame <= self.game.frames:
            raise IndexError(f"frame {frame} of a game of {self.game.frames}")
        self.frame = frame
        if frame < self.game.frames:
            self._load(int(np.searchsorted(self._starts, frame, side="right")) - 1)
            self._screens = self._block.screen_before(frame - self._starts[self._index], self._layout.cells)

    def read(self, out: Mapping[str, NDArray]) -> None:
        """Fill `out`, name -> [n, ...] of any of the layout's fields, with the next n frames.

        Planes must come as zeros and lie in memory without gaps.
        """
        length = len(next(iter(out.values())))
        planes = {name: out[name].reshape(length, -1) for name in self._layout.planes}
        done = 0
        while done < length:
            if self.frame == self._starts[self._index + 1]:
                self._load(self._index + 1)
                self._screens = self._block.screen_before(0, self._layout.cells)
            first = int(self.frame - self._starts[self._index])
            count = int(min(length - done, self._starts[self._index + 1] - self.frame))
            part = slice(done, done + count)
            self._block.fill(first, self._screens, {name: plane[part] for name, plane in planes.items()})
            for name in out.keys() - planes.keys():
                out[name][part] = self._block.columns[name][first : first + count]
            done += count
            self.frame += count

    def action_before(self, frame: int) -> int:
        """The action taken in the frame before `frame`; 0 before the game's first."""
        if frame == 0:
            return 0
        index = int(np.searchsorted(self._starts, frame - 1, side="right")) - 1
        row = _row(self._layout, self._rows, index)
        return int(blocks.column(self._layout, row, "action")[frame - 1 - self._starts[index]])

    def _load(self, index: int) -> None:
        if index != self._index:
            self._block = self._shards.block(self.game, self._rows, index)
            self._index = index


def _table(path: Path, content: bytes) -> list[dict[str, Any]]:
    """The rows of a table of games. Raises DataError for another table."""
    try:
        table = pq.read_table(pa.BufferReader(content), schema=GAMES)
        table.validate(full=True)
        return table.to_pylist()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise damaged(path, error) from None


def _row(layout: Layout, rows: pa.RecordBatch, index: int) -> dict[str, Any]:
    numbers = {name: rows.column(name)[index].as_py() for name in ("frames", "total", "crc32")}
    return numbers | {name: rows.column(name)[index].as_buffer() for name in layout.streams}
