"""Curves for TensorBoard; a disk that does not take them costs the run nothing else."""

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO


class Curves:
    """A file of TensorBoard's, to which values are written as they come.

    torch's SummaryWriter writes in a thread: there a full disk is a traceback, and the end of the run.
    """

    def __init__(self, folder: Path, *, start: int, say: Callable[[str], None]) -> None:
        """A new file in `folder`.

        start: update to go on from; what older files hold of later ones is not shown.
        say: takes a sentence for the user.
        """
        from tensorboard.compat.proto import event_pb2
        from tensorboard.summary.writer.record_writer import RecordWriter

        events: Any = event_pb2  # its classes are made when it is imported
        self._event, self._records = events.Event, RecordWriter
        self._folder, self._say = folder, say
        self._file: BinaryIO | None = None
        path = folder / f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}.{os.getpid()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = path.open("wb")
        except OSError as error:
            self._give_up(error)
        self._write(self._event(step=start, file_version="brain.Event:2"))
        self._write(self._event(step=start, session_log={"status": events.SessionLog.START}))

    def add(self, values: Mapping[str, float], update: int) -> None:
        """Values by name, after an update."""
        cells = [{"tag": name, "simple_value": float(value)} for name, value in values.items()]
        self._write(self._event(step=update, summary={"value": cells}))

    def close(self) -> None:
        """Nothing is added any more."""
        if self._file:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None

    def _write(self, event: Any) -> None:
        if self._file is None:
            return
        event.wall_time = time.time()
        try:
            self._records(self._file).write(event.SerializeToString())
            self._file.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """Write no more: nothing can be read after a value that is there in part."""
        self.close()
        self._say(
            f"{self._folder}: the curves for TensorBoard cannot be written ({error.strerror}); the run goes on without "
            "them."
        )
