"""What a run of reinforcement learning is told and costs, in its file and in the command."""

import dataclasses
import json

import pytest
from memory_runs import run_of

from training.cli import commands as cli
from training.config.base import to_toml
from training.config.read import read_config
from training.config.reinforcement import ReinforcementConfig
from training.design.plan import RunGrid
from training.design.reinforcement import configure
from training.errors import ConfigError
from training.learn import rl
from training.learn.schedule import learning_rate
from training.policies.family import PolicySpec, count_params
from training.policies.flops import layer_costs, reinforcement_flops


def test_the_cost_counts_acting_and_learning():
    spec = PolicySpec(env="atari", core="cnn", width=8, actions=6)
    run = configure(env="atari", core="cnn", task="Pong", params=count_params(spec), flops=1e12)
    layers = layer_costs(spec, 1)
    forward, backward = sum(x.forward for x in layers), sum(x.backward for x in layers)
    head = 2 * spec.features
    wanted = (forward + head) * (1 + 1 / run.rollout) + run.epochs * (forward + backward + 3 * head)
    assert reinforcement_flops(spec, run) == pytest.approx(wanted)
    assert run.samples == int(1e12 / wanted)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"rollout": 10, "unroll_length": 4}, "multiple of unroll_length"),
        ({"batch_size": 3}, "does not divide the 8 sequences"),
        ({"kl": 0.1}, "kl needs a policy"),
        ({"groups": 3}, "envs = 4 must be a multiple of groups = 3"),
        ({"life_loss": True}, "life_loss is of Atari"),
        ({"episodes": 0}, "episodes must be between 1"),
        ({"lag": 2}, "lag must be 0 or 1"),
        ({"discount": 1.5}, "share from 0 to 1"),
        ({"algorithm": "sarsa"}, "must be bc or ppo or vtrace"),
    ],
)
def test_what_cannot_be_run_is_refused(wrong, sentence):
    with pytest.raises(ConfigError, match=sentence):
        run_of(3, **wrong)


@pytest.mark.parametrize(
    ("env", "device", "frames", "games"),
    [
        ("nethack", "cpu", 1e5, (16, 1, 8)),
        ("nethack", "cpu", 1e6, (64, 1, 32)),
        ("nethack", "cuda", 1e9, (512, 2, 256)),
        ("atari", "cpu", 1e7, (16, 1, 256)),
        ("atari", "cuda", 1e9, (256, 2, 4096)),
    ],
)
def test_games_follow_from_the_device_and_the_budget(env, device, frames, games):
    cost = configure(env=env, params=1e5, flops=1e15, device="cpu").flops_per_sample
    run = configure(env=env, params=1e5, flops=cost * frames, device=device)
    assert (run.envs, run.groups, run.batch_size) == games
    assert run.updates >= 90
    before = configure(env=env, params=1e5, flops=cost * frames, device=device, rules=4)
    assert (before.envs, before.groups, before.life_loss, before.schedule) == (16, 1, False, "constant")
    told = configure(env=env, params=1e5, flops=cost * frames, device=device, envs=8, unroll_length=1, batch_size=16)
    assert (told.envs, told.batch_size) == (8, 16)
    many = configure(env=env, params=1e5, flops=cost * frames, device=device, envs=48)
    assert (many.envs, many.groups) == (48, 2 if device == "cuda" else 1)
    assert many.samples_per_update / (many.batch_size * many.unroll_length) == (4 if env == "nethack" else 8)


def test_atari_is_learned_as_the_field_does():
    run = configure(env="atari", task="Pong", params=1.7e6, flops=1e15)
    assert (run.core, run.rollout, run.epochs, run.ratio_clip, run.life_loss) == ("nature", 128, 4, 0.1, True)
    assert learning_rate(run, 0) == pytest.approx(run.learning_rate, rel=1e-2)
    assert learning_rate(run, run.updates - 1) < 2 / run.updates * run.learning_rate
    assert configure(env="atari", params=1e5, flops=1e14, schedule="constant").warmup == ReinforcementConfig.warmup
    # A run whose step size falls to zero at its end is no run of a smaller budget on the way there.
    plan = RunGrid(grid={1e13: [1e5], 1e14: [1e5]}, run={"env": "atari", "algorithm": "ppo", "task": "Pong"})
    assert [run.budgets for run in plan.runs] == [(1e13,), (1e14,)]
    assert all(run.group == "" and run.row_group == "Pong-nature-ppo" for run in plan.runs)


def test_a_config_survives_its_file(tmp_path):
    run = run_of(3, algorithm="vtrace", entropy=0.02)
    (tmp_path / "run.toml").write_text(to_toml(run))
    assert read_config(tmp_path / "run.toml") == run


def test_a_budget_that_is_not_the_cost_is_refused(tmp_path, memory_game):
    run = run_of(3)
    with pytest.raises(ConfigError, match="write samples = "):
        rl.train(dataclasses.replace(run, flops=run.flops * 2), out=tmp_path / "a", table=tmp_path / "runs.csv")
    assert not (tmp_path / "a").exists()


def test_the_command_makes_and_prices_a_run_that_bc_refuses(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def training(*arguments: str) -> int:
        monkeypatch.setattr("sys.argv", ["training", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0)

    made = ("--algorithm", "vtrace", "--env", "atari", "--task", "Pong", "--params", "2e4", "--flops", "1e11")
    assert training("configure", *made, "--out", "run.toml") == 0
    run = read_config(tmp_path / "run.toml")
    assert isinstance(run, ReinforcementConfig)
    assert training("flops", "run.toml", "--json") == 0
    printed = capsys.readouterr().out
    played = json.loads(printed[printed.index("{") :])["played"]
    assert run.flops / run.samples == pytest.approx(played, rel=1e-3)
    assert training("bc", "run.toml", "--data", "shards") == 2
    assert "does not clone" in capsys.readouterr().err
    assert training("configure", *made, "--data", "shards") == 2
    assert "takes no --data" in capsys.readouterr().err
    assert training("rl", "nothing.toml") == 2
    assert training("rl", "run.toml", "--init", "no/clone") == 2
    assert "no/clone" in capsys.readouterr().err
    assert training("rl", "run.toml", "--kl", "0.1") == 2
    assert "kl needs a policy" in capsys.readouterr().err
    (tmp_path / "clone.toml").write_text("params = 1e5\nsamples = 1e6\nflops = 1e12\n")
    assert training("rl", "clone.toml") == 2
    assert "training bc" in capsys.readouterr().err
