"""One run of a sweep in a process of its own, and where such processes run: this machine's, or a Ray cluster's.

A process writes to `log.txt` in the folder of its run. When whoever started it is gone it saves and ends, so that
nothing trains on without a driver.
"""

import contextlib
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from training.config.base import TrainingConfig, to_toml
from training.config.read import read_config
from training.errors import MachineError, is_bug
from training.files import write_atomically
from training.interrupts import EXIT_CODE as INTERRUPTED
from training.interrupts import InterruptedRunError, leave
from training.learn.runs.monitor import PROGRESS, Told
from training.schema import misfit, read_json
from training.sweeps.sharing import Card, Sharing

PATIENCE = 300.0
"""Seconds that a run waits for a process that trains it still: one whose driver was killed and that is about to end."""
BUG = 1
"""Exit code of Python for an error of the code, whose traceback is in the log; the same run would meet it again."""
REFUSED = 2
"""Exit code of a run that cannot be trained, whoever tries it."""
MACHINE = os.EX_TEMPFAIL
"""Exit code of a run whose machine failed, which may pass."""
_LOG = "log.txt"
_LOOK = 0.01  # seconds between two looks at processes that end
_TIDYING = 0.2  # seconds in which what a job started may tidy up after it


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run to make."""

    config: TrainingConfig
    """The run."""
    folder: Path
    """Where it saves and logs."""
    table: Path
    """The run table that gets its rows."""
    threads: int
    """Cores it may keep busy."""
    memory: float = 0.0
    """GPU memory it needs (bytes)."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How the process of a job ended: its exit code, negative for a signal, and its last words."""

    code: int
    """Exit code, negative for a signal."""
    words: str
    """The last line of its log."""


class Executor(Protocol):
    """Runs jobs side by side."""

    def room(self, job: Job) -> bool:
        """Whether this job can start now."""
        ...

    def start(self, job: Job) -> None:
        """Start it. Raises OSError where the machine does not let it begin."""
        ...

    def ended(self) -> list[tuple[Job, Ended]]:
        """Jobs that ended since the last call."""
        ...

    def stop(self, patience: float) -> None:
        """Ask all jobs to save and end, and wait until they have.

        patience: seconds after which those that have not may be killed.
        """
        ...


