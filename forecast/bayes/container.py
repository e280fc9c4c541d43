"""What the file of a posterior holds. As a program it reads one from its input, to find out whether that ends.

HDF5 can hang or crash on a damaged file. Files that we write have a checksum, which is looked at first; those of
earlier versions have none, and are read by another process before they are read here.
"""

import io
import json
import math
import signal
import subprocess
import sys
from typing import Any

import h5py  # netCDF is HDF5, and importing arviz to read it takes two seconds
import numpy as np

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_PATIENCE = 30.0
"""Seconds to read a file, which takes a fraction of one."""


def read(content: bytes) -> tuple[Any, dict[str, np.ndarray], np.ndarray]:
    """What a file says of itself, the draws by site, and whether NUTS diverged in each; h5py raises what it likes."""
    with h5py.File(io.BytesIO(content), "r") as opened:
        file: Any = opened
        header = json.loads(np.asarray(file.attrs["forecast"]).item())
        # The axes, chain and draw, are stored as scales.
        sites = {k: v for k, v in file["posterior"].items() if v.attrs.get("CLASS") != b"DIMENSION_SCALE"}
        draws = {k: np.asarray(v[...]) for k, v in sites.items()}
        diverging = np.asarray(file["sample_stats"]["diverging"][...]).astype(bool)
    return header, draws, diverging


def ends(content: bytes) -> bool:
    """Whether reading these bytes comes to an end, if only to an exception."""
    if not content.startswith(_SIGNATURE):
        return True  # h5py sees that it is none
    reader = [sys.executable, "-P", __file__, str(_PATIENCE)]
    try:
        done = subprocess.run(reader, input=content, capture_output=True, timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode >= 0


if __name__ == "__main__":
    if hasattr(signal, "alarm"):
        signal.alarm(math.ceil(float(sys.argv[1])) + 1)  # the process that waits may be killed before
    read(sys.stdin.buffer.read())
