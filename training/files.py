"""Files that are whole or not there, and locks that end with their process."""

import contextlib
import fcntl
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a file so that a crash leaves the old one or the new one, and a full disk the old one; text as UTF-8."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(beside, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    sync_names(path.parent)


def sync(path: Path) -> None:
    """Wait until a file that another library wrote is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_names(folder: Path) -> None:
    """Wait until the names of the files in a folder are on the disk, where its file system can say so."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def locked(lock: Path, patience: float = math.inf) -> Iterator[None]:
    """Hold a lock, a file, which the system takes away when the process ends.

    patience: seconds to wait for another process. Raises BlockingIOError where that one holds it all the while.
    """
    with open(lock, "a") as file:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if patience < math.inf else 0))
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.2)
        yield
