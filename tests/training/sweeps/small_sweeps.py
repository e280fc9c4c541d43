"""A plan of small runs, and an executor that makes them in the process of the test."""

import signal

from training.design.plan import RunGrid
from training.errors import TrainingError
from training.interrupts import InterruptedRunError
from training.sweeps import jobs
from training.sweeps.jobs import Ended


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

    def stop(self):
        pass
