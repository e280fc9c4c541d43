"""The frames of one game, compressed as they come, ready to be written to shards."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from training.errors import DataError
from training.shards import blocks
from training.shards.blocks import Layout
from training.shards.format import block_schema


@dataclass(frozen=True, kw_only=True)
class EncodedGame:
    """A game ready to be written."""

    name: str
    """Where it came from, within the source."""
    digest: str
    """SHA-256 of all its frames, however they were cut into blocks."""
    rows: pa.RecordBatch
    """Its blocks, a row each."""
    frames: int
    """Its length."""
    samples: int
    """Frames that take part in the loss."""
    points: int | None = None
    """Final score, when known."""
    character: str | None = None
    """Character or role, when known."""


class GameEncoder:
    """Takes the frames of one game in pieces of any length and compresses them as they come."""

    def __init__(self, layout: Layout, name: str, *, block: int) -> None:
        self.name = name
        self._layout, self._block = layout, block
        self._rows: list[Mapping[str, Any]] = []
        self._waiting: list[dict[str, NDArray]] = []
        self._frames = self._samples = 0
        self._hashes = {name: hashlib.sha256() for name in (*layout.planes, *layout.columns)}

    @property
    def frames(self) -> int:
        """Frames taken so far."""
        return self._frames

    def append(self, **frames: NDArray) -> None:
        """Take n more frames, every field of the layout as [n, ...]; the arrays may be reused afterwards."""
        arrays = self._layout.checked(frames)
        for name, array in arrays.items():
            self._hashes[name].update(np.ascontiguousarray(array).data)
        self._frames += len(arrays["action"])
        self._samples += int(arrays["mask"].sum())
        self._waiting.append(arrays)
        if sum(len(piece["action"]) for piece in self._waiting) >= self._block:
            self._flush(final=False)
        else:
            self._waiting[-1] = {name: array.copy() for name, array in arrays.items()}

    def finish(self, *, points: int | None = None, character: str | None = None) -> EncodedGame:
        """The whole game. Raises DataError when it has no frames."""
        if self._frames == 0:
            raise DataError(f"{self.name}: the game has no frames.")
        self._flush(final=True)
        digest = hashlib.sha256(b"".join(self._hashes[name].digest() for name in sorted(self._hashes))).hexdigest()
        return EncodedGame(
            name=self.name,
            digest=digest,
            rows=pa.RecordBatch.from_pylist(self._rows, schema=block_schema(self._layout)),
            frames=self._frames,
            samples=self._samples,
            points=points,
            character=character,
        )

    def _flush(self, *, final: bool) -> None:
        if not self._waiting:
            return
        waiting = self._waiting[0]
        if len(self._waiting) > 1:
            waiting = {name: np.concatenate([piece[name] for piece in self._waiting]) for name in waiting}
        length = len(waiting["action"])
        end = length if final else length - length % self._block
        for start in range(0, end, self._block):
            part = slice(start, min(start + self._block, end))
            self._rows.append(blocks.encode(self._layout, {name: array[part] for name, array in waiting.items()}))
        rest = {name: array[end:].copy() for name, array in waiting.items()}
        self._waiting = [rest] if end < length else []
