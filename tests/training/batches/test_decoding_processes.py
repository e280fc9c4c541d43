"""Batches from processes equal those from threads, and nothing of the processes is left, however they or we end."""

import gc
import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from random_shards import damage, random_game, write

from training.batches import shuffled
from training.batches.decoding import crew
from training.batches.sizes import process_count
from training.batches.training import training_batches
from training.errors import ConfigError, DataError, MachineError
from training.shards.blocks import Layout
from training.shards.writer import ShardWriter

LENGTHS = (31, 64, 5, 47, 90, 18, 1, 33)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    games = {str(seed): random_game(seed, length) for seed, length in enumerate(LENGTHS)}
    return write(tmp_path_factory.mktemp("nethack") / "s", games, holdout=0.3)


@pytest.fixture(scope="module")
def atari(tmp_path_factory):
    layout = Layout(shape=(4, 6), planes=("pixels",), columns={"action": ("uint8", ()), "mask": ("bool", ())})
    folder = tmp_path_factory.mktemp("atari") / "s"
    with ShardWriter(folder, layout=layout, env="atari", actions=["x"], source="", block=8) as writer:
        for seed, length in enumerate((140, 83, 9, 2, 32)):
            encoder = writer.game(str(seed))
            encoder.append(**random_game(seed, length, layout))
            writer.add(encoder.finish())
        return writer.finish()


@pytest.fixture(autouse=True)
def nothing_left():
    """No child and no open file is left by any of the tests."""
    gc.collect()  # what other tests left
    before = open_files()
    yield
    assert children() == []
    gc.collect()  # an exception that was caught held its frames
    assert open_files() <= before


def children():
    names = [name for thread in Path("/proc/self/task").iterdir() for name in (thread / "children").read_text().split()]
    return [int(name) for name in names if b"decoding.worker" in Path(f"/proc/{name}/cmdline").read_bytes()]


