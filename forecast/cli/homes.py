"""Commands of a user without a home, or with one that cannot be written, as in many containers."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path


def lend_folder_to_matplotlib() -> None:
    """Give matplotlib a folder for this process and those it starts, where it would find none and say so at length."""
    if "MPLCONFIGDIR" in os.environ or all(
        _can_be_written(os.environ.get(name) or default)
        for name, default in (("XDG_CONFIG_HOME", "~/.config"), ("XDG_CACHE_HOME", "~/.cache"))
    ):
        return
    folder = tempfile.mkdtemp(prefix="matplotlib-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["MPLCONFIGDIR"] = folder


def _can_be_written(place: str) -> bool:
    """Whether files can be put into a folder, or it can be made."""
    try:
        folder = Path(place).expanduser().absolute()
    except RuntimeError:  # there is no home
        return False
    while not folder.exists():
        folder = folder.parent
    return os.access(folder, os.W_OK | os.X_OK)
