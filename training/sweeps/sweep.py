"""The runs of a plan, each once, whatever happens: a folder with a run table, and a folder for each run.

What is done is known from the table alone: a run is finished when it has a row at each of its budgets. So a sweep that
was killed goes on where it was, runs that other versions of the code finished stay finished, and neither clocks nor the
order in which runs end matter. A run whose process dies is started again, from its last checkpoint; one that cannot be
trained, meets a bug, or dies too often, gets a row that says why, and is tried again when the sweep is.
"""

import contextlib
import math
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.config.base import TrainingConfig
from training.errors import MachineError, TrainingError
from training.files import locked
from training.interrupts import PATIENCE, InterruptedRunError, stop_on_signals
from training.learn.runs.rows import failure_row
from training.learn.runs.table import append_row, check_table, drop_failures, read_rows
from training.sweeps.jobs import (
    BUG,
    INTERRUPTED,
    MACHINE,
    REFUSED,
    Ended,
    Executor,
    Job,
    last_lines,
    log_of,
    progress_of,
)

TABLE = "runs.csv"
_EVERY = 0.3  # seconds between two looks at the jobs
_TRACEBACK = 12  # last lines of a log that are shown after a bug


@dataclass(kw_only=True)
class Run:
    """What the sweep knows of a run."""

    job: Job
    """What its process is started with."""
    state: str = "waiting"
    """waiting, running, finished or failed."""
    reason: str = ""
    """Why it failed."""
    starts: int = 0
    """How often this driver started it."""
    not_before: float = 0.0
    """When it may be started again, by `time.monotonic`."""

    @property
    def progress(self) -> Mapping[str, Any]:
        """Where its process is, as the monitor of the run writes it; nothing before its first word."""
        return progress_of(self.job.folder)


