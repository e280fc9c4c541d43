"""Files that are whole or not there, their names, and the hash of what they say."""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

_MARK = b"\nsha256 of all bytes before this line: "
_LONGEST = 60  # characters of a name that a file is named after
unfinished: set[Path] = set()
"""Files that are being written beside their places, to be removed by whoever ends the process now."""


def write_whole(path: str | Path, content: str | bytes | memoryview) -> None:
    """Write a file beside its place, then put it there: a full disk or a crash leaves the old file; text as UTF-8.

    What is there and is no file, such as /dev/stdout, is written to. Raises OSError where that fails.
    """
    content = content.encode() if isinstance(content, str) else content
    place = Path(path).resolve()  # of a link, the file that it names
    if place.exists() and not place.is_file():
        place.write_bytes(content)
        return
    beside = place.with_name(f".{place.name[:100]}.{os.getpid()}")
    unfinished.add(beside)
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, place)
    finally:
        beside.unlink(missing_ok=True)
        unfinished.discard(beside)


def file_names(names: Iterable[str]) -> dict[str, str]:
    """A part of a file name for each of these names: safe on every system, short, and no two alike, in any case.

    Those that would be alike get a few digits of the hash of the name.
    """
    safe = {name: re.sub(r"[^\w.-]+", "-", name)[:_LONGEST].strip(".-") or "group" for name in names}
    folded = [part.casefold() for part in safe.values()]
    return {
        name: part if folded.count(part.casefold()) == 1 else f"{part}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        for name, part in safe.items()
    }


def with_checksum(content: bytes) -> bytes:
    """Bytes and a last line with their hash, which readers of HDF5 and netCDF pass over."""
    return content + _MARK + hashlib.sha256(content).hexdigest().encode()


def has_checksum(content: bytes) -> bool:
    """Whether bytes have a checksum; those of earlier versions have none."""
    return _MARK in content


def is_damaged(content: bytes) -> bool:
    """Whether bytes with a checksum have changed; False where there is none."""
    before, mark, written = content.rpartition(_MARK)
    return bool(mark) and written != hashlib.sha256(before).hexdigest().encode()


def digest(content: Mapping[str, Any], arrays: "Mapping[str, np.ndarray] | None" = None) -> str:
    """SHA-256 of what a file says: plain JSON types, in whatever order, and arrays of any shape, by name."""
    found = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode())
    for name, array in sorted((arrays or {}).items()):
        found.update(f"{name} {array.dtype.str} {array.shape}".encode())
        found.update(array.tobytes())  # in C order, whatever that of the array
    return found.hexdigest()
