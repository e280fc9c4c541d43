"""Blocks of consecutive frames: what changed since the frame before, compressed, and how to get the frames back.

A game screen changes in few cells a frame. A block therefore holds, for each frame, the cells that changed and the
exclusive or of their old and new values, every kind of number in a stream of its own. Decoding scatters the changes
into zeros and accumulates the exclusive or over time, so a reader keeps only the changes and one screen in memory.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from training.errors import ConfigError, DataError

_ZSTD = pa.Codec("zstd", compression_level=9)
_MAX_CELLS = 2**16


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What a frame holds: uint8 planes of one shape, and small columns of any fixed shape."""

    shape: tuple[int, int]
    """Rows and columns of every plane."""
    planes: tuple[str, ...]
    """Names of the uint8 planes, such as chars and colors."""
    columns: Mapping[str, tuple[str, tuple[int, ...]]]
    """Name -> dtype and shape of what else a frame has, such as the action."""

    def __post_init__(self) -> None:
        if not 0 < self.cells <= _MAX_CELLS or not self.planes:
            raise ConfigError(f"a frame needs one plane or more of 1 to {_MAX_CELLS} cells, got shape {self.shape}.")
        if not {"action", "mask"} <= set(self.columns):
            raise ConfigError(f"a frame needs the columns action and mask, got {', '.join(self.columns) or 'none'}.")

    @property
    def cells(self) -> int:
        """Cells of one plane."""
        return self.shape[0] * self.shape[1]

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of the compressed streams of a block, in their order."""
        return ("changes", "cells", *self.planes, *self.columns)

    def checked(self, frames: Mapping[str, NDArray]) -> dict[str, NDArray]:
        """The frames [n, ...] as this layout's arrays. Raises ConfigError for a missing field or another shape."""
        expected = {name: ("uint8", self.shape) for name in self.planes} | dict(self.columns)
        if set(frames) != set(expected):
            raise ConfigError(f"frames must have the fields {', '.join(expected)}, got {', '.join(frames)}.")
        length = len(frames["action"])
        arrays = {}
        for name, (dtype, shape) in expected.items():
            array = np.asarray(frames[name])
            if array.shape != (length, *shape) or array.dtype != dtype:
                raise ConfigError(
                    f"{name} must be {dtype} of shape {(length, *shape)}, got {array.dtype} {array.shape}."
                )
            arrays[name] = array
        return arrays


@dataclass(frozen=True, kw_only=True)
class Deltas:
    """A decompressed block: the changes of its frames, the first against an empty (all zero) screen."""

    offsets: NDArray[np.int64]
    """[n + 1]: changes offsets[t] to offsets[t + 1] belong to frame t."""
    cells: NDArray[np.uint16]
    """[changes]: the cell of each change, rows first."""
    values: Mapping[str, NDArray[np.uint8]]
    """Plane -> [changes]: exclusive or of the cell's old and new value."""
    columns: Mapping[str, NDArray]
    """Column -> [n, ...]."""

    def screen_before(self, frame: int, size: int) -> dict[str, NDArray[np.uint8]]:
        """Each plane, flat [size], as it was before the block's `frame`; zeros before the first."""
        end = self.offsets[frame]
        cells = self.cells[:end].astype(np.intp)  # the one index type for which `at` is fast
        screens = {name: np.zeros(size, np.uint8) for name in self.values}
        for name, screen in screens.items():
            np.bitwise_xor.at(screen, cells, self.values[name][:end])
        return screens

    def fill(self, first: int, screens: dict[str, NDArray[np.uint8]], out: Mapping[str, NDArray[np.uint8]]) -> None:
        """Write the frames from `first` on into zeros, plane -> [n, size]; `screens` goes from before to after them."""
        length, size = next(iter(out.values())).shape
        low, high = self.offsets[first], self.offsets[first + length]
        counts = np.diff(self.offsets[first : first + length + 1])
        places = np.repeat(np.arange(0, length * size, size), counts) + self.cells[low:high]
        for name, frames in out.items():
            frames.reshape(-1)[places] = self.values[name][low:high]
            frames[0] ^= screens[name]
            wide = frames.view(np.uint64) if size % 8 == 0 else frames
            np.bitwise_xor.accumulate(wide, axis=0, out=wide)
            screens[name] = frames[-1].copy()