class ThisMachine:
    """Processes on this machine: as many as have cores, and, where there are GPUs, as fit into their memory.

    Fewer than these share a GPU where more of them train no faster together, by their rates.
    """

    def __init__(
        self,
        parallel: int,
        gpus: Sequence[float] = (),
        *,
        by_rate: bool = False,
        say: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        """No process is started yet.

        parallel: most jobs at a time.
        gpus: memory of each that jobs may fill (bytes); none: compute on the CPU.
        by_rate: find by their rates how many jobs share a GPU; without one, the CPU.
        say: takes a sentence for the user.
        """
        self._parallel, self._free = parallel, list(gpus)
        self._gpus = list(gpus)
        places = max(1, len(self._gpus)) if by_rate else 0
        name = "GPU" if self._gpus else "CPU"
        self._cards = [Card(sharing=Sharing(parallel), say=say, name=name) for _ in range(places)]
        self._running: dict[Job, tuple[subprocess.Popen[bytes], int | None]] = {}

    def room(self, job: Job) -> bool:
        """Whether this job can start now; one larger than any GPU starts when a GPU is empty, to try."""
        if len(self._running) >= self._parallel:
            return False
        return self._gpu(job) is not None if self._gpus else not self._full(0)

    def start(self, job: Job) -> None:
        """Start it, on the GPU with the most room."""
        gpu = self._gpu(job)
        self._running[job] = begin(job, gpu), gpu
        if gpu is not None:
            self._free[gpu] -= job.memory
        if self._cards:
            self._cards[gpu or 0].begins(job)

    def ended(self) -> list[tuple[Job, Ended]]:
        """Jobs that ended since the last call."""
        results = []
        self._look()
        for job, (process, gpu) in list(self._running.items()):
            code = process.poll()
            if code is not None:
                del self._running[job]
                if gpu is not None:
                    self._free[gpu] += job.memory
                if self._cards:
                    self._cards[gpu or 0].ends(job)
                results.append((job, Ended(code=code, words=last_words(job.folder))))
        return results

    def stop(self, patience: float) -> None:
        """Ask all jobs to save and end, and kill those that have not after `patience` seconds, or if interrupted."""
        processes = [process for process, _ in self._running.values()]
        for process in processes:
            process.terminate()
        try:
            _wait(processes, patience)
        finally:
            for process in processes:
                process.kill()
            _wait(processes, math.inf)
            _end_groups([process.pid for process in processes])

    def _gpu(self, job: Job) -> int | None:
        fitting = [
            i
            for i, free in enumerate(self._free)
            if (free >= job.memory or free == self._gpus[i]) and not self._full(i)
        ]
        return max(fitting, key=lambda i: self._free[i], default=None)

    def _full(self, card: int) -> bool:
        return bool(self._cards) and self._cards[card].full

    def _look(self) -> None:
        """Tell each card how fast its jobs train."""
        for number, card in enumerate(self._cards):
            if not card.sharing.settled:
                card.look(
                    {job: progress_of(job.folder) for job, (_, gpu) in self._running.items() if (gpu or 0) == number}
                )


def _wait(processes: Sequence["subprocess.Popen[bytes]"], patience: float) -> None:
    """Until all have ended, or so many seconds have passed."""
    end = time.monotonic() + patience
    while any(process.poll() is None for process in processes) and time.monotonic() < end:
        time.sleep(_LOOK)


def _end_groups(leaders: Sequence[int]) -> None:
    """Wait until the processes that jobs started have tidied up and ended, as they do without a parent; kill others."""
    end = time.monotonic() + _TIDYING
    for leader in leaders:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            while time.monotonic() < end:
                os.killpg(leader, 0)
                time.sleep(_LOOK)
            os.killpg(leader, signal.SIGKILL)


def progress_of(folder: Path) -> Mapping[str, Any]:
    """Where the process of a job is, as `training.learn.runs.monitor` writes it; nothing before its first word."""
    with contextlib.suppress(OSError, ValueError):
        progress = read_json(folder / PROGRESS)
        return {} if misfit(progress, Told) else progress
    return {}


def begin(job: Job, gpu: int | None = None) -> "subprocess.Popen[bytes]":
    """The process of a job. gpu: the only one that it sees; None for all there are."""
    job.folder.mkdir(parents=True, exist_ok=True)
    write_atomically(job.folder / "config.toml", to_toml(job.config))
    environment = {**os.environ, "OMP_NUM_THREADS": str(job.threads)}
    if gpu is not None:  # counted among those that this process sees
        seen = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        environment["CUDA_VISIBLE_DEVICES"] = seen[gpu] if len(seen) > gpu and seen[gpu] else str(gpu)
    arguments = [str(job.folder), str(job.table), str(job.threads), str(os.getpid())]
    with open(log_of(job.folder), "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "training.sweeps.jobs", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,  # Ctrl-C reaches the driver, which ends its jobs in order
        )


def log_of(folder: Path) -> Path:
    """The file that the process of a job writes to."""
    return folder / _LOG


def last_words(folder: Path) -> str:
    """The last line of a job's log."""
    return last_lines(folder, 1).removeprefix("training: ")


def last_lines(folder: Path, count: int) -> str:
    """The last lines of a job's log, at most so many; nothing where there is none."""
    with contextlib.suppress(OSError):
        lines = log_of(folder).read_text(errors="replace").strip().splitlines()
        return "\n".join(lines[-count:])
    return ""


def main() -> None:
    """Train the run in a folder: FOLDER TABLE THREADS PARENT."""
    folder, table, threads, parent = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    try:
        config = read_config(folder / "config.toml")
        _train(config, folder, table, threads)
    except Exception as error:
        code = exit_code(error)
        if code == BUG:
            raise
        print(f"training: {str(error) or type(error).__name__}", file=sys.stderr)
        raise SystemExit(code) from None


def exit_code(error: Exception) -> int:
    """With what code the process of a job ends after an error."""
    if isinstance(error, InterruptedRunError):
        return INTERRUPTED
    if isinstance(error, MemoryError):
        return MACHINE
    if is_bug(error):
        return BUG
    return MACHINE if isinstance(error, MachineError | OSError) else REFUSED


def _train(config: Any, folder: Path, table: Path, threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    if config.algorithm == "bc":
        from training.learn.bc import train
    else:
        from training.learn.rl import train
    train(config, out=folder, table=table, patience=PATIENCE)


def _end_with(parent: int) -> None:
    """Ask this process to stop as soon as its parent is another one than it was started by."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    try:
        main()
    except SystemExit as done:
        leave(int(done.code or 0))
    leave(0)
