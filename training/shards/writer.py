"""Writes a folder of shards game by game; what was interrupted is taken up again, and never reads as whole."""

import contextlib
import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from training.errors import ConfigError, DataError, MachineError
from training.files import sync, sync_names, write_atomically
from training.shards.blocks import Layout
from training.shards.encoder import EncodedGame, GameEncoder
from training.shards.format import FORMAT, GAMES, VERSION, block_schema, header_hash, layout_json, split_key
from training.shards.reader import LeftOut, Shards


class ShardWriter:
    """Writes games into `<out>.partial`, and renames it to `out` when `finish` is called.

    A data file is complete once its table of games lies beside it; a writer with the same settings takes up an
    interrupted folder after its last complete file (`done` names the games in it), one with others starts over, and
    `report` is told which.

    Raises ConfigError when `out` exists, DataError when an interrupted folder is damaged, and MachineError at any time
    when the folder cannot be written.
    """

    def __init__(
        self,
        out: str | Path,
        *,
        layout: Layout,
        env: str,
        actions: Sequence[str],
        source: str,
        options: Mapping[str, Any] | None = None,
        block: int = 1024,
        file_bytes: int = 2**26,
        report: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self.out = Path(out)
        self.layout, self.block = layout, block
        self._file_bytes = file_bytes
        if self.out.exists():
            raise ConfigError(f"{self.out} exists already; give another folder, or delete it first.")
        if not 1 <= len(actions) <= 256:
            raise ConfigError(f"there must be 1 to 256 actions, got {len(actions)}.")
        self._settings = {
            "format": FORMAT,
            "version": VERSION,
            "env": env,
            "layout": layout_json(layout),
            "actions": list(actions),
            "source": source,
            "options": dict(options or {}),
            "block": block,
        }
        self._folder = self.out.with_name(self.out.name + ".partial")
        self._report = report
        self.left_out: list[LeftOut] = []
        self._digests: dict[str, str] = {}
        self._files: list[dict[str, Any]] = []
        self.done: set[str] = set()
        self._stream: pa.ipc.RecordBatchFileWriter | None = None
        self._open_games: list[dict[str, Any]] = []
        self._written = 0
        self._prepare()

    def game(self, name: str) -> GameEncoder:
        """An encoder for a game's frames; several may be open at once. Hand what its `finish` gives to `add`."""
        return GameEncoder(self.layout, name, block=self.block)

    def add(self, game: EncodedGame) -> bool:
        """Write a whole game. A game equal to an earlier one is left out and noted, and False returned."""
        if game.digest in self._digests:
            self.leave_out(game.name, f"it is the same game as {self._digests[game.digest]}")
            return False
        with self._writing():
            if self._stream is None:
                self._stream = pa.ipc.new_file(str(self._path("arrow")), block_schema(self.layout))
            self._stream.write_batch(game.rows)
        self._digests[game.digest] = game.name
        row = {key: getattr(game, key) for key in GAMES.names if key != "batch"}
        self._open_games.append(row | {"batch": len(self._open_games)})
        self._written += game.rows.nbytes
        if self._written >= self._file_bytes:
            with self._writing():
                self._close_file()
        return True

    def leave_out(self, name: str, reason: str) -> None:
        """Report that a game is not among the shards, and why, and note it in the header."""
        self.left_out.append(LeftOut(name=name, reason=reason))
        self._report(f"{name} is left out: {reason}.")

    @property
    def games(self) -> int:
        """Games written so far."""
        return len(self._digests)

    def finish(self, *, holdout: float = 0.05, seed: int = 0) -> Shards:
        """Hold out the share `holdout` of the games (at least one), write the header, and open the result.

        A game is held out by the hash of its content and the seed, so the order of conversion does not matter.
        Raises DataError when fewer than two games were added, ConfigError for a `holdout` not between 0 and 1.
        """
        check_holdout(holdout)
        if len(self._digests) < 2:
            raise DataError(
                f"{len(self._digests)} games to write to {self.out}: there must be two or more, one to learn from and "
                "one to hold out; record more games."
            )
        with self._writing():
            self._close_file()
        keys = sorted(split_key(seed, digest) for digest in self._digests)
        count = min(max(1, round(holdout * len(keys))), len(keys) - 1)
        split = {"holdout": holdout, "seed": seed, "below": keys[count - 1]}
        content = {key: self._settings[key] for key in ("env", "layout", "actions")}
        identity = json.dumps([content, sorted(self._digests), keys[:count]], sort_keys=True)
        header = self._settings | {
            "split": split,
            "files": self._files,
            "left_out": [asdict(game) for game in self.left_out],
            "identity": hashlib.sha256(identity.encode()).hexdigest(),
        }
        with self._writing():
            text = json.dumps(header | {"sha256": header_hash(header)}, indent=1)
            write_atomically(self._folder / "header.json", text)
            (self._folder / "settings.json").unlink()
            os.rename(self._folder, self.out)
            sync_names(self.out.parent)
        return Shards(self.out)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        # Interrupted: complete the open file, so that its games are not converted again; a full disk stays the error.
        with contextlib.suppress(OSError, pa.ArrowException):
            self._close_file()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            reason = " ".join(str(error).split())
            raise MachineError(
                f"{self._folder} cannot be written ({reason}); make room and start again, which goes on after the "
                "files already complete there."
            ) from None

    def _prepare(self) -> None:
        settings = self._folder / "settings.json"
        expected = json.dumps(self._settings, indent=1)
        try:
            if self._folder.exists() and settings.is_file() and settings.read_bytes() == expected.encode():
                self._take_up()
                self._report(f"{self._folder} was interrupted: goes on after the {len(self.done)} games already in it.")
                return
            if self._folder.exists():
                self._report(f"{self._folder} was begun with other settings: starts over.")
                shutil.rmtree(self._folder)
            self._folder.mkdir(parents=True)
            write_atomically(settings, expected)
        except OSError as error:
            raise MachineError(f"{self._folder} cannot be written ({error.strerror}); give another folder.") from None
        except pa.ArrowException as error:
            reason = " ".join(str(error).split())
            raise DataError(
                f"{self._folder}: a file in this interrupted folder is damaged ({reason}); delete the folder and start "
                "again."
            ) from None

    def _take_up(self) -> None:
        for path in sorted(self._folder.glob("*.parquet")):
            data = path.with_suffix(".arrow")
            if int(path.stem) != len(self._files) or not data.exists():
                break
            table = pq.read_table(path, schema=GAMES).to_pylist()
            self._files.append({"bytes": data.stat().st_size, "games": _sha256(path)})
            self._digests |= {row["digest"]: row["name"] for row in table}
            self.done |= {row["name"] for row in table}
        keep = {f"{number:05d}" for number in range(len(self._files))}
        for path in self._folder.iterdir():
            if path.name != "settings.json" and path.stem not in keep:
                path.unlink()

    def _close_file(self) -> None:
        if self._stream is None:
            return
        self._stream.close()
        self._stream = None
        data, games = self._path("arrow"), self._path("parquet")
        sync(data)
        table = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(self._open_games, schema=GAMES), table)
        write_atomically(games, table.getvalue())
        self._files.append({"bytes": data.stat().st_size, "games": _sha256(games)})
        self._open_games, self._written = [], 0

    def _path(self, suffix: str) -> Path:
        return self._folder / f"{len(self._files):05d}.{suffix}"


def keep_expert_loss(shards: Shards, loss: float) -> Shards:
    """The shards with `Shards.expert_loss` in their header. Raises MachineError where that cannot be written."""
    header = {**shards.header, "expert_loss": loss}
    try:
        write_atomically(shards.path / "header.json", json.dumps(header | {"sha256": header_hash(header)}, indent=1))
    except OSError as error:
        raise MachineError(f"{shards.path} cannot be written ({error.strerror}).") from None
    return Shards(shards.path)


def check_holdout(holdout: float) -> None:
    """Raise ConfigError for what is no share of the games."""
    if not 0 < holdout < 1:
        raise ConfigError(f"holdout must be between 0 and 1, got {holdout:g}.")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
