"""A disk that is full, at any write: `training bc` and `rl` say so, and lose nothing once there is room."""

import csv
import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from full_disks import full_at, small_disk
from helpers import command, same, weights
from letter_game import write_letters
from memory_runs import run_of

from training.cli import main
from training.config.base import to_toml
from training.design.cloning import configure
from training.games.tasks import task_of
from training.policies.checkpoint import latest_checkpoint
from training.policies.family import spec_for
from training.policies.flops import flops_per_sample

BUDGETS = ["1", "2"]
"""Updates that have a row."""


@pytest.fixture
def training(monkeypatch, capsys):
    monkeypatch.setattr("training.learn.loop.matrix_rate", lambda *given: 1e9)
    return command(main, "training", monkeypatch, capsys)


def with_rows(run):
    """The run of two updates, with a row after each."""
    return dataclasses.replace(run, checkpoints=(run.flops / 2,))


@pytest.fixture
def cloning(tmp_path):
    cost = flops_per_sample(spec_for("nethack", "lstm", 1e4, 121), 8)
    shape = {"batch_size": 2, "unroll_length": 8, "heldout_frames": 16, "max_epochs": 100}
    data = write_letters(tmp_path / "shards")
    return configure(params=1e4, flops=2 * 2 * 8 * cost, data=str(data), **shape)


@pytest.fixture
def playing(memory_game):
    return run_of(2, envs=2, rollout=5, batch_size=2, epochs=1)


def rows(table: Path) -> list[dict[str, str]]:
    """The rows of a table, in whose columns nothing may speak of a run that failed."""
    if not table.exists():
        return []
    with open(table) as file:
        found = list(csv.DictReader(file))
    assert not {"state", "reason"} & found[0].keys()
    return found


@dataclasses.dataclass
class Runs:
    """A run that may be started in several folders, and how it ends where nothing is in the way."""

    call: Callable[..., tuple[int, str, str]]
    file: Path
    folder: Path
    _ends: dict[int, dict[str, torch.Tensor]] = dataclasses.field(default_factory=dict)

    def go(self, place: Path) -> tuple[int, str]:
        """Exit code and stderr of the command in this folder."""
        kind = "bc" if "data" in self.file.read_text() else "rl"
        code, _, told = self.call(kind, self.file, "--out", place / "run", "--table", place / "runs.csv")
        return code, told

    def ends(self, update: int) -> dict[str, torch.Tensor]:
        """Weights at the end of a run that goes on after this update, from the checkpoint of one without a fault."""
        if update not in self._ends:
            place = self.folder / f"from-{update}"
            if update:
                self.ends(0)
                shutil.copytree(self.folder / "from-0", place)
                for later in (place / "run" / "checkpoints").iterdir():
                    if int(later.name.removeprefix("update-")) > update:
                        shutil.rmtree(later)
            assert self.go(place)[0] == 0
            self._ends[update] = weights(place / "run")
        return self._ends[update]


@pytest.mark.parametrize("kind", ["cloning", "playing"])
def test_whichever_write_fails_a_run_ends_with_its_rows(request, training, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    (tmp_path / "run.toml").write_text(to_toml(with_rows(request.getfixturevalue(kind))))
    runs = Runs(training, tmp_path / "run.toml", tmp_path)
    runs.ends(0)
    k, folder = 0, tmp_path / "run"
    while True:
        k += 1
        with full_at(k) as failed:
            code, told = runs.go(folder)
        if not failed:
            break
        assert code == 2
        assert told.splitlines()[-1].startswith(f"training: {folder}")
        assert "No space left on device" in told.splitlines()[-1]
        assert "Traceback" not in told
        checkpoint, damaged = latest_checkpoint(folder / "run" / "checkpoints")
        assert not damaged
        kept = [row["update"] for row in rows(folder / "runs.csv")]
        assert runs.go(folder)[0] == 0
        found = [row["update"] for row in rows(folder / "runs.csv")]
        assert found == BUDGETS
        assert found[: len(kept)] == kept
        # A run that plays goes on with new games: its end is that of any run that goes on from there.
        assert same(weights(folder / "run"), runs.ends(checkpoint.update if checkpoint else 0))
        assert not list(folder.rglob(f".*.{os.getpid()}"))  # what was not finished
        shutil.rmtree(folder)
    assert k > 2 * 7  # files of two checkpoints, and their rows


@pytest.mark.parametrize(("kilobytes", "whole"), [(4, 0), (400, 1), (576, 2)])
def test_a_small_disk_ends_play_in_a_sentence_and_loses_nothing(training, tmp_path, kilobytes, whole):
    """In true games; `whole` checkpoints fit onto the disk, and at most one row."""
    actions = task_of("nethack", "NetHackScore", 0).actions
    shape = {"envs": 2, "rollout": 4, "unroll_length": 4, "batch_size": 2, "epochs": 1, "episodes": 1}
    run = run_of(2, actions=actions, task="NetHackScore", episode_steps=10, **shape)
    (tmp_path / "run.toml").write_text(to_toml(with_rows(run)))
    runs, place = Runs(training, tmp_path / "run.toml", tmp_path), tmp_path / "disk"
    with small_disk(place, kilobytes) as enlarge:
        code, told = runs.go(place)
        assert code == 2
        assert "No space left on device" in told.splitlines()[-1]
        assert "Traceback" not in told
        assert len(list(place.glob("run/checkpoints/update-*"))) == whole
        assert [row["update"] for row in rows(place / "runs.csv")] == BUDGETS[: min(whole, 1)]
        enlarge()
        assert runs.go(place)[0] == 0
        assert [row["update"] for row in rows(place / "runs.csv")] == BUDGETS


def test_curves_that_cannot_be_written_cost_the_run_nothing(training, playing, tmp_path):
    (tmp_path / "run.toml").write_text(to_toml(playing))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "tensorboard").write_text("in the way")
    code, told = Runs(training, tmp_path / "run.toml", tmp_path).go(tmp_path)
    assert code == 0
    assert told.splitlines()[0].endswith("cannot be written (File exists); the run goes on without them.")
