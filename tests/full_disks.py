"""Disks that are full: one of a given size, and one from whose k-th file on no other is put in place."""

import contextlib
import errno
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def small_disk(place: Path, kilobytes: int) -> Iterator[Callable[[], object]]:
    """A disk at `place`, and what makes it larger; skips the test where none can be mounted."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "none", str(place)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a disk cannot be mounted here")
    try:
        yield lambda: subprocess.run(["mount", "-o", "remount,size=60m", str(place)], check=True)
    finally:
        for _ in range(50):  # a process that ends now may still have its log open
            if not subprocess.run(["umount", str(place)], capture_output=True).returncode:
                break
            time.sleep(0.1)


@contextlib.contextmanager
def full_at(number: int, *, once: bool = False) -> Iterator[list[Path]]:
    """Every file is put in place by `os.replace`, which fails from the `number`-th on, or for that one alone.

    Yields the files that failed. progress.json is not counted: it comes by the clock, and matters to nobody.
    """
    replace, count, failed = os.replace, 0, []

    def full(source: Path, target: Path) -> None:
        nonlocal count
        count += Path(target).name != "progress.json"
        if count >= number and not (once and failed):
            failed.append(Path(target))
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", full)
        yield failed
