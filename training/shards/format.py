"""What the writer and the reader of shards agree on: fields, columns, and the header.

A header is written last and names every file with its size, so that an unfinished folder never reads as whole.
"""

import errno
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

import numpy as np
import pyarrow as pa

from training.errors import ConfigError, DataError, MachineError
from training.schema import content_hash, misfit, read_json
from training.shards.blocks import Layout

_OF_MACHINE = {errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE}
FORMAT = "game-scaling shards"
VERSION = 1
GAMES = pa.schema(
    [
        ("name", pa.string()),
        ("digest", pa.string()),
        ("batch", pa.int32()),
        ("frames", pa.int64()),
        ("samples", pa.int64()),
        ("points", pa.int64()),
        ("character", pa.string()),
    ]
)
NETHACK_LAYOUT = Layout(
    shape=(24, 80),
    planes=("chars", "colors"),
    columns={"cursor": ("uint8", (2,)), "action": ("uint8", ()), "mask": ("bool", ()), "score": ("int32", ())},
)
ATARI_LAYOUT = Layout(
    shape=(84, 84),
    planes=("pixels",),
    columns={"action": ("uint8", ()), "mask": ("bool", ()), "reward": ("float32", ())},
)


class Split(TypedDict):
    """Which games are held out."""

    seed: int
    """Of the order of games."""
    below: str
    """Games up to here in that order are held out (`split_key`)."""


class DataFile(TypedDict):
    """A data file and its table of games."""

    bytes: int
    """Of the data file."""
    games: str
    """SHA-256 of the table."""


class Options(TypedDict):
    """How the games were converted, in further keys."""

    game: NotRequired[str]
    """Atari game."""
    max_steps: NotRequired[int]
    """Actions after which a game of Atari was cut off."""


class Skipped(TypedDict):
    """A game that was not converted."""

    name: str
    reason: str


class StoredLayout(TypedDict):
    """A Layout as JSON keeps it."""

    shape: tuple[int, int]
    planes: list[str]
    columns: dict[str, tuple[str, list[int]]]


class Header(TypedDict):
    """What header.json says, its schema; further keys are free."""

    format: str
    version: int
    env: str
    """nethack or atari."""
    layout: StoredLayout
    actions: list[str]
    """Their names, in order."""
    source: str
    """What was converted."""
    options: Options
    split: Split
    files: list[DataFile]
    left_out: list[Skipped]
    identity: str
    """Hash of what the games hold and which are held out."""
    expert_loss: NotRequired[float]
    """Loss of the policy that played, on the held-out games (nats a frame), where it is known."""
    sha256: str
    """Hash of the header without it."""


def block_schema(layout: Layout) -> pa.Schema:
    """The columns of a data file."""
    numbers = [("frames", pa.int32()), ("total", pa.int32()), ("crc32", pa.uint32())]
    return pa.schema(numbers + [(name, pa.binary()) for name in layout.streams])


def split_key(seed: int, digest: str) -> str:
    """Where a game falls in the order in which games are held out: a hash of its content and the seed, in hex."""
    return hashlib.sha256(f"{seed} {digest}".encode()).hexdigest()


def header_hash(header: Mapping[str, Any]) -> str:
    """SHA-256 of a header, without the hash in it."""
    return content_hash(header, "sha256")


def layout_json(layout: Layout) -> dict[str, Any]:
    """The layout as JSON keeps it: lists for tuples."""
    return json.loads(json.dumps(asdict(layout)))


def layout_of(header: Header) -> Layout:
    """The layout that a header describes. Raises ConfigError or TypeError for one that cannot be."""
    stored = header["layout"]
    columns = {name: (np.dtype(dtype).name, tuple(shape)) for name, (dtype, shape) in stored["columns"].items()}
    rows, cells = stored["shape"]
    return Layout(shape=(rows, cells), planes=tuple(stored["planes"]), columns=columns)


def read_header(path: Path) -> Header:
    """The header of the folder `path`. Raises DataError where it is missing, damaged, or of another version,
    and MachineError where the machine cannot read it.
    """
    file = path / "header.json"
    try:
        header = read_json(file)
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(
            f"{path}: there is no header.json, so this is no finished folder of shards; make one with `training shard`."
        ) from None
    except (OSError, ValueError) as error:
        raise damaged(file, error) from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise DataError(f"{file}: this is not the header of a folder of shards; make one with `training shard`.")
    if header.get("version") != VERSION:
        raise DataError(
            f"{file}: shards of version {header.get('version')} cannot be read, only of version {VERSION}; "
            "convert the demonstrations again with `training shard`."
        )
    if header.get("sha256") != header_hash(header):
        raise damaged(file, "it does not match its checksum")
    if wrong := misfit(header, Header):
        raise damaged(file, wrong)
    try:
        layout_of(cast(Header, header))
    except (ConfigError, TypeError) as error:
        raise damaged(file, error) from None
    return cast(Header, header)


def damaged(path: Path, reason: object) -> DataError | MachineError:
    """The error for a file that is not as it was written, or that the machine does not let us read just now."""
    if isinstance(reason, OSError) and reason.errno in _OF_MACHINE:
        return MachineError(f"{path}: the shard file cannot be read ({reason.strerror}); start again when it can.")
    reason = " ".join(str(reason).split())
    return DataError(f"{path}: the shard file is damaged ({reason}); convert the demonstrations again.")