def encode(layout: Layout, frames: Mapping[str, NDArray]) -> dict[str, bytes | int]:
    """One block, as the row of a shard: its compressed streams, `frames`, `total` changes and `crc32`.

    `frames` are the layout's arrays, n >= 1 frames first.
    """
    length = len(frames["action"])
    planes = {name: np.ascontiguousarray(frames[name]).reshape(length, layout.cells) for name in layout.planes}
    deltas = {name: np.empty_like(plane) for name, plane in planes.items()}
    for name, delta in deltas.items():
        delta[0] = planes[name][0]
        np.bitwise_xor(planes[name][1:], planes[name][:-1], out=delta[1:])
    changed = np.flatnonzero(reduce(np.bitwise_or, deltas.values()) != 0)  # of booleans: far faster
    frame, cell = np.divmod(changed, layout.cells)
    streams = {
        "changes": np.bincount(frame, minlength=length).astype(np.uint32),
        # Gaps, not cells: text changes in runs, and a run of ones compresses to nothing. They wrap around at 2^16.
        "cells": np.diff(cell.astype(np.uint16), prepend=np.uint16(0)),
        **{name: delta.reshape(-1)[changed] for name, delta in deltas.items()},
        **{name: np.asarray(frames[name], dtype) for name, (dtype, _) in layout.columns.items()},
    }
    row: dict[str, bytes | int] = {name: _compress(streams[name]) for name in layout.streams}
    row |= {"frames": length, "total": len(changed)}
    return row | {"crc32": checksum(layout, row)}


def decode(layout: Layout, row: Mapping[str, bytes | pa.Buffer | int]) -> Deltas:
    """The block of a row that `encode` made. Raises DataError when its checksum does not match."""
    if checksum(layout, row) != row["crc32"]:
        raise DataError("a block does not match its checksum")
    length, total = int(row["frames"]), int(row["total"])  # type: ignore[arg-type]
    changes = _decompress(row["changes"], np.dtype(np.uint32), (length,))
    offsets = np.zeros(length + 1, np.int64)
    np.cumsum(changes, out=offsets[1:])
    gaps = _decompress(row["cells"], np.dtype(np.uint16), (total,))
    return Deltas(
        offsets=offsets,
        cells=np.cumsum(gaps, dtype=np.uint16),
        values={name: _decompress(row[name], np.dtype(np.uint8), (total,)) for name in layout.planes},
        columns={name: column(layout, row, name) for name in layout.columns},
    )


def column(layout: Layout, row: Mapping[str, bytes | pa.Buffer | int], name: str) -> NDArray:
    """One column of a block [n, ...], without decoding the rest of it."""
    dtype, shape = layout.columns[name]
    return _decompress(row[name], np.dtype(dtype), (int(row["frames"]), *shape))  # type: ignore[arg-type]


def checksum(layout: Layout, row: Mapping[str, bytes | pa.Buffer | int]) -> int:
    """CRC-32 over the row's lengths and streams."""
    crc = zlib.crc32(f"{row['frames']} {row['total']}".encode())
    for name in layout.streams:
        crc = zlib.crc32(row[name], crc)  # type: ignore[arg-type]
    return crc


def _compress(array: NDArray) -> bytes:
    # Bytes of equal weight together: the high bytes of small numbers are all zero.
    split = np.ascontiguousarray(array).reshape(-1).view(np.uint8).reshape(-1, array.dtype.itemsize).T
    return _ZSTD.compress(np.ascontiguousarray(split), asbytes=True) if array.size else b""


def _decompress(stream: bytes | pa.Buffer | int, dtype: np.dtype, shape: tuple[int, ...]) -> NDArray:
    count = int(np.prod(shape))
    if count == 0:
        return np.zeros(shape, dtype)
    split = np.frombuffer(_ZSTD.decompress(stream, decompressed_size=count * dtype.itemsize), np.uint8)
    if dtype.itemsize == 1:
        return split.view(dtype).reshape(shape)
    joined = np.empty((count, dtype.itemsize), np.uint8)
    for byte, part in enumerate(split.reshape(dtype.itemsize, count)):  # far faster than copying the transpose
        joined[:, byte] = part
    return joined.reshape(-1).view(dtype).reshape(shape)
