"""Atari shards against what the environment showed while they were recorded."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from training.batches.training import training_batches
from training.cli.commands import app
from training.config.read import read_config
from training.design.cloning import configure
from training.errors import ConfigError
from training.games.atari import AtariTask, AtariVector
from training.learn.bc import checked_spec
from training.play.evaluate import RandomPolicy, evaluate
from training.policies.loaded import load_policy
from training.record.atari import atari_writer, collect
from training.record.experts import expert
from training.shards.reader import Shards


def test_loaded_stacks_are_those_the_environment_showed(tmp_path):
    task = AtariTask(game="Pong", max_steps=60)
    rng = np.random.default_rng(0)
    shown = {}
    with atari_writer(tmp_path / "s", task, source="random") as writer, AtariVector(task, count=2, games=4) as env:
        now = env.reset()
        encoders, taken = {}, {}
        while now.playing.any():
            actions = rng.integers(env.actions, size=2)
            pixels, games, playing = now.fields["pixels"].copy(), now.game.copy(), now.playing.copy()
            now = env.step(actions)
            for slot in np.flatnonzero(playing):
                game = str(games[slot])
                if game not in encoders:
                    encoders[game], taken[game] = writer.game(game), []
                encoders[game].append(
                    pixels=pixels[slot : slot + 1, -1],
                    action=actions[slot : slot + 1].astype(np.uint8),
                    mask=np.ones(1, bool),
                    reward=now.reward[slot : slot + 1],
                )
                taken[game].append((pixels[slot], actions[slot]))
            for result in now.results:
                writer.add(encoders[str(result.game)].finish(points=int(result.score)))
        shards = writer.finish()
    for game in shards.games:
        assert game.frames == len(taken[game.name]) == 60
        shown[game.name] = taken[game.name]
    assert shards.header["actions"] == ["NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE"]
    assert shards.header["options"]["sticky"] == 0.25
    stacks = {
        pixels.tobytes(): int(action)
        for game in shards.train
        for time, (pixels, action) in enumerate(shown[game.name])
        if time >= 8  # before, games look alike
    }
    found = 0
    starts = {shown[game.name][0][0].tobytes() for game in shards.train}
    with training_batches(shards, batch_size=1, unroll_length=60) as batches:
        for _ in range(len(shards.train)):
            batch = next(batches)
            assert batch["start"][0].tolist() == [True] + [False] * 59
            assert batch["pixels"][0, 0].tobytes() in starts
            for pixels, action in zip(batch["pixels"][0, 8:], batch["action"][0, 8:], strict=True):
                found += stacks[pixels.tobytes()] == action
    assert found == len(shards.train) * 52


def test_collected_games_are_those_played(tmp_path):
    """The shards hold every picture that was shown, the action taken in it and what it earned."""
    task = AtariTask(game="Pong", max_steps=70)
    shards, returns = collect(
        tmp_path / "s", RandomPolicy(task.actions), task, games=3, source="random", seed=5, slots=2
    )
    assert sorted(game.frames for game in shards.games) == sorted(returns.lengths.tolist()) == [70] * 3
    assert sum(game.heldout for game in shards.games) == 1
    for game in shards.games:
        number = int(game.name.split()[-1])
        frames = {
            "pixels": np.zeros((70, 84, 84), np.uint8),
            "action": np.zeros(70, np.int64),
            "reward": np.zeros(70, np.float32),
        }
        shards.open(game).read(frames)
        with AtariVector(task, count=1, seed=5, games=3) as vector:
            now = vector.reset()
            while now.game[0] != number:
                now = vector.step(np.zeros(1, np.int64))
            for t in range(70):
                np.testing.assert_array_equal(now.fields["pixels"][0, -1], frames["pixels"][t])
                now = vector.step(frames["action"][t : t + 1])
                assert now.reward[0] == frames["reward"][t]
        assert frames["reward"].sum() == returns.scores[number]
    assert len(np.unique(frames["action"])) > 2
    data = {
        "data": str(tmp_path / "s"),
        "env": "atari",
        "params": 2e4,
        "flops": 1e9,
        "batch_size": 32,
    }
    assert checked_spec(configure(task="Pong", **data), shards).core == "cnn"
    with pytest.raises(ConfigError, match="holds games of pong, but task = 'Breakout'"):
        checked_spec(configure(task="Breakout", **data), shards)


def test_an_interrupted_recording_goes_on_to_the_same_shards(tmp_path):
    task, said = AtariTask(game="Breakout", max_steps=40), []

    def stop(done, total):
        if done == 4:
            raise KeyboardInterrupt

    settings = {"games": 7, "source": "test", "slots": 3, "report": said.append}
    with pytest.raises(KeyboardInterrupt):
        collect(tmp_path / "cut", RandomPolicy(task.actions), task, progress=stop, **settings)
    cut, _ = collect(tmp_path / "cut", RandomPolicy(task.actions), task, **settings)
    whole, _ = collect(tmp_path / "whole", RandomPolicy(task.actions), task, **settings)
    assert (cut.identity, cut.left_out) == (whole.identity, ())
    assert [("goes on after" in sentence) for sentence in said] == [True]


@pytest.mark.parametrize("game", ["Breakout", "Pong"])
def test_a_shipped_player_plays_better_than_chance(tmp_path, game):
    """Out of the box: no checkpoint, no download."""
    path = expert(AtariTask(game=game))
    assert sum(file.stat().st_size for file in path.iterdir()) < 1e6
    card, loaded = json.loads((path / "card.json").read_text()), load_policy(path)
    run = read_config(path / "run.toml")
    assert (card["game"], card["seed"], card["params"]) == (loaded.task, run.seed, run.params)
    before = card.get("goes_on_from", {"frames": 0})["frames"]
    assert card["frames"] - before == run.updates * run.samples_per_update
    task = AtariTask(game=loaded.task, max_steps=1000)
    scores = [evaluate(policy, task, 6, seed=5) for policy in (loaded.policy, RandomPolicy(task.actions))]
    assert scores[0].mean > scores[1].mean + 3 * (scores[0].standard_error + scores[1].standard_error)
    done = CliRunner().invoke(
        app,
        [
            *("collect", str(tmp_path / "shards"), "--env", "atari", "--task", game),
            *("--games", "2", "--max-steps", "40", "--json"),
        ],
    )
    assert done.exit_code == 0, done.output
    assert Shards(tmp_path / "shards").header["source"] == "bot"


def test_a_game_without_a_player_is_told_by_name():
    with pytest.raises(ConfigError, match="no player of qbert comes with this package, only of breakout, pong"):
        expert(AtariTask(game="Qbert"))
