"""Asked to stop: finish the update, save, and say so."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class InterruptedRunError(Exception):
    """A signal asked a run to stop; the message says what is saved."""


class StopFlag:
    """Raised by a signal, read between updates."""

    def __init__(self) -> None:
        self.raised = False

    def _raise(self, number: int, frame: Any) -> None:
        self.raised = True
        if number == signal.SIGINT:  # whoever presses Ctrl-C twice does not want to wait
            signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def stop_on_signals() -> Iterator[StopFlag]:
    """While the block runs SIGTERM and the first SIGINT raise the flag, in place of ending the process."""
    flag = StopFlag()
    before = {number: signal.signal(number, flag._raise) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield flag
    finally:
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
