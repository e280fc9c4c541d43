"""Recordings that are stopped, whose workers die or whose disk is full: every game is kept whole."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import namedtuple
from pathlib import Path

import pytest

from training.errors import MachineError
from training.record.nethack import recorder
from training.record.nethack.folder import read_list, verify, xlog_rows
from training.record.nethack.recorder import collect

CHILD = """
    import sys
    from training.record.nethack.recorder import collect
    from training.interrupts import InterruptedRunError
    if __name__ == "__main__":
        try:
            collect(sys.argv[1], steps=10**7, workers=2, seed=1)
        except InterruptedRunError as error:
            print(error)
            sys.exit(130)
"""


def begin_recording(tmp_path):
    """A process that records, once both of its workers are at play."""
    program = tmp_path / "record.py"
    program.write_text(textwrap.dedent(CHILD))
    out = tmp_path / "games"
    child = subprocess.Popen([sys.executable, program, out], stdout=subprocess.PIPE, text=True, cwd=os.getcwd())
    deadline = time.monotonic() + 60
    while len(list(out.glob("*/*.bz2"))) < 2:
        assert time.monotonic() < deadline
        assert child.poll() is None
        time.sleep(0.05)
    time.sleep(0.3)
    return child, out


def listed_and_readable(out):
    logs = [row["ttyrecname"] for path in out.glob("*/*.xlogfile") for row in xlog_rows(path)]
    assert len(logs) == len(read_list(out)) == verify(out)[0]
    return logs


def workers_of(pid):
    names = (Path("/proc") / str(pid) / "task" / str(pid) / "children").read_text().split()
    return [int(name) for name in names if b"spawn_main" in (Path("/proc") / name / "cmdline").read_bytes()]


def test_sigterm_leaves_every_game_whole(tmp_path):
    child, out = begin_recording(tmp_path)
    child.send_signal(signal.SIGTERM)
    said, _ = child.communicate(timeout=60)
    assert child.returncode == 130
    assert said.count("\n") == 1
    assert "kept" in said
    files = [path.name for path in out.glob("*/*.bz2")]
    assert sorted(listed_and_readable(out)) == sorted(files)  # not one file without its row
    assert [row["cut_off"] for row in read_list(out)].count("stopped") == 2


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the workers in /proc")
def test_a_worker_that_dies_is_replaced_and_the_rest_goes_on(tmp_path):
    child, out = begin_recording(tmp_path)
    first = workers_of(child.pid)
    os.kill(first[0], signal.SIGKILL)
    deadline = time.monotonic() + 60
    while len(set(workers_of(child.pid)) - {first[0]}) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.3)
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=60)
    assert child.returncode == 130
    assert listed_and_readable(out)


def test_a_full_disk_is_one_sentence_and_keeps_the_games(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(recorder.shutil, "disk_usage", lambda path: usage(2**30, 2**30, 2**20))
    with pytest.raises(MachineError, match=r"free on the disk; \d+ whole games .* kept") as refused:
        collect(tmp_path / "games", games=50, workers=2, player="random", max_episode_steps=5000)
    assert "\n" not in str(refused.value)
    assert len(read_list(tmp_path / "games")) < 50
    listed_and_readable(tmp_path / "games")


def test_workers_that_only_die_end_the_recording(tmp_path, capfd):
    from recorder_policy import Deadly

    with pytest.raises(MachineError, match=r"3 workers in a row died.*0 whole games"):
        collect(tmp_path / "games", games=9, player=Deadly(), workers=1)
    assert list((tmp_path / "games").iterdir()) == []
