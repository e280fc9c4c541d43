"""Helper processes: started, asked, heard and ended, and memory that they share with their parent.

A helper is an interpreter of its own that runs a module. Forking a process that holds torch's threads can hang, and
multiprocessing's spawn imports the caller's script again in every process. Memory is a file without a name, so that
nothing can be left in /dev/shm, even by SIGKILL: the kernel frees it with the last process that uses it.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from socket import socketpair
from typing import Any

from training.errors import MachineError, is_bug

_GOODBYE_SECONDS = 2.0


class Helper:
    """A process that runs `module`, whose `main` gets `settings` and the descriptor `line` as JSON and calls `serve`.

    work: what it does, for the error when it dies. files: descriptors that it inherits. Ctrl-C and SIGTERM do not
    reach it: its parent says when to stop, and it ends by itself after the request at hand when the parent is gone.
    """

    def __init__(self, module: str, settings: Mapping[str, Any], *, work: str, files: Sequence[int] = ()) -> None:
        self._work = work
        ours, theirs = socketpair()
        with theirs:
            line = theirs.fileno()
            self._process = start_module(module, dict(settings) | {"line": line}, files=(*files, line))
        self.link = Connection(ours.detach())
        """Where answers come; readable when one is there."""

    @property
    def pid(self) -> int:
        """Process id, also of one that has ended."""
        return self._process.pid

    def ask(self, request: Any) -> None:
        """Send a request and return at once; that the helper is gone is noticed by `answer`."""
        with contextlib.suppress(OSError):
            self.link.send(request)

    def answer(self) -> tuple[Any, Exception | None]:
        """Wait for the answer to the oldest request, or the error that it met. Raises MachineError when it died."""
        try:
            return self.link.recv()
        except (EOFError, OSError):
            raise MachineError(
                f"Process {self.pid}, which {self._work}, {self._ending()}; see its error above, if there is one, and "
                "start again."
            ) from None

    def end(self) -> None:
        """End it, whatever it is doing; more than once is harmless."""
        self._process.kill()
        self._process.wait()
        self.link.close()

    def _ending(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GOODBYE_SECONDS)
        self._process.kill()
        return ending(self._process.wait())


def serve(line: int, answer: Callable[[Any], Any]) -> None:
    """The helper's side: answer requests in order, until the parent is gone; what `answer` raises is passed on."""
    with contextlib.suppress(EOFError, ConnectionError), Connection(line) as link:
        while True:
            request = link.recv()
            try:
                result = (answer(request), None)
            except Exception as error:
                if is_bug(error):
                    error.add_note(f"In a helper process:\n{traceback.format_exc()}")
                result = (None, error)
            link.send(result)


def start_module(
    module: str, settings: Mapping[str, Any], *, files: Sequence[int], environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start `python -m module SETTINGS`, settings as JSON, which inherits `files` and never gets SIGINT or SIGTERM.

    environment: variables besides this process's. Its arithmetic has one thread.
    """
    # -P: nothing in the current folder stands in for a package.
    variables = os.environ | {
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    # Blocked signals are inherited, so that none comes while the interpreter starts either.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", module, json.dumps(settings)],
            pass_fds=files,
            stdin=subprocess.DEVNULL,
            env=variables | dict(environment or {}),
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def nameless_file(size: int) -> int:
    """The descriptor of a new file of `size` bytes, zeros, to be mapped into memory by several processes."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("shared")
    else:
        with tempfile.TemporaryFile() as unlinked:
            file = os.dup(unlinked.fileno())
    os.ftruncate(file, size)
    return file


def ending(code: int) -> str:
    """How a process ended, in words, from its return code."""
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
