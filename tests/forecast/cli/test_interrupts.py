"""Ctrl-C while the command computes, and while its modules load."""

import subprocess
import sys

import pytest
from helpers import interrupted

SENTENCE = "forecast: interrupted; what was not finished is not written."


@pytest.mark.parametrize("seconds", [0.02, 0.2])
def test_ctrl_c_while_modules_load_is_one_sentence(tmp_path, seconds):
    code, told, took = interrupted("forecast", tmp_path, "datasets", after="here", seconds=seconds)
    assert (code, told.splitlines()[1:]) == (130, [SENTENCE]) or (code == 0 and "nethack" in told)
    assert took < 5


@pytest.mark.parametrize(
    "arguments",
    [("fit", "nethack-transformer", "--out", "p.nc"), ("backtest", "nethack-transformer", "--workers", 2)],
    ids=["fit", "backtest"],
)
def test_ctrl_c_ends_what_takes_long_at_once(tmp_path, arguments):
    code, told, took = interrupted("forecast", tmp_path, *arguments, after="on two cores", seconds=4.0)
    assert code == 130, told
    assert told.splitlines()[-1] == SENTENCE
    assert "Traceback" not in told
    assert took < 5  # a second, on a machine that does nothing else
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_after_the_answer_shows_nothing_more():
    late = "import atexit, os, signal; atexit.register(os.kill, os.getpid(), signal.SIGINT)"  # as libraries that end
    code = f"import sys; {late}; from forecast.cli.commands import main; sys.argv = ['forecast', '--version']; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("forecast ")
