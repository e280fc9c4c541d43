"""Asked to stop: finish the update, save, and say so."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

EXIT_CODE = 130
"""The shell's code for a program that Ctrl-C ended."""
PATIENCE = 0.6
"""Seconds after Ctrl-C in which a command may end by itself and save; a person waits for no longer than one."""
_LOOK = 0.02  # seconds between two looks at a flag while waiting


class InterruptedRunError(Exception):
    """A signal asked a run to stop; the message says what is saved."""


class StopFlag:
    """Raised by a signal, read between updates."""

    def __init__(self, *, hurry: bool = False) -> None:
        """hurry: end the process `PATIENCE` seconds after Ctrl-C, wherever it is, unless it is `writing`."""
        self.raised = False
        self.by_hand = False
        """Whether Ctrl-C did it: somebody waits for the end."""
        self.parting: Callable[[], None] = lambda: None
        """Called before the process is ended: says what is kept."""
        self._hurry, self._over, self._whole = hurry, False, threading.RLock()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """What the block writes is written to its end."""
        with self._whole:
            yield

    def answered(self) -> None:
        """The run stops by itself now."""
        with self._whole:
            self._over = True

    def wait(self, seconds: float) -> None:
        """Sleep so long, or until the flag is raised; a signal does not end a sleep by itself."""
        end = time.monotonic() + seconds
        while not self.raised and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _LOOK))

    def _raise(self, number: int, frame: Any) -> None:
        self.raised, self.by_hand = True, self.by_hand or number == signal.SIGINT
        if number == signal.SIGINT:  # whoever presses Ctrl-C twice does not want to wait
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if self._hurry:
                threading.Thread(target=self._end, daemon=True).start()

    def _end(self) -> None:
        """End the process, in a thread beside an update that takes long."""
        time.sleep(PATIENCE)
        with self._whole:
            if not self._over:
                self.parting()
                leave(EXIT_CODE)


def check_stop(stop: StopFlag) -> None:
    """Raise InterruptedRunError where a run is asked to stop before it has trained."""
    if stop.raised:
        raise InterruptedRunError("stopped before it trained; start the same command again to go on.")


def leave(code: int) -> NoReturn:
    """End this process, of which nothing is under way any more, at once: taking torch down takes most of a second."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


@contextmanager
def stop_on_signals(*, hurry: bool = False) -> Iterator[StopFlag]:
    """While the block runs SIGTERM and the first SIGINT raise the flag, in place of ending the process.

    hurry: as of `StopFlag`.
    """
    flag = StopFlag(hurry=hurry)
    before = {number: signal.signal(number, flag._raise) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield flag
    finally:
        flag.answered()
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """While the block runs SIGTERM raises KeyboardInterrupt, as Ctrl-C does; only in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def ends_while_loading(sentence: str) -> Iterator[None]:
    """While the block runs SIGINT ends a process that is importing something; else it raises KeyboardInterrupt.

    An exception in the middle of loading torch aborts the process. Nothing is begun then that had to be saved.
    sentence: printed on stderr before the end. Only in the main thread.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        while frame is not None:
            if frame.f_code.co_filename.startswith("<frozen importlib"):
                with suppress(OSError):
                    os.write(2, f"{sentence}\n".encode())
                os._exit(EXIT_CODE)
            frame = frame.f_back
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
