"""Damage of every kind in every file that is read: refused in a sentence, or read to the same answer.

`FUZZ=5000 pytest tests/test_damaged_files.py` damages each file so many times; the slow tests do it a thousand times.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from damage import DEEP, altered, damaged, toml
from helpers import frame
from random_shards import LAYOUT, random_game, read, write

import forecast
from forecast.bayes import container
from forecast.decide.seal import sealed
from forecast.errors import ForecastError
from forecast.verify.frozen import read_frozen
from training.config.base import to_toml as run_toml
from training.config.read import read_config
from training.design.plan import RunGrid, read_plan
from training.design.plan import to_toml as plan_toml
from training.design.recommendation import read_recommendation
from training.errors import DataError, TrainingError
from training.learn.distributed import place
from training.learn.learner import Learner
from training.learn.runs.table import append_row, read_rows
from training.policies.checkpoint import load_checkpoint
from training.policies.loaded import load_policy
from training.record.nethack.convert import convert
from training.record.nethack.folder import read_list
from training.record.nethack.recorder import collect
from training.schema import content_hash
from training.shards.reader import Shards
from training.shards.writer import ShardWriter

WRITER = {"layout": LAYOUT, "env": "nethack", "actions": ["a", "b"], "source": "test", "file_bytes": 1}
ROOT = Path(__file__).parent.parent
DATA = ROOT / "tests" / "data"
COUNTS = [int(os.environ.get("FUZZ", 15)), pytest.param(1000, marks=pytest.mark.slow)]


@dataclass(frozen=True, kw_only=True)
class Format:
    """Files of one kind in a folder, and what reads them."""

    make: Callable[[Path], object]
    """Writes them into a folder."""
    answer: Callable[[Path], Any]
    """What is read from the folder, as something that == compares."""
    vouched: bool = True
    """Whether a digest vouches for them: what is read of a damaged file is then what was written."""
    seal: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    """Of JSON and TOML that hold their own hash: the document with its hash made anew."""


def arrays(tensors: dict[str, Any]) -> dict[str, Any]:
    return {name: (str(x.dtype), tuple(x.shape), np.asarray(x).tobytes()) for name, x in tensors.items()}


def shards_answer(folder: Path) -> Any:
    shards = Shards(folder / "s")
    games = {game.name: arrays(read(shards, game)) for game in shards.games}
    return games, shards.actions, shards.env, shards.samples, [g.name for g in shards.heldout], shards.left_out


def checkpoint_answer(folder: Path) -> Any:
    checkpoint = load_checkpoint(folder / "c")
    loaded = load_policy(folder / "c")
    state = {name: value for name, value in checkpoint.state.items() if name != "seal"}
    tensors = {name: arrays(dict(part)) for name, part in checkpoint.tensors.items()}
    return loaded.spec, loaded.task, state, tensors


def posterior_answer(path: Path) -> Any:
    posterior = forecast.load_posterior(path)
    experts = dict(posterior.expert_return), dict(posterior.start_loss), dict(posterior.paces)
    told = posterior.runs.sha256, posterior.spec, posterior.seed, posterior.diagnostics.checks.to_csv(), experts
    return told, arrays(dict(posterior.draws))


def resumed_answer(folder: Path) -> Any:
    config = read_config(DATA / "checkpoint.toml")
    spec = load_policy(folder / "update-0000000040").spec
    with place() as here:
        learner = Learner.begin(config, spec, here, folder)
    if learner.passed_over:
        raise DataError(learner.passed_over[0])
    state = learner.optimizer.state_dict()["state"]
    moments = {f"{i}.{name}": x for i, part in state.items() for name, x in part.items()}
    told = config, learner.update, learner.measured, learner.loss, learner.memory[0].numpy().tobytes()
    return told, arrays(learner.policy.state_dict()), arrays(moments)


def interrupted_answer(folder: Path) -> Any:
    """What is taken up of an interrupted conversion; nothing where it starts over."""
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copytree(folder / "s.partial", Path(scratch) / "s.partial")
        return len(ShardWriter(Path(scratch) / "s", **WRITER).done)


def converted_answer(folder: Path) -> bool:
    """Whether every game that is converted is as it was recorded; others are left out."""
    with tempfile.TemporaryDirectory() as scratch:
        shards = convert(folder / "nld", Path(scratch) / "s", workers=1)
    recorded = set((folder / ".digests").read_text().split())
    return {game.digest for game in shards.games} <= recorded


def frozen_answer(path: Path) -> Any:
    return {name: str(value) for name, value in vars(read_frozen(path)).items() if name != "path"}


def save_posterior(folder: Path) -> None:
    forecast.load_posterior(DATA / "posterior.nc").save(folder / "p.nc")


def save_checkpoint(folder: Path) -> None:
    shutil.copytree(DATA / "checkpoint", folder / "c")
    reseal(folder / "c" / "state.json", lambda state: {**state, "seal": content_hash(state, "seal")})


def save_run(folder: Path) -> None:
    shutil.copytree(DATA / "checkpoint", folder / "update-0000000040")
    state = folder / "update-0000000040" / "state.json"
    reseal(state, lambda state: {**state, "seal": content_hash(state, "seal")})


def interrupted(folder: Path) -> None:
    """A conversion that was killed after its first file."""
    writer = ShardWriter(folder / "s", **WRITER)
    for name in ("a", "b"):
        encoder = writer.game(name)
        encoder.append(**random_game(len(name), 30 + ord(name)))
        writer.add(encoder.finish())


def recordings(folder: Path) -> None:
    collect(folder / "nld", games=3, player="random", workers=1, max_episode_steps=60)
    shards = convert(folder / "nld", folder / "s", workers=1)
    (folder / ".digests").write_text("\n".join(game.digest for game in shards.games))
    shutil.rmtree(folder / "s")
    (folder / "nld" / "games.jsonl").unlink()  # which only `collect` reads


def reseal(path: Path, seal: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    path.write_text(json.dumps(seal(json.loads(path.read_text()))))


def run_table(folder: Path) -> None:
    for update in range(1, 5):
        append_row(folder / "runs.csv", {"run": "a", "update": update, "loss": 1 / update, "state": None})


def points(folder: Path) -> None:
    table = pd.DataFrame({"params": [1e6, 2e6], "samples": [1e9, 2e9], "flops": [1e16, 2e16], "group": ["a", "b"]})
    table.to_csv(folder / "p.csv", index=False)


def plan(folder: Path) -> None:
    run = {"batch_size": 4, "unroll_length": 8, "env": "nethack", "learning_rate": 1e-3, "task": "@"}
    (folder / "p.toml").write_text(plan_toml(RunGrid(grid={1e10: [1e4, 2e4], 4e10: [2e4]}, seeds=(0, 1), run=run)))


def list_of_games(folder: Path) -> None:
    game = {"task": "@", "seed": 0, "player": "bot", "counted": "games", "stream": 0, "number": 0, "steps": 9}
    (folder / "games.jsonl").write_text("".join(json.dumps({**game, "stream": k}) + "\n" for k in range(5)))


def copy_of(source: Path, name: str) -> Callable[[Path], object]:
    return lambda folder: shutil.copy(source, folder / name)


def resealed_toml(document: dict[str, Any]) -> dict[str, Any]:
    return tomllib.loads(sealed(toml({name: part for name, part in document.items() if name != "seal"})))


FORMATS = {
    "table csv": Format(
        make=lambda folder: frame().to_csv(folder / "t.csv", index=False),
        answer=lambda folder: forecast.read_runs(folder / "t.csv").sha256,
        vouched=False,
    ),
    "table jsonl": Format(
        make=lambda folder: frame().to_json(folder / "t.jsonl", orient="records", lines=True),
        answer=lambda folder: forecast.read_runs(folder / "t.jsonl").sha256,
        vouched=False,
    ),
    "table parquet": Format(
        make=lambda folder: frame().to_parquet(folder / "t.parquet"),
        answer=lambda folder: forecast.read_runs(folder / "t.parquet").sha256,
        vouched=False,
    ),
    "points": Format(make=points, answer=lambda folder: forecast.read_points(folder / "p.csv").to_csv(), vouched=False),
    "posterior": Format(make=save_posterior, answer=lambda folder: posterior_answer(folder / "p.nc")),
    "posterior of an earlier version": Format(
        make=copy_of(DATA / "posterior.nc", "p.nc"),
        answer=lambda folder: posterior_answer(folder / "p.nc"),
        vouched=False,
    ),
    "recommendation": Format(
        make=copy_of(ROOT / "reports" / "nethack-transformer" / "recommendation.toml", "r.toml"),
        answer=lambda folder: frozen_answer(folder / "r.toml"),
        seal=resealed_toml,
    ),
    "recommendation to train": Format(
        make=copy_of(ROOT / "reports" / "nethack-transformer" / "recommendation.toml", "r.toml"),
        answer=lambda folder: read_recommendation(folder / "r.toml"),
        vouched=False,
    ),
    "plan": Format(make=plan, answer=lambda folder: read_plan(folder / "p.toml").runs, vouched=False),
    "run": Format(
        make=lambda folder: (folder / "r.toml").write_text(run_toml(read_config(DATA / "checkpoint.toml"))),
        answer=lambda folder: read_config(folder / "r.toml"),
        vouched=False,
    ),
    "checkpoint": Format(
        make=save_checkpoint,
        answer=checkpoint_answer,
        seal=lambda state: {**state, "seal": content_hash(state, "seal")},
    ),
    "shards": Format(
        make=lambda folder: write(folder / "s", {"a": random_game(0, 60), "b": random_game(1, 40)}),
        answer=shards_answer,
        seal=lambda header: {**header, "sha256": content_hash(header, "sha256")},
    ),
    "run that goes on": Format(
        make=save_run,
        answer=resumed_answer,
        seal=lambda state: {**state, "seal": content_hash(state, "seal")},
    ),
    "interrupted shards": Format(make=interrupted, answer=interrupted_answer, vouched=False),
    "recordings": Format(make=recordings, answer=converted_answer, vouched=True),
    "rows of training": Format(make=run_table, answer=lambda folder: read_rows(folder / "runs.csv"), vouched=False),
    "list of games": Format(
        make=list_of_games,
        answer=read_list,
        vouched=False,
    ),
}


@pytest.fixture(scope="module", params=FORMATS)
def format_of(request, tmp_path_factory):
    """A format, its files, and the answer of the undamaged ones."""
    chosen = FORMATS[request.param]
    folder = tmp_path_factory.mktemp(request.param.replace(" ", "-"))
    chosen.make(folder)
    return chosen, folder, chosen.answer(folder)


def assert_sound(chosen: Format, folder: Path, whole: Any, what: str) -> bool:
    """Refused in one sentence, or the same answer where a digest vouches for it; whether it was refused."""
    try:
        told = chosen.answer(folder)
    except (ForecastError, TrainingError) as error:
        sentence = str(error)
    except BaseException as error:
        pytest.fail(f"{what}: {type(error).__name__}: {error}")
    else:
        assert not chosen.vouched or told == whole, f"{what} is another answer"
        return False
    assert sentence.endswith((".", ")", "?"))
    return True


def files_of(folder: Path) -> Iterator[tuple[Path, bytes]]:
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")):
        yield path, path.read_bytes()


@pytest.mark.parametrize("count", COUNTS)
def test_bytes_changed_anywhere_are_refused_or_harmless(format_of, count):
    chosen, folder, whole = format_of
    files, rng = list(files_of(folder)), np.random.default_rng(0)
    refused = 0
    for k in range(count):
        path, content = files[k % len(files)]
        try:
            path.write_bytes(damaged(content, rng))
            refused += assert_sound(chosen, folder, whole, f"{path.name}, damage {k}")
        finally:
            path.write_bytes(content)
    assert refused


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("resealed", [False, True])
def test_other_values_in_json_and_toml_are_refused(format_of, count, resealed):
    """A file whose hash is made anew is refused where its values are of no use, and nothing else goes wrong."""
    chosen, folder, whole = format_of
    files, rng = [(p, c) for p, c in files_of(folder) if p.suffix in (".json", ".toml")], np.random.default_rng(1)
    if not files or (resealed and not chosen.seal):
        pytest.skip("it holds no JSON or TOML, or no hash")
    anything = Format(make=chosen.make, answer=chosen.answer, vouched=chosen.vouched and not resealed)
    for k in range(count):
        path, content = files[k % len(files)]
        is_json = path.suffix == ".json"
        document = altered(json.loads(content) if is_json else tomllib.loads(content.decode()), rng)
        try:
            if resealed and chosen.seal:
                document = chosen.seal(document)
            path.write_text(json.dumps(document) if is_json else toml(document))
            assert_sound(anything, folder, whole, f"{path.name}, value {k}")
        finally:
            path.write_bytes(content)


def test_reading_that_would_not_end_is_refused(tmp_path, monkeypatch):
    """HDF5 2.0 hangs on this damage of a file that has no checksum."""
    monkeypatch.setattr("forecast.bayes.container._PATIENCE", 2.0)
    (tmp_path / "p.nc").write_bytes(damaged((DATA / "posterior.nc").read_bytes(), np.random.default_rng(160)))
    with pytest.raises(ForecastError, match=r"p\.nc"):
        forecast.load_posterior(tmp_path / "p.nc")
    monkeypatch.setattr("forecast.bayes.container._PATIENCE", 1e-3)
    with pytest.raises(ForecastError, match="does not come to an end"):
        forecast.load_posterior(DATA / "posterior.nc")


def test_a_reader_for_whom_nobody_waits_ends_by_itself():
    hanging = damaged((DATA / "posterior.nc").read_bytes(), np.random.default_rng(160))
    reader = [sys.executable, "-P", container.__file__, "1"]
    assert subprocess.run(reader, input=hanging, capture_output=True, timeout=60).returncode == -signal.SIGALRM


def test_brackets_nested_beyond_reason_are_refused(format_of):
    chosen, folder, whole = format_of
    text = (".json", ".jsonl", ".toml", ".csv")
    for path, content in ((path, content) for path, content in files_of(folder) if path.suffix in text):
        nested = b"[" * DEEP
        try:
            path.write_bytes(b"a = " + nested if path.suffix == ".toml" else nested + b"\n")
            if path.name != "settings.json":  # of what was interrupted, which then starts over
                assert assert_sound(chosen, folder, whole, path.name)
        finally:
            path.write_bytes(content)
