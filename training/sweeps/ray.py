"""Jobs on a Ray cluster whose nodes share a file system: the folder of the sweep has the same path on all of them."""

import contextlib
import logging
import os
import socket
from pathlib import Path
from typing import Any

from training.design.memory import FILLED, run_memory
from training.errors import ConfigError, MachineError
from training.sweeps.jobs import MACHINE, Ended, Job, begin, exit_code, last_words

_PATIENCE = 60.0  # seconds for what is cancelled to end; a node that is lost says nothing


class Cluster:
    """Jobs as Ray tasks. A task whose node dies is started again on another, where it goes on from its checkpoint."""

    def __init__(self, address: str = "auto", *, retries: int = 2, gpu_share: float | None = None) -> None:
        """Connect to a cluster.

        address: of the cluster, auto for the one that runs already, or local to start one for this process, which
        listens on this machine alone and sends no statistics.
        retries: how often Ray starts a task again whose node died.
        gpu_share: of a GPU for each job, where the cluster has any; by its memory if None.

        Raises ConfigError without ray, MachineError where no cluster answers.
        """
        if address == "local":
            # The switch that Ray itself uses where a cluster of one machine is all there can be: it binds the loopback.
            os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError:
            raise ConfigError("--on ray needs Ray; install it with `pip install 'game-scaling[cluster]'`.") from None
        try:
            _knock(address)
            ray.init(
                address=address,
                ignore_reinit_error=True,
                include_dashboard=False if address == "local" else None,
                log_to_driver=False,
                logging_level=logging.WARNING,
            )
        except (OSError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise MachineError(
                f"no Ray cluster answers at {address!r} ({reason}); start one with `ray start --head`, or give "
                "--address."
            ) from None
        self._ray: Any = ray
        self._retries, self._gpu_share = retries, gpu_share
        self._running: dict[Any, Job] = {}
        self._work = ray.remote(_work)
        self._gpus = bool(ray.cluster_resources().get("GPU", 0))
        self._gpu_memory = 0.0
        if self._gpus and gpu_share is None:
            self._gpu_memory = ray.get(ray.remote(_gpu_memory).options(num_gpus=0.01).remote())

    def room(self, job: Job) -> bool:
        """Always: Ray keeps the queue."""
        return True

    def start(self, job: Job) -> None:
        """Hand it to Ray, which waits for a node with its cores and its share of a GPU."""
        self._running[self._work.options(**self.options(job)).remote(job, os.getcwd())] = job

    def options(self, job: Job) -> dict[str, Any]:
        """What Ray is asked for."""
        resources = {"num_cpus": job.threads, "max_retries": self._retries, "name": job.config.name}
        if self._gpus:  # one that is not asked for is hidden from the task
            resources["num_gpus"] = self._gpu_share or gpu_share(run_memory(job.config), self._gpu_memory)
        return resources

    def ended(self) -> list[tuple[Job, Ended]]:
        """Jobs that ended since the last call."""
        if not self._running:
            return []
        done, _ = self._ray.wait(list(self._running), num_returns=len(self._running), timeout=0)
        return [(self._running.pop(task), self._result(task)) for task in done]

    def stop(self, patience: float) -> None:
        """Cancel all tasks, and wait for them, but no longer than a minute.

        What has not saved by then may be killed with Ray, and goes on from its last checkpoint.
        """
        for task in self._running:
            self._ray.cancel(task, force=False)
        with contextlib.suppress(Exception):  # whatever a cancelled task says
            self._ray.wait(list(self._running), num_returns=len(self._running), timeout=min(patience, _PATIENCE))
        self._ray.shutdown()

    def _result(self, task: Any) -> Ended:
        try:
            return self._ray.get(task)
        except self._ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None)  # what `_work` raised; a task that Ray lost has none
            if isinstance(cause, Exception):
                return Ended(code=exit_code(cause), words=_one_line(f"{type(cause).__name__}: {cause}"))
            return Ended(code=MACHINE, words=_one_line(str(error)))


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]


def _knock(address: str) -> None:
    """Raise OSError at once where nobody listens; Ray itself asks for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit() and "//" not in address:
        socket.create_connection((host, int(port)), timeout=10).close()


def gpu_share(memory: float, whole: float) -> float:
    """The share of a GPU that a job needs, in hundredths upwards, at most one; one where its memory is not known."""
    return min(1.0, max(0.01, -(-memory * 100 // whole) / 100)) if whole else 1.0


def _gpu_memory() -> float:
    """In a Ray worker: memory of its GPU that jobs may fill (bytes)."""
    import torch

    return FILLED * torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else 0.0


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
