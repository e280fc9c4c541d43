"""A process that steps some slots of a vectorised NetHack, on command, in memory that it shares with its parent.

Commands and answers are one byte each over a socket; everything else is in the shared memory. A parent that is gone
reads as the end of the stream, whereupon the worker tidies up and ends.
"""

import contextlib
import json
import mmap
import os
import socket
import sys
from pathlib import Path

import numpy as np

from training.games.nethack.game import Game, NetHackTask

STEP, BEGIN, READY, DONE = b"s", b"b", b"r", b"d"
_LINE = 64  # bytes; arrays of different purpose do not share a cache line


def _arrays(count: int) -> dict[str, tuple[type, tuple[int, ...]]]:
    return {
        "chars": (np.uint8, (count, 24, 80)),
        "colors": (np.uint8, (count, 24, 80)),
        "cursor": (np.uint8, (count, 2)),
        "start": (np.bool_, (count,)),
        "playing": (np.bool_, (count,)),
        "terminated": (np.bool_, (count,)),
        "truncated": (np.bool_, (count,)),
        "reward": (np.float32, (count,)),
        "score": (np.int64, (count,)),
        "length": (np.int64, (count,)),
        "actions": (np.int64, (count,)),
        # A game to begin: its two seeds, and whether there is one.
        "seeds": (np.uint64, (count, 2)),
        "dealt": (np.bool_, (count,)),
    }


def shared_bytes(count: int) -> int:
    """Size of the memory shared for `count` slots."""
    return sum(_padded(dtype, shape) for dtype, shape in _arrays(count).values())


def shared_arrays(memory: mmap.mmap, count: int) -> dict[str, np.ndarray]:
    """The arrays, all with the slot first, that lie in the shared memory."""
    arrays, offset = {}, 0
    for name, (dtype, shape) in _arrays(count).items():
        arrays[name] = np.ndarray(shape, dtype, memory, offset)
        offset += _padded(dtype, shape)
    return arrays


def _padded(dtype: type, shape: tuple[int, ...]) -> int:
    return -(-int(np.dtype(dtype).itemsize * np.prod(shape)) // _LINE) * _LINE


def _step(games: dict[int, Game], shared: dict[str, np.ndarray]) -> None:
    playing, actions, start = shared["playing"], shared["actions"], shared["start"]
    reward, terminated, truncated = shared["reward"], shared["terminated"], shared["truncated"]
    score, length = shared["score"], shared["length"]
    for slot, game in games.items():
        if playing[slot]:
            reward[slot], terminated[slot], truncated[slot] = game.step(actions[slot])
            score[slot], length[slot], start[slot] = game.score, game.length, False


def _begin(games: dict[int, Game], shared: dict[str, np.ndarray]) -> None:
    for slot, game in games.items():
        if shared["dealt"][slot]:
            game.begin(*shared["seeds"][slot])
            shared["dealt"][slot] = False
            shared["start"][slot] = True
            shared["playing"][slot] = True


def main(settings: str) -> None:
    """Serve until the parent hangs up. `settings` is JSON: task, count, slots, and the descriptors memory and line."""
    options = json.loads(settings)
    with mmap.mmap(options["memory"], shared_bytes(options["count"])) as memory:
        shared = shared_arrays(memory, options["count"])
        task = NetHackTask(**options["task"])
        screens = ("chars", "colors", "cursor")
        games = {slot: Game(task, {name: shared[name][slot] for name in screens}) for slot in range(*options["slots"])}
        with contextlib.suppress(ConnectionError), socket.socket(fileno=options["line"]) as line:
            line.sendall(READY)
            while command := line.recv(1):
                _step(games, shared) if command == STEP else _begin(games, shared)
                line.sendall(DONE)
        for game in games.values():
            game.close()
        # The parent removes its workers' folders; this is for a parent that was killed.
        Path(os.environ["TMPDIR"]).rmdir()
        os._exit(0)  # views of the memory are still held by the games; the kernel frees it all


if __name__ == "__main__":
    main(sys.argv[1])
