"""The processes that record NetHack games: each plays streams of games that its parent hands it, and tells of them."""

import contextlib
import multiprocessing
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from training.record.nethack.players import make_player
from training.record.nethack.session import GameRow, Rules, Session


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Games that one worker plays in a row: one game, or as many as make up `quota` steps."""

    stream: int
    """Its number, from which the seeds of its games follow."""
    number: int = 0
    """The first game's number."""
    quota: int | None = None
    """Steps left to make; None for a single game."""


def after(stream: Stream | None, row: GameRow) -> Stream | None:
    """What is left of a stream after a game."""
    if stream is None or stream.quota is None or stream.quota <= row.steps:
        return None
    return Stream(stream=stream.stream, number=row.number + 1, quota=stream.quota - row.steps)


class RecordingWorker:
    """The parent's end of a process that records."""

    def __init__(self, out: Path, rules: Rules, player: Any) -> None:
        context = multiprocessing.get_context("spawn")  # a forked copy of a process that uses torch or jax can hang
        self.link, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, out, rules, player), daemon=True)
        self._process.start()
        theirs.close()
        self.playing: Stream | None = None
        self.left = False
        self.games = 0

    @property
    def pid(self) -> int:
        """Process id, also of one that has ended."""
        return self._process.pid or 0

    def tell(self, stream: Stream | None) -> None:
        """Give it a stream to play, or None: end the game in progress and leave."""
        self.left = stream is None
        if stream is not None:
            self.playing = stream
        with contextlib.suppress(OSError):
            self.link.send(stream)

    def end(self) -> int | None:
        """Wait for it; its exit code."""
        self._process.join()
        self.link.close()
        return self._process.exitcode


def _work(link: Connection, out: Path, rules: Rules, player: Any) -> None:
    """A worker: play the streams that come down the link, until there is none."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when to stop
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with contextlib.suppress(EOFError, BrokenPipeError):  # the parent is gone: leave, with the last game ended
        session: Session | None = None
        try:
            session = Session(out, rules, make_player(player))
            while (stream := link.recv()) is not None:
                for row in _games(session, stream, link):
                    link.send(("game", row))
                link.send(("finished", None))
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                raise
            link.send(("trouble", f"recording failed ({error.strerror or error})"))
        finally:
            if session is not None:
                session.close()


def _games(session: Session, stream: Stream, link: Connection) -> Iterator[GameRow]:
    """Play a stream's games."""
    number, left = stream.number, stream.quota

    def tick(steps: int) -> None:
        with contextlib.suppress(OSError):
            link.send(("steps", steps))

    while left is None or left > 0:
        # Whatever comes while a stream is played, None or the end of the link, means stop.
        row = session.play(stream.stream, number, left, link.poll, tick)
        yield row
        number += 1
        if left is None or row.cut_off == "stopped":
            return
        left -= row.steps
