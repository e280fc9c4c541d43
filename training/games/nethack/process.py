"""The parent's end of a NetHack worker: starting it, asking it, noticing that it is gone."""

import contextlib
import dataclasses
import shutil
import socket
import subprocess
import tempfile

from training.errors import MachineError
from training.games.nethack.game import NetHackTask
from training.games.nethack.worker import DONE, READY
from training.processes import ending, start_module

_BOOT_SECONDS = 120.0
_GOODBYE_SECONDS = 2.0


class WorkerProcess:
    """A worker that plays slots `first` to `last` - 1 in the memory behind the file descriptor `file`.

    Launched on construction; `start` waits until it can be asked, and launches it again after `stop`.
    """

    def __init__(self, task: NetHackTask, file: int, count: int, first: int, last: int, patience: float) -> None:
        self.first, self.last = first, last
        self._patience = patience
        self._settings = {"task": dataclasses.asdict(task), "count": count, "slots": [first, last], "memory": file}
        self._launch()

    @property
    def pid(self) -> int:
        """Process id, also of a worker that has ended."""
        return self._process.pid

    def start(self) -> None:
        """Wait until the worker is ready. Raises MachineError if it ends first."""
        if self._folder is None:
            self._launch()
        if not self._ready:
            if self._heard() != READY:
                raise MachineError(f"NetHack worker {self.pid} {self.stop()} before it was ready; see its error above.")
            self._ready = True
            self._line.settimeout(self._patience)

    def send(self, command: bytes) -> None:
        """Give a command; a worker that is gone is noticed by `answered`."""
        self.answered()  # whoever was interrupted while waiting left an answer behind
        self._asked = True
        with contextlib.suppress(ConnectionError):
            self._line.sendall(command)

    def answered(self) -> bool:
        """Wait for the answer to the last command; False if the worker is gone, or silent for `patience` seconds."""
        if self._asked and self._heard() != DONE:
            return False
        self._asked = False
        return True

    def hang_up(self) -> None:
        """Tell the worker to end, without waiting."""
        self._line.close()

    def stop(self) -> str:
        """End the worker, by force if it does not end by itself, and say how it ended; more than once is harmless."""
        self.hang_up()
        try:
            self._process.wait(_GOODBYE_SECONDS)
            how = ending(self._process.returncode)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            how = "did not answer"
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
        return how

    def _launch(self) -> None:
        self._ready = self._asked = False
        self._folder: str | None = tempfile.mkdtemp(prefix="nethack-")
        self._line, theirs = socket.socketpair()
        self._line.settimeout(_BOOT_SECONDS)
        settings = self._settings | {"line": theirs.fileno()}
        with theirs:
            self._process = start_module(
                "training.games.nethack.worker",
                settings,
                files=(settings["memory"], settings["line"]),
                environment={"TMPDIR": self._folder},
            )

    def _heard(self) -> bytes:
        """One byte from the worker; empty when it is gone or the time is over."""
        try:
            return self._line.recv(1)
        except (ConnectionError, TimeoutError):
            return b""
