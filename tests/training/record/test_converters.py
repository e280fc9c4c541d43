"""Conversion by several processes: the same bytes, interrupted at once, gone on with, and nothing left behind."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from training.errors import ConfigError, MachineError
from training.record.nethack import converters
from training.record.nethack.convert import convert
from training.record.nethack.converters import process_count
from training.record.nethack.encoding import Source
from training.record.nethack.recorder import collect


@pytest.fixture(scope="module")
def games(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recorded") / "games"
    collect(folder, games=8, player="random", workers=1, max_episode_steps=600)
    return folder


@pytest.fixture(scope="module")
def shards(games, tmp_path_factory):
    return convert(games, tmp_path_factory.mktemp("shards") / "s", workers=1)


def many(games, folder, copies):
    """The games, and then so many copies of them, which are converted only to be left out."""
    (session,) = (path for path in games.iterdir() if path.is_dir())
    for copy in range(copies + 1):
        shutil.copytree(session, folder / f"{copy:03d}", copy_function=os.link)
    return folder


def children(pid):
    try:
        task = Path(f"/proc/{pid}/task")
        pids = [word for thread in task.iterdir() for word in (thread / "children").read_text().split()]
        return [int(pid) for pid in pids if b"nethack.encoding" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    except FileNotFoundError:
        return []


def wait_for(what, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_shards_are_the_same_bytes_by_any_number_of_processes(games, shards, tmp_path):
    again = convert(games, tmp_path / "s", workers=3)
    names = ["00000.arrow", "00000.parquet", "header.json"]
    assert names == sorted(path.name for path in shards.path.iterdir())
    assert names == sorted(path.name for path in again.path.iterdir())
    for name in names:
        assert (again.path / name).read_bytes() == (shards.path / name).read_bytes(), name
    assert children(os.getpid()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_command_ends_at_once_and_goes_on(games, shards, tmp_path, number, workers):
    root, out, scratch = many(games, tmp_path / "nld", 12), tmp_path / "s", tmp_path / "scratch"
    scratch.mkdir()
    command = [sys.executable, "-m", "training.cli", "shard", str(root), str(out), "--workers", str(workers)]
    environment = os.environ | {"TMPDIR": str(scratch)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as driver:
        written = tmp_path / "s.partial" / "00000.arrow"
        wait_for(lambda: written.exists() and written.stat().st_size > 10_000)  # more than a game
        pids = children(driver.pid)
        assert len(pids) == (workers if workers > 1 else 0)
        began = time.monotonic()
        driver.send_signal(number)
        _, said = driver.communicate(timeout=60)
        assert time.monotonic() - began < 5  # well under a second on an idle machine
    assert driver.returncode == 130
    assert said.endswith("training: interrupted; start the same command again.\n")
    assert all(map(gone, pids))
    assert list(scratch.iterdir()) == []
    said = []
    assert convert(root, out, report=said.append, workers=workers).identity == shards.identity
    assert "was interrupted: goes on after the" in said[0]
    assert "after the 0 games" not in said[0]


def test_a_killed_command_leaves_no_process(games, shards, tmp_path):
    root, out = many(games, tmp_path / "nld", 12), tmp_path / "s"
    command = [sys.executable, "-m", "training.cli", "shard", str(root), str(out), "--workers", "2"]
    with subprocess.Popen(command) as driver:
        wait_for(lambda: len(children(driver.pid)) == 2)
        pids = children(driver.pid)
        driver.kill()
    wait_for(lambda: all(map(gone, pids)), 10)
    assert convert(root, out).identity == shards.identity


def test_what_was_written_is_kept_when_a_process_dies(games, shards, tmp_path):
    root, out = many(games, tmp_path / "nld", 10), tmp_path / "s"

    def kill(done, total, frames):
        if done == 8:
            os.kill(children(os.getpid())[0], signal.SIGKILL)

    with pytest.raises(MachineError, match=r"which converts games, was killed by SIGKILL"):
        convert(root, out, workers=2, progress=kill)
    assert children(os.getpid()) == []
    said = []
    assert convert(root, out, report=said.append).identity == shards.identity
    assert "goes on after the 8 games" in said[0]


def test_the_number_of_processes_follows_from_cores_and_work(tmp_path, monkeypatch):
    sources = [Source(id=number, file=f"{number}", points=0, character="") for number in range(5)]
    (tmp_path / "games").mkdir()
    for source in sources:
        with open(tmp_path / "games" / source.file, "wb") as file:
            file.truncate(2**21)
    for cores, expected in ((1, 1), (4, 4), (64, 5)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid, cores=cores: set(range(cores)))
        assert process_count(None, tmp_path, sources) == expected
    monkeypatch.setattr(converters, "_BYTES_EACH", 2**22)
    assert process_count(None, tmp_path, sources) == 2
    assert process_count(None, tmp_path, []) == 1
    assert process_count(4, tmp_path, sources) == 4
    with pytest.raises(ConfigError, match="workers must be at least 1"):
        process_count(0, tmp_path, sources)
