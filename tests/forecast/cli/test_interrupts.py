"""Ctrl-C while the command computes, and while its modules load."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

START = "import sys, forecast.cli; print('here', flush=True); forecast.cli.main()"
SENTENCE = "forecast: interrupted; what was not finished is not written."


def interrupted(tmp_path, *arguments, after, seconds):
    """Exit code, stderr and seconds to the end of a command that gets SIGINT so long after a line of its output."""
    command = [sys.executable, "-c", START, *map(str, arguments)]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            told = [process.stdout.readline()]
            while after not in told[-1] and told[-1]:
                told.append(process.stdout.readline())
            time.sleep(seconds)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            begun = time.monotonic()
            process.send_signal(signal.SIGINT)
            process.wait(30)
            took = time.monotonic() - begun
            told.append(process.stdout.read())
        finally:
            process.kill()
    ends = time.monotonic() + 5
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < ends, "processes are left"
        time.sleep(0.1)
    return process.returncode, "".join(told), took


@pytest.mark.parametrize("seconds", [0.02, 0.2])
def test_ctrl_c_while_modules_load_is_one_sentence(tmp_path, seconds):
    code, told, took = interrupted(tmp_path, "datasets", after="here", seconds=seconds)
    assert (code, told.splitlines()[1:]) == (130, [SENTENCE]) or (code == 0 and "nethack" in told)
    assert took < 5


@pytest.mark.parametrize(
    "arguments",
    [("fit", "nethack-transformer", "--out", "p.nc"), ("backtest", "nethack-transformer", "--workers", 2)],
    ids=["fit", "backtest"],
)
def test_ctrl_c_ends_what_takes_long_at_once(tmp_path, arguments):
    code, told, took = interrupted(tmp_path, *arguments, after="on two cores", seconds=4.0)
    assert code == 130, told
    assert told.splitlines()[-1] == SENTENCE
    assert "Traceback" not in told
    assert took < 5  # a second, on a machine that does nothing else
    assert list(tmp_path.iterdir()) == []
