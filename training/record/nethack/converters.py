"""Encoding recorded games with all cores, in order."""

import os
from collections import deque
from collections.abc import Collection, Generator
from multiprocessing.connection import wait
from pathlib import Path

from training.errors import ConfigError
from training.processes import Helper
from training.record.nethack.encoding import Source, encode
from training.shards.encoder import EncodedGame

_BYTES_EACH = 2**21
"""Recordings worth a process: some five seconds of work, where the start of a process takes one."""
_AHEAD = 4

Encoded = tuple[Source, EncodedGame | str | None]
"""A game encoded; or the reason why it cannot be; or None when it is done already."""


def process_count(workers: int | None, scratch: Path, sources: list[Source]) -> int:
    """As many processes as asked for; else one a core, but each has 2 MiB of recordings or more to convert.

    Raises ConfigError for less than one.
    """
    if workers is not None and workers < 1:
        raise ConfigError(f"workers must be at least 1, got {workers}.")
    most = workers or len(os.sched_getaffinity(0))
    size = 0
    for source in sources if workers is None else ():
        if size >= most * _BYTES_EACH:
            break
        size += (scratch / "games" / source.file).stat().st_size
    return max(1, min(most, len(sources), most if workers else size // _BYTES_EACH))


def encoded(
    scratch: Path, sources: list[Source], done: Collection[str], block: int, workers: int | None
) -> Generator[Encoded, None, None]:
    """Each game of the data base in `scratch`, in the order of `sources`, encoded in blocks of so many frames.

    done: files that are not to be encoded. A single process is this one. Closing the generator ends the others at once;
    they hold up to four games each that are encoded and wait for an earlier one.
    """
    todo = deque(source for source in sources if source.file not in done)
    count = process_count(workers, scratch, list(todo))
    if count == 1:
        for source in sources:
            yield source, None if source.file in done else encode(scratch, source, block)
        return
    helpers: list[Helper] = []
    try:
        settings = {"scratch": str(scratch), "block": block}
        for _ in range(count):
            helpers.append(Helper("training.record.nethack.encoding", settings, work="converts games"))
        idle, ready = list(helpers), dict[str, EncodedGame | str]()
        busy: dict[object, tuple[Helper, Source]] = {}
        for source in sources:
            if source.file in done:
                yield source, None
                continue
            while True:
                while idle and todo and len(ready) < _AHEAD * count:
                    helper, item = idle.pop(), todo.popleft()
                    helper.ask(item)
                    busy[helper.link] = helper, item
                if source.file in ready:
                    break
                for link in wait([helper.link for helper, _ in busy.values()]):
                    helper, item = busy.pop(link)
                    game, error = helper.answer()
                    if error is not None:
                        raise error
                    ready[item.file] = game
                    idle.append(helper)
            yield source, ready.pop(source.file)
    finally:
        for helper in helpers:
            helper.end()
