"""The code of NetHack, in memory once for all games of a process.

NLE loads a copy of NetHack's library for each game, and loads it anew at each beginning, because a game's state lies in
the library's variables. Copies of the code beside them cost each other the processor's caches: with sixteen games in
turn a step takes a quarter longer (benchmarks/LOG.md). Code and constants are never written, so that games can share
them.
"""

import ctypes
import os
import sys

_READ, _EXECUTE, _PRIVATE, _FIXED = 1, 4, 2, 0x10
"""PROT_READ, PROT_EXEC, MAP_PRIVATE and MAP_FIXED of Linux."""
_source: int | None = None
"""File whose pages all games have: the library of this process's first game. It stays open."""
_same: dict[int, set[tuple[int, int]]] = {}
"""By inode of a library, what it has in common with the source: offset and size in the file."""


def share_code(path: str) -> int:
    """Give the library that was loaded from this path the pages of the process's first one; the bytes shared.

    Nothing happens to the first library itself, to pages whose bytes differ (the loader has filled some with
    addresses), nor on another system than Linux.
    """
    global _source
    if sys.platform != "linux":
        return 0
    inode = os.stat(path).st_ino
    if _source is None:
        _source = os.open(path, os.O_RDONLY)
        _same[inode] = set()
    parts = _loaded(inode)
    if inode not in _same:
        _same[inode] = {
            (offset, size)
            for address, size, offset, _ in parts
            if os.pread(_source, size, offset) == ctypes.string_at(address, size)
        }
    mmap = ctypes.CDLL(None, use_errno=True).mmap
    mmap.restype = ctypes.c_void_p
    mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
    shared = 0
    for address, size, offset, mode in parts:
        if (offset, size) in _same[inode]:
            if mmap(address, size, mode, _PRIVATE | _FIXED, _source, offset) != address:
                raise MemoryError(os.strerror(ctypes.get_errno()))
            shared += size
    return shared


def _loaded(inode: int) -> list[tuple[int, int, int, int]]:
    """Parts of a file that are in memory and never written: address, bytes, offset in the file, mode of access."""
    parts = []
    with open("/proc/self/maps") as maps:
        for line in maps:
            span, rights, offset, _, number, *_ = line.split()
            if int(number) == inode and rights in ("r--p", "r-xp"):
                first, last = (int(end, 16) for end in span.split("-"))
                parts.append((first, last - first, int(offset, 16), _READ | _EXECUTE * (rights == "r-xp")))
    return parts
