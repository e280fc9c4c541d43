"""Record NetHack games in NLD-AA's layout, by several processes at once, losing none.

`training.record.nethack.folder` describes the folder and reads it.
"""

import contextlib
import dataclasses
import json
import math
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np

from training.errors import ConfigError, MachineError
from training.games.nethack.game import NetHackTask
from training.games.vector import checked_seed
from training.interrupts import InterruptedRunError, stop_on_signals
from training.record.nethack.folder import LIST, cut_to_whole_lines, read_list, remove_empty, verify
from training.record.nethack.players import describe, make_player
from training.record.nethack.session import GameRow, Rules
from training.record.nethack.worker import RecordingWorker, Stream, after

STREAM_STEPS = 50_000
"""Steps that one stream of games makes, when steps are asked for: its last game is cut off there."""
_RESERVE = 64 << 20  # bytes left free on the disk
_LOOK_SECONDS = 0.5
_DEATHS = 3  # of workers, with no whole game between them, that end a recording


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What one call of `collect` recorded."""

    games: int
    """Whole games that were recorded."""
    steps: int
    """Actions of the player in them."""
    mean_score: float | None
    """None where there was nothing left to record."""
    standard_error: float | None
    """Of the mean score; None for a single game."""
    cut_off: int
    """Games ended before their time, by a limit."""
    bytes_per_step: float
    """Size of the recordings."""
    steps_per_second: float
    """All workers together."""
    seconds: float
    """Time that the recording took."""
    notes: tuple[str, ...] = ()
    """What went wrong without stopping the recording, a sentence each."""


def collect(
    out: str | Path,
    *,
    task: str = "mon-hum-neu-mal",
    steps: int | None = None,
    games: int | None = None,
    player: Any = "bot",
    workers: int | None = None,
    seed: int = 0,
    max_episode_steps: int = 100_000,
    append: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Record exactly `games` games, or exactly `steps` actions of the player, into the folder `out`.

    `player` is "bot", "random", or a policy (nn.Module; run by each worker a frame at a time). The same seed records
    the same games whatever the number of `workers` (all cores by default). Steps are made in streams of about 50,000,
    each a row of games of which the last is cut off there and ended by quitting. `append` goes on in a folder that
    holds games, and records what is missing of them; a game that was interrupted stays as it is. `progress` is called
    with (done, total) in games or steps.

    Raises ConfigError for settings that cannot be recorded and a folder in use, DataError for a damaged list of games,
    MachineError for a full disk, InterruptedRunError after SIGINT or SIGTERM; in both latter cases what was recorded is
    kept and every game in it is whole.
    """
    if (steps is None) == (games is None):
        raise ConfigError(f"ask for either steps or games, got steps = {steps} and games = {games}.")
    for name, value in {
        "steps": steps,
        "games": games,
        "workers": workers,
        "max_episode_steps": max_episode_steps,
    }.items():
        if value is not None and value < 1:
            raise ConfigError(f"{name} must be at least 1, got {value}.")
    checked_seed(seed)
    NetHackTask(character=task)  # refuses what is no character
    make_player(player)
    out = _folder(Path(out), append)
    cut_to_whole_lines(out)
    rules = Rules(task=task, seed=seed, max_episode_steps=max_episode_steps)
    label = {"task": task, "seed": seed, "player": describe(player), "counted": "steps" if steps else "games"}
    recording = _Recording(out, rules, player, label, progress)
    recording.plan(steps, games)
    if not recording.streams:
        recording.notes.append(f"{out} holds all that is asked for already.")
    return recording.run(workers or len(os.sched_getaffinity(0)))