@dataclass(kw_only=True)
class Sweep:
    """The runs of a plan in a folder, and their table. `go` makes what is missing."""

    folder: Path
    """Holds the run table and a folder for each run."""
    runs: list[Run]
    """All runs of the plan, finished ones too."""
    retries: int = 2
    """How often a run whose process died, or whose machine failed, is started again."""
    pause: float = 10.0
    """Seconds until a run whose machine failed is started again; twice as many each time."""
    say: Callable[[str], None] = field(default=lambda sentence: None)
    """Takes a sentence for the user."""

    @classmethod
    def of(
        cls,
        configs: Sequence[TrainingConfig],
        folder: Path,
        *,
        threads: int = 1,
        memory: Callable[[TrainingConfig], float] = lambda config: 0.0,
        retries: int = 2,
        say: Callable[[str], None] = lambda sentence: None,
    ) -> "Sweep":
        """The runs of these configs, as far as the table in the folder has them.

        configs: the runs, in the order in which they are started.
        folder: of the sweep.
        threads: cores of each run.
        memory: GPU memory that one needs (bytes).
        retries: how often a run whose process died, or whose machine failed, is started again.
        say: takes a sentence for the user.

        Raises DataError for a bad table.
        """
        folder = folder.absolute()
        check_table(folder / TABLE)
        rows = read_rows(folder / TABLE)
        runs = []
        for config in configs:
            job = Job(
                config=config,
                folder=folder / "runs" / config.name,
                table=folder / TABLE,
                threads=threads,
                memory=memory(config),
            )
            runs.append(Run(job=job, state="finished" if is_finished(config, rows) else "waiting"))
        return cls(folder=folder, runs=runs, retries=retries, say=say)

    def go(self, executor: Executor, watch: Callable[[], None] = lambda: None) -> None:
        """Make the runs that are not finished, in their order; `watch` is called a few times a second.

        Raises MachineError where another driver is at work in the folder, InterruptedRunError after a signal, when all
        jobs have ended: they finish their update and save it, but after Ctrl-C for no longer than a person waits. What
        did not get there goes on from the checkpoint before.
        """
        waiting = deque(run for run in self.runs if run.state != "finished")
        running: dict[Job, Run] = {}
        with self._alone(), stop_on_signals() as stop:
            drop_failures(self.folder / TABLE)  # of runs that are tried again now, or that the plan has no more
            try:
                while waiting or running:
                    ended = []
                    while (run := self._next(waiting)) and executor.room(run.job):
                        waiting.remove(run)
                        run.state, run.starts, running[run.job] = "running", run.starts + 1, run
                        if refused := self._start(run, executor):
                            ended.append((run.job, refused))
                            break
                    for job, how in [*ended, *executor.ended()]:
                        run = running.pop(job)
                        self._settle(run, how)
                        if run.state == "waiting":
                            waiting.append(run)
                    watch()
                    if stop.raised:
                        raise InterruptedRunError(
                            f"stopped with {self.count('finished')} of {len(self.runs)} runs finished; start the same "
                            "command again to go on."
                        )
                    stop.wait(_EVERY)
            finally:
                executor.stop(PATIENCE if stop.by_hand else math.inf)

    def _start(self, run: Run, executor: Executor) -> Ended | None:
        """Start a run; how it ended where the machine does not let it begin, such as a full disk."""
        try:
            executor.start(run.job)
        except OSError as error:
            return Ended(code=MACHINE, words=str(error))
        return None

    def _next(self, waiting: Iterable[Run]) -> Run | None:
        """The first of the waiting runs that may be started now."""
        return next((run for run in waiting if run.not_before <= time.monotonic()), None)

    def count(self, state: str) -> int:
        """Runs in this state."""
        return sum(run.state == state for run in self.runs)

    def _settle(self, run: Run, ended: Ended) -> None:
        """What becomes of a run whose process has ended: finished, to be started again, or failed."""
        config = run.job.config
        if is_finished(config, read_rows(run.job.table)):  # whatever failed after its last row
            run.state = "finished"
            return
        if ended.code == 0:
            run.reason = (
                f"its checkpoints in {run.job.folder} are finished, but its rows are not in {run.job.table}; remove "
                "that folder to train it again"
            )
        elif ended.code == REFUSED:
            run.reason = ended.words
        elif ended.code == BUG:
            run.reason = f"a bug ended it ({ended.words or 'without a word'}); its log is {log_of(run.job.folder)}"
        elif run.starts <= self.retries:
            run.state = "waiting"
            if ended.code == MACHINE:
                run.not_before = time.monotonic() + self.pause * 2 ** (run.starts - 1)
            self.say(f"{config.name}: {_died(ended)}; it is started again from its last checkpoint.")
            return
        else:
            run.reason = f"{_died(ended)}, {run.starts} times"
        run.state = "failed"
        self.say(f"{config.name} failed: {run.reason}")
        if ended.code == BUG and (lines := last_lines(run.job.folder, _TRACEBACK)):
            self.say(lines)
        try:
            append_row(run.job.table, failure_row(config, run.reason))
        except TrainingError as error:
            self.say(str(error))

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """The only driver in the folder."""
        lock = self.folder / ".sweep.lock"
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(locked(lock, 0.0))
            except BlockingIOError:
                raise MachineError(
                    f"{self.folder}: another driver ({lock.read_text().strip()}) is at work on this sweep; wait for "
                    "it, or end it."
                ) from None
            lock.write_text(f"process {os.getpid()} on {socket.gethostname()}\n")
            yield


def is_finished(config: TrainingConfig, rows: Sequence[Mapping[str, str]]) -> bool:
    """Whether the table has a row of this run at each of its budgets."""
    wanted = {str(config.updates_within(budget)) for budget in config.budgets}
    return wanted <= {row["update"] for row in rows if row.get("config") == config.identity}


def _died(ended: Ended) -> str:
    """Why a process ended that should not have."""
    if ended.code == MACHINE:
        return f"its machine failed ({ended.words})"
    if ended.code == INTERRUPTED:
        return "its process was asked to stop"
    if ended.code == -signal.SIGKILL:
        return "its process was killed (by the system, where memory ran out)"
    if ended.code < 0:
        name = signal.Signals(-ended.code).name if -ended.code in set(signal.Signals) else str(ended.code)
        return f"its process ended with {name}{f' ({ended.words})' if ended.words else ''}"
    return f"its process ended with code {ended.code} ({ended.words or 'without a word'})"
