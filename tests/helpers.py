"""What several test files need. Importing it loads no torch, so that forecast's tests run without it."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

if TYPE_CHECKING:
    import torch

    from training.games.vector import Vector


def frame(**changes: object) -> pd.DataFrame:
    """Nine valid rows of a run table: three sizes at three budgets, in file order lines 2 to 10."""
    params = np.repeat([1e6, 4e6, 16e6], 3)
    flops = np.tile([1e15, 1e16, 1e17], 3)
    table = pd.DataFrame({"params": params, "samples": flops / (6 * params), "flops": flops})
    return table.assign(loss=3 * (flops / 1e15) ** -0.1 * np.linspace(1, 1.2, 9)).assign(**changes)


def weights(folder: Path) -> dict[str, "torch.Tensor"]:
    """Policy, and critic where there is one, of the latest checkpoint of a run: tensors by `file.name`."""
    from training.policies.checkpoint import latest_checkpoint

    checkpoint, _ = latest_checkpoint(folder / "checkpoints")
    assert checkpoint is not None, f"{folder} has no checkpoint"
    files = {"policy", "critic"} & checkpoint.tensors.keys()
    return {f"{file}.{name}": tensor for file in files for name, tensor in checkpoint.tensors[file].items()}


def same(a: dict[str, "torch.Tensor"], b: dict[str, "torch.Tensor"]) -> bool:
    """Whether two sets of tensors are equal to the bit."""
    import torch

    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def record_steps(vector: "Vector", actions: np.ndarray) -> dict[str, np.ndarray]:
    """Everything that a vector says from its reset on, [steps + 1, count, ...], given actions [steps, count]."""
    rows = []
    transition = vector.reset()
    for action in [None, *actions]:
        if action is not None:
            transition = vector.step(action)
        others = ("start", "game", "reward", "terminated", "truncated")
        row = {**transition.fields, **{name: getattr(transition, name) for name in others}}
        rows.append({name: values.copy() for name, values in row.items()})
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def command(
    main: Callable[[], object], name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """A command in this process, which spares its start: from arguments to exit code, stdout and stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, *capsys.readouterr()

    return call


def assert_refused(done: CompletedProcess[str] | tuple[int, str, str], *words: str) -> None:
    """Exit code 2, nothing on stdout, no traceback, and a message with these words."""
    code, out, err = (done.returncode, done.stdout, done.stderr) if isinstance(done, CompletedProcess) else done
    assert code == 2, done
    assert out == ""
    assert err.startswith(("forecast: ", "training: ", "Usage: "))
    assert "Traceback" not in err
    for word in words:
        assert word in err


def interrupted(
    package: str,
    folder: Path,
    *arguments: object,
    after: str,
    seconds: float,
    ready: Callable[[], object] = lambda: True,
) -> tuple[int, str, float]:
    """Exit code, output and seconds to the end of a command that gets SIGINT so long after a line of its output.

    The first line is "here", when the command's own modules are about to load. ready: waited for after the line, too.
    No process that the command or its processes have started may be left.
    """
    start = f"import {package}.cli as cli; print('here', flush=True); cli.main()"
    command = [sys.executable, "-c", start, *map(str, arguments)]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout
            told = [process.stdout.readline()]
            while after not in told[-1] and told[-1]:
                told.append(process.stdout.readline())
            while process.poll() is None and not ready():
                time.sleep(0.02)
            time.sleep(seconds)
            started = descendants(process.pid)
            begun = time.monotonic()
            process.send_signal(signal.SIGINT)
            process.wait(30)
            took = time.monotonic() - begun
            told.append(process.stdout.read())
        finally:
            process.kill()
    ends = time.monotonic() + 5
    while any(map(alive, started)):
        assert time.monotonic() < ends, "processes are left"
        time.sleep(0.1)
    return process.returncode, "".join(told), took


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, and those that they have."""
    try:
        text = "".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children"))
    except OSError:
        return []
    children = [int(name) for name in text.split()]
    return children + [one for child in children for one in descendants(child)]


def alive(pid: int) -> bool:
    """Whether a process has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