class _Recording:
    """One call of `collect`: the streams still to be played, the workers that play them, and what they report."""

    def __init__(
        self, out: Path, rules: Rules, player: Any, label: dict[str, Any], progress: Callable[[int, int], None] | None
    ) -> None:
        self.out, self.rules, self.player, self.label = out, rules, player, label
        self.progress = progress or (lambda done, total: None)
        self.rows: list[GameRow] = []
        self.notes: list[str] = []
        self.streams: list[Stream] = []
        self.done = self.total = self.deaths = 0
        self.trouble = ""

    def plan(self, steps: int | None, games: int | None) -> None:
        """The streams that make up what is asked for, less what the folder holds."""
        held = [row for row in read_list(self.out) if all(row[key] == value for key, value in self.label.items())]
        if games is not None:
            have = {row["stream"] for row in held}
            self.streams = [Stream(stream=stream) for stream in range(games) if stream not in have]
            self.total = len(self.streams)
            return
        assert steps is not None
        count = max(1, min(steps, max(2, round(steps / STREAM_STEPS))))
        for stream in range(count):
            mine = [row for row in held if row["stream"] == stream]
            left = (stream + 1) * steps // count - stream * steps // count - sum(row["steps"] for row in mine)
            if left > 0:
                first = 1 + max((row["number"] for row in mine), default=-1)
                self.streams.append(Stream(stream=stream, number=first, quota=left))
                self.total += left

    def run(self, workers: int) -> Summary:
        """Play all streams; returns when every worker is gone."""
        began = time.monotonic()
        self.todo = self.streams[::-1]
        self.progress(0, self.total)
        self.workers = {worker.link: worker for worker in (self._launch() for _ in range(min(workers, len(self.todo))))}
        main = threading.current_thread() is threading.main_thread()
        with stop_on_signals() if main else contextlib.nullcontext() as flag:
            stopping = False
            while self.workers:
                for link in wait(list(self.workers), timeout=_LOOK_SECONDS):
                    self._hear(link)  # type: ignore[arg-type]
                if not self.trouble and shutil.disk_usage(self.out).free < _RESERVE:
                    self.trouble = f"less than {_RESERVE >> 20} MiB are free on the disk"
                if not stopping and (self.trouble or (flag is not None and flag.raised)):
                    stopping = True
                    self.todo.clear()
                    for worker in self.workers.values():
                        worker.tell(None)
        return self._finish(time.monotonic() - began, interrupted=bool(flag is not None and flag.raised))

    def _launch(self) -> RecordingWorker:
        worker = RecordingWorker(self.out, self.rules, self.player)
        worker.tell(self.todo.pop())
        return worker

    def _hear(self, link: Connection) -> None:
        """Take in what a worker says: steps made, a game recorded, a stream finished, or that it is gone."""
        worker = self.workers[link]
        try:
            kind, value = link.recv()
        except (EOFError, OSError):
            self._bury(worker)
            return
        if kind == "steps":
            if self.label["counted"] == "steps":
                self.done += value
        elif kind == "game":
            self.rows.append(value)
            worker.games += 1
            self.deaths = 0
            worker.playing = after(worker.playing, value)
            self.done += self.label["counted"] == "games"
            with open(self.out / LIST, "a", encoding="utf-8") as file:
                file.write(json.dumps(self.label | dataclasses.asdict(value)) + "\n")
        elif kind == "trouble":
            self.trouble = self.trouble or value
        else:
            worker.tell(self.todo.pop() if self.todo else None)
        self.progress(min(self.done, self.total), self.total)

    def _bury(self, worker: RecordingWorker) -> None:
        """A worker is gone. If it should not be, say so, and have another go on where its last whole game ended."""
        code = worker.end()
        del self.workers[worker.link]
        if worker.left:
            return
        remove_empty(self.out, worker.pid)
        how = signal.Signals(-code).name if code and code < 0 else f"exit code {code}"
        self.notes.append(
            f"Worker {worker.pid} died ({how}) after {worker.games} whole games, which are kept; "
            "the game it was in is played again from its start."
        )
        if worker.playing is not None and not self.trouble:
            self.deaths += 1
            if self.deaths == _DEATHS:
                self.trouble = (
                    f"{_DEATHS} workers in a row died before the end of a game (see their errors above; a script that "
                    'records must be a file, and call collect under `if __name__ == "__main__":`)'
                )
                return
            self.todo.append(worker.playing)
            replacement = self._launch()
            self.workers[replacement.link] = replacement

    def _finish(self, seconds: float, *, interrupted: bool) -> Summary:
        if self.rows:
            verify(self.out)
        if self.trouble or interrupted:
            kept = f"{len(self.rows)} whole games were recorded and are kept in {self.out}"
            if interrupted and not self.trouble:
                raise InterruptedRunError(f"Stopped by a signal; {kept}; go on with --append.")
            raise MachineError(f"{self.out}: {self.trouble}; {kept}; go on with --append when that is mended.")
        scores = np.array([row.score for row in self.rows], float)
        steps = sum(row.steps for row in self.rows)
        size = sum((self.out / row.session / row.file).stat().st_size for row in self.rows)
        return Summary(
            games=len(self.rows),
            steps=steps,
            mean_score=float(scores.mean()) if len(scores) else None,
            standard_error=float(scores.std(ddof=1) / math.sqrt(len(scores))) if len(scores) > 1 else None,
            cut_off=sum(bool(row.cut_off) for row in self.rows),
            bytes_per_step=size / max(1, steps),
            steps_per_second=steps / max(seconds, 1e-9),
            seconds=seconds,
            notes=tuple(self.notes),
        )


def _folder(out: Path, append: bool) -> Path:
    """The folder, made if need be. Raises MachineError if it cannot be, ConfigError if it holds games already."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()) and not append:
            raise ConfigError(f"{out} is not empty; choose another folder, or go on recording there with --append.")
    except OSError as error:
        raise MachineError(
            f"{out}: games cannot be recorded there ({error.strerror}); choose another folder."
        ) from None
    return out.resolve()
