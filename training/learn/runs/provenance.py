"""What made a row: the version of the code and the machine."""

import contextlib
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def code_version() -> str:
    """Version of this package, with the commit it runs from where that is known; `+` marks changed files."""
    try:
        number = version("game-scaling")
    except PackageNotFoundError:
        number = "unknown"
    here = Path(__file__).parents[3]
    if not (here / ".git").exists():
        return number
    try:
        commit = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return number
    return f"{number} {commit.stdout.strip()}"


def processor() -> str:
    """The CPU's name and how many cores this process may use."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {len(os.sched_getaffinity(0))} cores"
