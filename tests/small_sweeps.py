"""A plan of small runs, executors that make them here or in forks of the test's process, and what their table says."""

import os
import signal
import traceback
from pathlib import Path

import pandas as pd

from training.design.plan import RunGrid
from training.errors import TrainingError
from training.interrupts import InterruptedRunError
from training.sweeps import jobs
from training.sweeps.jobs import Ended
from training.sweeps.sweep import TABLE

MEASURED = ["run", "update", "flops", "loss", "heldout_frames", "train_loss"]


def plan(data, budgets=(3e8, 6e8), sizes=(1e4, 2e4), **run):
    given = {"data": str(data), "batch_size": 2, "unroll_length": 8, "max_epochs": 1e3, "heldout_frames": 100, **run}
    return RunGrid(grid={budget: list(sizes) for budget in budgets}, run=given)


class Here:
    """An executor that trains in this process, one run at a time, in which tests can change what they like."""

    def __init__(self):
        self.done = []

    def room(self, job):
        return not self.done

    def start(self, job):
        job.folder.mkdir(parents=True, exist_ok=True)
        try:
            jobs._train(job.config, job.folder, job.table, 1)
            self.done.append((job, Ended(code=0, words="")))
        except (TrainingError, OSError) as error:
            self.done.append((job, Ended(code=jobs.exit_code(error), words=str(error))))
        except InterruptedRunError:
            self.done.append((job, Ended(code=-signal.SIGKILL, words="")))

    def ended(self):
        done, self.done = self.done, []
        return done

    def stop(self, patience):
        pass


def measured(folder: Path) -> pd.DataFrame:
    """What was measured; no row may be of a failed run, or lack a column that another has."""
    rows = pd.read_csv(folder / TABLE)
    whole = rows.drop(columns=["state", "reason"], errors="ignore")
    assert (whole.notna().all() == whole.notna().any()).all(), whole
    assert not rows.duplicated(["run", "update"]).any()
    return rows[MEASURED].sort_values(["run", "update"], ignore_index=True)


class Forked(Here):
    """An executor that trains one run at a time in a fork of this process, which spares its start."""

    def __init__(self):
        super().__init__()
        self.running = {}

    def room(self, job):
        return not self.running

    def start(self, job):
        job.folder.mkdir(parents=True, exist_ok=True)
        pid = os.fork()
        if pid:
            self.running[job] = pid
            return
        code = jobs.BUG
        try:
            jobs._train(job.config, job.folder, job.table, 1)
            code = 0
        except Exception as error:
            traceback.print_exc()
            code = jobs.exit_code(error)
        finally:
            os._exit(code)

    def ended(self):
        for job, pid in list(self.running.items()):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                del self.running[job]
                self.done.append((job, Ended(code=os.waitstatus_to_exitcode(status), words="")))
        return super().ended()


def workers_of(folder: Path) -> list[int]:
    """Processes of the jobs of a sweep in this folder, however they were started."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"training.sweeps.jobs" in arguments and any(str(folder).encode() in argument for argument in arguments):
            found.append(int(entry.name))
    return found