def open_files():
    """Sockets and shared memory."""
    names = [os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return sum(name.startswith(("socket:", "/memfd:")) for name in names)


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def assert_same(left, right):
    assert left.keys() == right.keys()
    for name in left:
        assert left[name].dtype == right[name].dtype
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


@pytest.mark.parametrize(("env", "unroll"), [("nethack", 6), ("atari", 5), ("nethack", 1), ("atari", 1)])
@pytest.mark.parametrize("workers", [1, 3])
def test_processes_give_the_batches_of_threads(shards, atari, monkeypatch, env, unroll, workers):
    """Also after seeks, and of one rank of two. Single frames are shuffled, in pools of four batches."""
    monkeypatch.setattr(shuffled, "POOL_FRAMES", 24)
    data = {"nethack": shards, "atari": atari}[env]
    settings = {"batch_size": 6, "unroll_length": unroll, "seed": 2, "shuffled": unroll == 1}
    with training_batches(data, **settings, threads=1) as batches:
        expected = list(itertools.islice(batches, 30))
    with training_batches(data, **settings, workers=workers) as batches:
        for update in (0, 17, 18, 5, 27):
            batches.seek(update)
            for index, batch in zip(range(update, update + 3), batches, strict=False):
                assert_same(batch, expected[index])
    with training_batches(data, **settings, rank=1, world=2, workers=workers) as batches:
        for whole, batch in zip(expected[:12], batches, strict=False):
            assert_same(batch, {name: array[1::2] for name, array in whole.items()})


@pytest.mark.parametrize("settings", [{"threads": 2}, {"workers": 2}])
def test_a_batch_is_the_callers_as_long_as_he_holds_it(shards, settings):
    """Also when all are held, and after the end."""
    with training_batches(shards, batch_size=2, unroll_length=8, **settings) as batches:
        held = list(itertools.islice(batches, 12))
        kept = [{name: array.copy() for name, array in batch.items()} for batch in held]
        for _ in range(12):
            next(batches)
    for batch, copy in zip(held, kept, strict=True):
        assert_same(batch, copy)


def test_a_caller_of_one_batch_at_a_time_gets_no_copies(shards):
    """As the loop does it, with tensors that share the memory of the arrays."""
    places = set()
    with training_batches(shards, batch_size=2, unroll_length=8, threads=1) as batches:
        for _ in range(30):
            batch = {name: torch.from_numpy(array) for name, array in next(batches).items()}
            places.add(batch["chars"].data_ptr())
    assert len(places) <= crew.AHEAD + 2
    assert max(places) - min(places) == (len(places) - 1) * 4096  # a page each, one after the other


def test_part_of_a_batch_keeps_its_memory(shards):
    with training_batches(shards, batch_size=2, unroll_length=8, threads=1) as batches:
        part = next(batches)["chars"][1, 2:]
        kept = part.copy()
        for _ in range(12):
            next(batches)
        np.testing.assert_array_equal(part, kept)


def test_damage_is_told_in_the_same_words(tmp_path):
    games = {str(seed): random_game(seed, length) for seed, length in enumerate(LENGTHS)}
    shards = write(tmp_path / "s", games)
    damage(tmp_path / "s")
    told = []
    for settings in ({"threads": 1}, {"workers": 1}):
        with training_batches(shards, batch_size=4, unroll_length=200, **settings) as batches:
            for _ in range(2):  # asked again, it says so again
                with pytest.raises(DataError, match=r"00000\.arrow") as error:
                    next(batches)
                told.append(str(error.value))
    assert len(set(told)) == 1


def test_a_folder_that_is_gone_is_told_of(tmp_path, shards):
    games = {str(seed): random_game(seed, length) for seed, length in enumerate(LENGTHS)}
    gone_folder = write(tmp_path / "s", games)
    (tmp_path / "s").rename(tmp_path / "elsewhere")
    with (
        training_batches(gone_folder, batch_size=4, unroll_length=20, workers=2) as batches,
        pytest.raises(DataError, match=r"no header\.json"),
    ):
        next(batches)


def test_a_process_that_dies_is_an_error_of_the_machine(shards):
    with training_batches(shards, batch_size=4, unroll_length=20, workers=2) as batches:
        next(batches)
        victim = children()[0]
        os.kill(victim, signal.SIGKILL)
        with pytest.raises(MachineError, match=f"{victim}, which decodes batches, was killed by SIGKILL"):
            list(itertools.islice(batches, 10))
        with pytest.raises(MachineError):
            next(batches)


def test_a_process_that_cannot_start_is_an_error(shards, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with (
        training_batches(shards, batch_size=4, unroll_length=20, workers=1) as batches,
        pytest.raises(MachineError, match="exit code 1"),
    ):
        next(batches)


def test_after_the_end_there_are_no_batches(shards):
    batches = training_batches(shards, batch_size=4, unroll_length=20, workers=2)
    next(batches)
    assert len(children()) == 2
    batches.close()
    assert children() == []
    batches.close()
    with pytest.raises(RuntimeError, match="closed"):
        next(batches)


def test_batches_that_nobody_holds_end_by_themselves(shards):
    next(training_batches(shards, batch_size=4, unroll_length=20, workers=2))
    assert children() == []


def test_signals_to_stop_do_not_reach_the_processes(shards):
    """The loop finishes its update and saves, whomever else in its group of processes Ctrl-C or SIGTERM reaches."""
    with training_batches(shards, batch_size=4, unroll_length=20, workers=2) as batches:
        asked = children()
        for pid in asked:
            os.kill(pid, signal.SIGINT)
            os.kill(pid, signal.SIGTERM)
        for _ in range(10):
            next(batches)
        assert all(Path(f"/proc/{pid}").exists() for pid in asked)


@pytest.mark.parametrize("ending", ["raise KeyError('planted')", "raise SystemExit", "os.kill(os.getpid(), 9)"])
def test_nothing_is_left_however_the_program_ends(shards, ending):
    script = (
        "import os\n"
        "from training.batches.training import training_batches\n"
        "from training.shards.reader import Shards\n"
        f"batches = training_batches(Shards({str(shards.path)!r}), batch_size=4, unroll_length=20, workers=2)\n"
        "next(batches)\n"
        "print(*batches._crew.pids, flush=True)\n" + ending
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    pids = [int(word) for word in run.stdout.split()]
    assert len(pids) == 2, run.stderr
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and not all(map(gone, pids)):
        time.sleep(0.05)
    assert all(map(gone, pids))


@pytest.mark.parametrize(
    ("cores", "world", "environment", "expected"),
    [
        (1, 1, {}, 0),
        (2, 1, {}, 0),
        (4, 1, {}, 2),
        (16, 1, {}, 8),
        (128, 1, {}, 8),
        (128, 8, {}, 8),
        (16, 8, {}, 0),
        (32, 4, {"OMP_NUM_THREADS": "1"}, 4),  # torchrun sets it
        (32, 16, {"LOCAL_WORLD_SIZE": "4"}, 4),  # four machines
        (16, 1, {"OMP_NUM_THREADS": "2"}, 0),  # one of eight runs of a sweep
        (16, 1, {"OMP_NUM_THREADS": "4,2"}, 8),
    ],
)
def test_a_ranks_cores_decide_how_many_processes(monkeypatch, cores, world, environment, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))
    for name in ("OMP_NUM_THREADS", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert process_count(None, world) == expected


def test_a_number_of_processes_that_cannot_be_is_refused(shards):
    with pytest.raises(ConfigError, match="workers must be 0 or more"):
        training_batches(shards, batch_size=4, unroll_length=5, workers=-1)
