"""Files that are whole or not there."""

import os
from pathlib import Path


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
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, place)
    finally:
        beside.unlink(missing_ok=True)
