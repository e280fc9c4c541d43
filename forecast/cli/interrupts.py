"""Ctrl-C ends the command within a second, whatever it computes, with one sentence and no process left."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator

EXIT_CODE = 130


@contextlib.contextmanager
def ends_on_interrupt(sentence: str) -> Iterator[None]:
    """While the block runs SIGINT ends the process; sentence: printed on stderr before that.

    A thread waits for the signal, because the main thread hears of one only when jax gives control back. Files are
    written beside their place, so that none is left in part; what was begun is removed.
    """
    if os.name != "posix" or threading.current_thread() is not threading.main_thread():
        yield
        return
    # What multiprocessing shares is tidied by a process of its own, which would say so after our sentence.
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, [os.environ.get("PYTHONWARNINGS"), "ignore:resource_tracker"]))
    asked, tell = os.pipe()
    os.set_blocking(tell, False)
    fd, handler = signal.set_wakeup_fd(tell), signal.signal(signal.SIGINT, lambda number, frame: None)
    threading.Thread(target=_wait, args=(asked, sentence), daemon=True).start()
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        signal.set_wakeup_fd(fd)
        os.close(tell)


def _wait(asked: int, sentence: str) -> None:
    """End the process when the pipe brings a SIGINT; the pipe's own end only ends the thread."""
    with open(asked, "rb", buffering=0) as numbers:
        while number := numbers.read(1):
            if number[0] == signal.SIGINT:
                _end(sentence)


def _end(sentence: str) -> None:
    from forecast.files import unfinished

    for child in multiprocessing.active_children():
        child.kill()
    for place in list(unfinished):
        place.unlink(missing_ok=True)
    show_cursor = "\r\x1b[K\x1b[?25h" if sys.stderr.isatty() else ""  # which a progress bar hides
    with contextlib.suppress(OSError):
        os.write(2, f"{show_cursor}{sentence}\n".encode())
    os._exit(EXIT_CODE)
