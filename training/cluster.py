"""Jobs on a Ray cluster whose nodes share a file system: the folder of the sweep has the same path on all of them."""

import contextlib
import logging
import os
import socket
from pathlib import Path
from typing import Any

from training.config import ConfigError
from training.jobs import Ended, Job, begin, last_words


class Cluster:
    """Jobs as Ray tasks. A task whose node dies is started again on another, where it goes on from its checkpoint."""

    def __init__(self, address: str = "auto", *, retries: int = 2, gpu_memory: float = 0.0) -> None:
        """address: of the cluster. gpu_memory: of one of its GPUs (bytes), of which a job takes its share.

        Raises ConfigError without ray, and where no cluster answers.
        """
        try:
            import ray
        except ImportError:
            raise ConfigError("--on ray needs Ray; install it with `pip install 'game-scaling[cluster]'`.") from None
        try:
            _knock(address)
            ray.init(address=address, ignore_reinit_error=True, log_to_driver=False, logging_level=logging.WARNING)
        except (OSError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(
                f"no Ray cluster answers at {address!r} ({reason}); start one with `ray start --head`, or give "
                "--address."
            ) from None
        self._ray: Any = ray
        self._retries, self._gpu_memory = retries, gpu_memory
        self._running: dict[Any, Job] = {}
        self._work = ray.remote(_work)

    def room(self, job: Job) -> bool:
        """Always: Ray keeps the queue."""
        return True

    def start(self, job: Job) -> None:
        """Hand it to Ray, which waits for a node with its cores and its share of a GPU."""
        options: dict[str, Any] = {"num_cpus": job.threads, "max_retries": self._retries, "name": job.config.name}
        if self._gpu_memory:
            options["num_gpus"] = gpu_share(job.memory, self._gpu_memory)
        self._running[self._work.options(**options).remote(job, os.getcwd())] = job

    def ended(self) -> list[tuple[Job, Ended]]:
        """Jobs that ended since the last call."""
        if not self._running:
            return []
        done, _ = self._ray.wait(list(self._running), num_returns=len(self._running), timeout=0)
        return [(self._running.pop(task), self._result(task)) for task in done]

    def stop(self) -> None:
        """Cancel all tasks; their processes save and end."""
        for task in self._running:
            self._ray.cancel(task, force=False)
        with contextlib.suppress(Exception):  # whatever a cancelled task says
            self._ray.wait(list(self._running), num_returns=len(self._running), timeout=60)
        self._ray.shutdown()

    def _result(self, task: Any) -> Ended:
        try:
            return self._ray.get(task)
        except self._ray.exceptions.RayError as error:
            return Ended(code=-1, words=" ".join(str(error).split())[:300])


def _knock(address: str) -> None:
    """Raise OSError at once where nobody listens; Ray itself asks for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit() and "//" not in address:
        socket.create_connection((host, int(port)), timeout=10).close()


def gpu_share(memory: float, whole: float) -> float:
    """The share of a GPU that a job needs, in hundredths upwards, at most one."""
    return min(1.0, max(0.01, -(-memory * 100 // whole) / 100))


def _work(job: Job, cwd: str) -> Ended:
    """In a Ray worker: the process of a job, from start to end."""
    os.chdir(cwd)
    process = begin(job)
    try:
        code = process.wait()
    except BaseException:  # cancelled
        process.terminate()
        process.wait()
        raise
    return Ended(code=code, words=last_words(Path(job.folder)))
