"""Many NetHack games stepped together, in worker processes that write their screens into shared memory.

Processes and memory: see `training.processes`.
Signals: one byte through a socket each way. A dead worker reads as the end of the stream at once, and a parent that
waits leaves its core to the workers.
"""

import mmap
import os
import warnings
import weakref
from collections.abc import Iterable
from itertools import pairwise
from typing import Self

import numpy as np

from training.errors import ConfigError, MachineError
from training.games.nethack import worker as serving
from training.games.nethack.game import NetHackTask
from training.games.nethack.process import WorkerProcess
from training.games.vector import Deal, GameResult, Transition, checked_actions, checked_seed, game_seeds
from training.processes import nameless_file

_ATTEMPTS = 3
_SCREEN = ("chars", "colors", "cursor")


class NetHackVector:
    """`count` games stepped by `workers` processes; a `training.games.Vector`.

    Seeded: with the same task, seed and actions come the same frames, whatever the number of workers. `games` None
    plays for ever; a number plays games 0 .. games-1 once each, and then leaves slots idle (`playing` False).

    A worker that dies, or is silent for `patience` seconds, is replaced with a RuntimeWarning: its games end truncated,
    with the score of their last whole step, and their slots begin their next games. The other slots notice nothing.
    Raises ConfigError for settings that cannot be played, MachineError for a worker that cannot even start.
    """

    def __init__(
        self,
        task: NetHackTask | str = "mon-hum-neu-mal",
        *,
        count: int,
        workers: int | None = None,
        seed: int = 0,
        games: int | None = None,
        patience: float = 60.0,
    ) -> None:
        self.task = NetHackTask.of(task) if isinstance(task, str) else task
        self.count = count
        self.actions = self.task.actions
        self._seed, self._games = checked_seed(seed), games
        self._deal = Deal(count, games)
        workers = min(os.cpu_count() or 1, count) if workers is None else workers
        if not 1 <= workers <= count:
            raise ConfigError(f"{count} games can be played by 1 to {count} workers, got workers = {workers}.")
        size = serving.shared_bytes(count)
        self._file = nameless_file(size)
        self._shared = serving.shared_arrays(mmap.mmap(self._file, size), count)
        self._numbers = np.full(count, -1, np.int64)
        self._sent = False
        self._workers: list[WorkerProcess] = []
        self._release = weakref.finalize(self, _free, self._workers, self._file, os.getpid())
        bounds = np.linspace(0, count, workers + 1).astype(int).tolist()
        for first, last in pairwise(bounds):
            self._workers.append(WorkerProcess(self.task, self._file, count, first, last, patience))

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """Process ids of the workers, by slot."""
        return tuple(worker.pid for worker in self._workers)

    def reset(self) -> Transition:
        """Begin from the first games and return their first frames; games being played are forgotten."""
        self._check_open()
        if self._sent:
            self.receive()
        for worker in self._workers:
            worker.start()
        self._deal = Deal(self.count, self._games)
        for name in ("reward", "terminated", "truncated", "playing", "start"):
            self._shared[name][:] = 0
        results: list[GameResult] = []
        self._begin(range(self.count), results)
        return self._transition(results, {})

    def step(self, actions: np.ndarray) -> Transition:
        """Take one action (integers [count]) in every slot; entries of slots that play nothing are ignored."""
        self.send(actions)
        return self.receive()

    def send(self, actions: np.ndarray) -> None:
        """Begin a step and return at once; the arrays of the last Transition change from now on."""
        self._check_open()
        if self._sent or self._numbers.max() < 0:
            raise RuntimeError("Call reset() before the first send(), and receive() between two.")
        self._shared["actions"][:] = checked_actions(actions, self.count, self.actions)
        for name in ("reward", "terminated", "truncated"):
            self._shared[name][:] = 0
        for worker in self._workers:
            worker.send(serving.STEP)
        self._sent = True

    def receive(self) -> Transition:
        """Wait for the step begun by `send`."""
        self._check_open()
        if not self._sent:
            raise RuntimeError("Call send() before receive().")
        lost = self._wait(self._workers)
        self._sent = False
        results: list[GameResult] = []
        for worker in lost:
            self._replace(worker, results)
        crashed = {result.slot for result in results}
        ended = np.flatnonzero(self._shared["terminated"] | self._shared["truncated"])
        results += [self._result(int(slot), crashed=False) for slot in ended if slot not in crashed]
        final = {r.slot: self._frame(r.slot) for r in results if r.truncated and not r.crashed}
        if results:
            self._begin([result.slot for result in results], results)
        return self._transition(results, final)

    def close(self) -> None:
        """End the workers and free the memory; more than once is harmless. Also done at exit, and when collected."""
        self._release()
        self._shared = {}  # frames that a caller still holds stay readable

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _begin(self, slots: Iterable[int], results: list[GameResult]) -> None:
        """Deal the next games to these slots and wait for their first frames; what crashes meanwhile is dealt again."""
        todo = sorted(slots)
        for _ in range(_ATTEMPTS):
            for slot in todo:
                self._deal_to(slot)
            beginning = [w for w in self._workers if self._shared["dealt"][w.first : w.last].any()]
            for worker in beginning:
                worker.send(serving.BEGIN)
            lost = self._wait(beginning)
            if not lost:
                return
            todo = [slot for worker in lost for slot in self._replace(worker, results)]
        raise MachineError(
            f"NetHack workers died {_ATTEMPTS} times in a row while beginning a game; see their errors above."
        )

    def _deal_to(self, slot: int) -> None:
        game = self._deal.next(slot)
        self._shared["playing"][slot] = self._shared["start"][slot] = False
        if game is not None:
            self._numbers[slot] = game
            self._shared["seeds"][slot] = game_seeds(self._seed, game, 2)
            self._shared["score"][slot] = self._shared["length"][slot] = 0
            self._shared["dealt"][slot] = True

    def _wait(self, workers: list[WorkerProcess]) -> list[WorkerProcess]:
        """Wait for these workers' answers; returns those that died or were silent for too long."""
        return [worker for worker in workers if not worker.answered()]

    def _replace(self, worker: WorkerProcess, results: list[GameResult]) -> list[int]:
        """Record a lost worker's games as cut off and start a new one; returns the slots that need a game."""
        warnings.warn(
            f"NetHack worker {worker.pid} {worker.stop()}; its games (slots {worker.first} to {worker.last - 1}) are "
            "cut off and new ones begin in a new process.",
            RuntimeWarning,
            stacklevel=4,
        )
        slots = slice(worker.first, worker.last)
        playing = self._shared["playing"][slots]
        self._shared["reward"][slots][playing] = 0
        self._shared["terminated"][slots][playing] = False
        self._shared["truncated"][slots] |= playing
        lost = [int(slot) for slot in worker.first + np.flatnonzero(playing | self._shared["dealt"][slots])]
        self._shared["dealt"][slots] = False
        results += [self._result(slot, crashed=True) for slot in lost]
        worker.start()
        return lost

    def _result(self, slot: int, *, crashed: bool) -> GameResult:
        return GameResult(
            slot=slot,
            game=int(self._numbers[slot]),
            score=float(self._shared["score"][slot]),
            length=int(self._shared["length"][slot]),
            truncated=crashed or bool(self._shared["truncated"][slot]),
            crashed=crashed,
        )

    def _frame(self, slot: int) -> dict[str, np.ndarray]:
        return {name: self._shared[name][slot].copy() for name in _SCREEN}

    def _transition(self, results: list[GameResult], final: dict[int, dict[str, np.ndarray]]) -> Transition:
        shared = self._shared
        return Transition(
            fields={name: shared[name] for name in _SCREEN},
            start=shared["start"],
            playing=shared["playing"],
            game=self._numbers,
            reward=shared["reward"],
            terminated=shared["terminated"],
            truncated=shared["truncated"],
            results=tuple(sorted(results, key=lambda result: (result.slot, result.game))),
            final=final,
        )

    def _check_open(self) -> None:
        if not self._release.alive:
            raise RuntimeError("This NetHackVector is closed; make a new one.")


def _free(workers: list[WorkerProcess], file: int, owner: int) -> None:
    if os.getpid() != owner:  # a fork of the owner exits: nothing here is its own
        return
    for worker in workers:
        worker.hang_up()
    for worker in workers:
        worker.stop()
    os.close(file)
