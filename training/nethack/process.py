"""The parent's end of a NetHack worker: starting it, asking it, noticing that it is gone."""

import contextlib
import dataclasses
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from training.nethack.env import NetHackTask
from training.nethack.worker import DONE, READY

_BOOT_SECONDS = 120.0
_GOODBYE_SECONDS = 2.0


class WorkerProcess:
    """A worker that plays slots `first` to `last` - 1 in the memory behind the file descriptor `file`.

    Launched on construction; `start` waits until it can be asked, and launches it again after `stop`.
    """

    def __init__(self, task: NetHackTask, file: int, count: int, first: int, last: int) -> None:
        self.first, self.last = first, last
        self._settings = {"task": dataclasses.asdict(task), "count": count, "slots": [first, last], "memory": file}
        self._launch()

    @property
    def pid(self) -> int:
        """Process id, also of a worker that has ended."""
        return self._process.pid

    def start(self) -> None:
        """Wait until the worker is ready. Raises RuntimeError if it ends first."""
        if self._folder is None:
            self._launch()
        if not self._ready:
            if self._read(time.monotonic() + _BOOT_SECONDS) != READY:
                raise RuntimeError(f"NetHack worker {self.pid} {self.stop()} before it was ready; see its error above.")
            self._ready = True

    def send(self, command: bytes) -> None:
        """Give a command; a worker that is gone is noticed by `answered`."""
        self._asked = True
        with contextlib.suppress(BrokenPipeError):
            os.write(self._commands, command)

    def answered(self, deadline: float) -> bool:
        """Wait for the answer to the last command until a time of the monotonic clock; False if none came."""
        if self._asked and self._read(deadline) != DONE:
            return False
        self._asked = False
        return True

    def hang_up(self) -> None:
        """Tell the worker to end, without waiting."""
        if self._commands >= 0:
            os.close(self._commands)
            self._commands = -1

    def stop(self) -> str:
        """End the worker, by force if it does not end by itself, and say how it ended; more than once is harmless."""
        self.hang_up()
        try:
            self._process.wait(_GOODBYE_SECONDS)
            ending = _ending(self._process.returncode)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            ending = "did not answer"
        if self._folder is not None:
            os.close(self._answers)
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
        return ending

    def _launch(self) -> None:
        self._ready = self._asked = False
        self._folder: str | None = tempfile.mkdtemp(prefix="nethack-")
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        settings = self._settings | {"commands": commands, "answers": answers}
        # -P: nothing in the current folder stands in for a package. One thread: numpy's would only get in the way.
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
            "TMPDIR": self._folder,
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "training.nethack.worker", json.dumps(settings)],
                pass_fds=(settings["memory"], commands, answers),
                stdin=subprocess.DEVNULL,
                env=environment,
            )
        finally:
            os.close(commands)
            os.close(answers)

    def _read(self, deadline: float) -> bytes:
        """One byte from the worker; empty when it is gone or the time is over."""
        poll = select.poll()
        poll.register(self._answers, select.POLLIN)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            return b""
        return os.read(self._answers, 1)


def _ending(code: int) -> str:
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
