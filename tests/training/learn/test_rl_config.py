"""What a run of reinforcement learning is told and costs, in its file and in the command."""

import dataclasses
import json

import pytest
from memory_runs import run_of

from training.cli import commands as cli
from training.config.base import to_toml
from training.config.read import read_config
from training.config.reinforcement import ReinforcementConfig
from training.design.reinforcement import configure
from training.errors import ConfigError
from training.learn import rl
from training.policies.family import PolicySpec, count_params
from training.policies.flops import layer_costs, reinforcement_flops


def test_the_cost_counts_acting_and_learning():
    spec = PolicySpec(env="atari", core="cnn", width=8, actions=6)
    run = configure(env="atari", task="Pong", params=count_params(spec), flops=1e12)
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
