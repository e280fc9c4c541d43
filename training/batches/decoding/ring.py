"""Memory for batches, used again as soon as nobody holds their arrays."""

import math
import mmap
import weakref
from collections.abc import Mapping

import numpy as np

from training.batches.streams import Batch

_LINE = 64  # bytes; fields do not share a cache line
_PAGE = 4096
_LENT = 2
"""Batches that callers may hold without a copy: the one in use, and the next."""

Fields = Mapping[str, tuple[type, tuple[int, ...]]]
"""Type and shape of each field of a batch."""


class Ring:
    """Places for batches of the given fields, `ahead` of them to be filled while two more are in a caller's hands.

    file: descriptor of at least `ring_bytes(fields, ahead)`, to share the memory with other processes; -1 for memory
    of this process alone.
    """

    def __init__(self, fields: Fields, ahead: int, file: int = -1) -> None:
        self._fields = fields
        self._memory = mmap.mmap(file, ring_bytes(fields, ahead))
        self._free = list(range(ahead + _LENT))
        self._lent: set[int] = set()

    def place(self, index: int) -> Batch:
        """The arrays at a place; they hold what was there last."""
        size = _place_bytes(self._fields)
        whole = np.frombuffer(self._memory, np.uint8, size, index * size)
        batch, offset = {}, 0
        for name, (dtype, shape) in self._fields.items():
            length = _field_bytes(dtype, shape)
            batch[name] = whole[offset : offset + length].view(dtype).reshape(shape)
            offset += -(-length // _LINE) * _LINE
        return batch

    def take(self) -> int:
        """A place to fill. There is one unless `ahead` are taken."""
        return self._free.pop()

    def put_back(self, index: int) -> None:
        """Take back a place that nobody needs."""
        self._free.append(index)

    def lend(self, index: int) -> Batch:
        """A batch for the caller to keep as long as he likes.

        Its arrays are the memory of the place itself, which is free again when the last of them, and of what was made
        of them without copying (slices, tensors), is gone. Where two are out already they are copies.
        """
        batch = self.place(index)
        if len(self._lent) == _LENT:
            copies = {name: array.copy() for name, array in batch.items()}
            self._free.append(index)
            return copies
        self._lent.add(index)
        whole = next(iter(batch.values())).base  # of all the fields; numpy makes it the base of their slices too
        weakref.finalize(whole, _returned, self._lent, self._free, index).atexit = False  # type: ignore[arg-type]
        return batch


def ring_bytes(fields: Fields, ahead: int) -> int:
    """Size of the memory of a ring."""
    return (ahead + _LENT) * _place_bytes(fields)


def _place_bytes(fields: Fields) -> int:
    size = sum(-(-_field_bytes(dtype, shape) // _LINE) * _LINE for dtype, shape in fields.values())
    return -(-size // _PAGE) * _PAGE


def _field_bytes(dtype: type, shape: tuple[int, ...]) -> int:
    return np.dtype(dtype).itemsize * math.prod(shape)


def _returned(lent: set[int], free: list[int], index: int) -> None:
    lent.discard(index)
    free.append(index)
