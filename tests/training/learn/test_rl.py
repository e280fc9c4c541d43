"""The loop of reinforcement learning: what acting hands to learning, and that a run can be repeated and resumed."""

import csv
import dataclasses
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import same, weights
from memory_game import MemoryGame

from forecast import read_runs
from training.cli import commands as cli
from training.config.base import to_toml
from training.config.read import read_config
from training.config.reinforcement import ReinforcementConfig
from training.design.reinforcement import configure, going_on
from training.errors import ConfigError, DivergedError
from training.games.nethack.game import NetHackTask
from training.interrupts import InterruptedRunError
from training.learn import rl
from training.learn import rollouts as acting
from training.learn.rollouts import Actor
from training.policies.checkpoint import latest_checkpoint
from training.policies.critic import Critic
from training.policies.family import PolicySpec, build, count_params, spec_for
from training.policies.flops import layer_costs, reinforcement_flops

ACTIONS = 4


def run_of(updates: int, **choices) -> ReinforcementConfig:
    """A small LSTM that plays the memory game for some updates."""
    settings = {"envs": 4, "rollout": 10, "unroll_length": 5, "batch_size": 4, "epochs": 2, "episodes": 2}
    settings |= {"env": "nethack", "core": "lstm", **choices}
    spec = spec_for("nethack", settings["core"], 2.1e4, ACTIONS)
    run = ReinforcementConfig(params=count_params(spec), samples=2**40, flops=1.0, **settings)
    samples = updates * run.samples_per_update
    return dataclasses.replace(run, samples=samples, flops=samples * reinforcement_flops(spec, run))


@pytest.fixture
def memory_game(monkeypatch):
    """Runs play the memory game; returns the options of its games, to be changed."""
    options: dict = {}
    task = NetHackTask()
    monkeypatch.setattr(rl, "task_of", lambda *given: Task(task))
    monkeypatch.setattr(rl, "vector_of", lambda task, count, workers, seed: MemoryGame(count, seed=seed, **options))
    measured = {"return_mean": 0.5, "return_se": 0.1, "episodes": 2}
    monkeypatch.setattr(rl, "measured_return", lambda *given: dict(measured))
    return options


@dataclasses.dataclass
class Task:
    task: NetHackTask
    actions: int = ACTIONS


def rows_of(table: Path) -> list[dict[str, str]]:
    with open(table) as file:
        return list(csv.DictReader(file))


def actor_of(vector, core: str = "lstm", **choices) -> tuple[Actor, torch.nn.Module]:
    torch.manual_seed(0)
    spec = spec_for("nethack", core, 2.1e4, ACTIONS)
    policy, critic = build(spec), Critic(spec.features)
    torch.nn.init.normal_(critic.head.weight)
    config = run_of(3, core=core, **choices)
    return Actor(vector, config, policy, critic, torch.device("cpu"), torch.float32, seed=1), policy


@pytest.mark.parametrize("core", ["lstm", "transformer"])
def test_learning_sees_what_acting_saw(core):
    # The stored memory of each sequence gives the same probabilities and values again, across ends of games.
    actor, policy = actor_of(MemoryGame(4), core)
    actor.play()
    rollout = actor.play()
    config = run_of(3, core=core)
    shuffle = torch.Generator().manual_seed(0)
    seen = 0
    for batch in rl.minibatches(rollout, rollout.reward, rollout.value, config, shuffle, torch.device("cpu")):
        features, _ = policy.features(batch.frames, batch.memory)
        log_probs = policy.policy(features).log_softmax(-1)
        now = log_probs.gather(-1, batch.action[..., None]).squeeze(-1)
        torch.testing.assert_close(now, batch.log_prob, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(actor._critic.value(actor._critic(features)), batch.target, atol=1e-4, rtol=1e-4)
        seen += batch.action.numel()
    assert seen == config.epochs * rollout.action.numel()
    assert rollout.done.any()


def test_the_next_value_is_that_of_the_same_game():
    actor, _ = actor_of(MemoryGame(4))
    rollout = actor.play()
    inside = ~rollout.done[:, :-1]
    assert torch.equal(rollout.next_value[:, :-1][inside], rollout.value[:, 1:][inside])
    assert rollout.terminated.sum() == rollout.done.sum() == 8


def test_a_game_cut_off_is_followed_by_its_own_last_frame():
    whole, cut = MemoryGame(4), MemoryGame(4, cut=True)
    seen, values = [], []
    for game in (whole, cut):
        actor, _ = actor_of(game, rollout=5, unroll_length=5)
        rollout = actor.play()
        seen.append(rollout)
        values.append(rollout.next_value)
    # The same games with the same actions up to the cut, after the fourth frame; the whole game's next frame is the
    # question, which is what the game cut off ends with.
    assert torch.equal(seen[0].action[:, :4], seen[1].action[:, :4])
    assert seen[1].done[:, 3].all()
    assert not seen[1].terminated.any()
    torch.testing.assert_close(values[0][:, 3], values[1][:, 3])
    assert not torch.allclose(values[1][:, 3], seen[1].value[:, 4])  # not the first frame of the next game


def test_same_seed_same_weights_and_another_seed_others(tmp_path, memory_game):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        rl.train(run_of(3, seed=seed), out=tmp_path / name, table=tmp_path / "runs.csv")
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))


@pytest.mark.parametrize("algorithm", ["ppo", "vtrace"])
def test_a_row_at_each_budget_that_a_forecast_reads(tmp_path, memory_game, algorithm):
    runs = [run_of(4, algorithm=algorithm, seed=seed) for seed in range(3)]
    for run in runs:
        run = dataclasses.replace(run, checkpoints=(run.flops / 2,))
        rl.train(run, out=tmp_path / str(run.seed), table=tmp_path / "runs.csv")
    rows = rows_of(tmp_path / "runs.csv")
    assert [(int(r["update"]), r["algorithm"], r["loss"]) for r in rows] == 3 * [(2, algorithm, ""), (4, algorithm, "")]
    cost = reinforcement_flops(spec_for("nethack", "lstm", 2.1e4, ACTIONS), runs[0])
    assert all(float(r["flops"]) == pytest.approx(int(r["samples"]) * cost) for r in rows)
    assert all(float(r["return_mean"]) == 0.5 for r in rows)
    with pytest.raises(ValueError, match="sizes"):  # it reads every column, and asks for more sizes than one
        read_runs(tmp_path / "runs.csv")


@pytest.fixture(params=[1, 2])
def threads(request):
    """Of torch: with one, what is to be played meanwhile is played afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_runs_that_play_meanwhile_repeat_exactly(tmp_path, memory_game, threads):
    for name, lag in (("a", 1), ("b", 1), ("none", 0)):
        rl.train(run_of(3, lag=lag), out=tmp_path / name, table=tmp_path / "runs.csv")
        assert torch.get_num_threads() == threads
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "none"))
    torch.set_num_threads(3 - threads)  # one and two threads learn with one
    rl.train(run_of(3, lag=1), out=tmp_path / "c", table=tmp_path / "runs.csv")
    assert same(weights(tmp_path / "a"), weights(tmp_path / "c"))


@pytest.mark.parametrize("lag", [0, 1])
def test_what_plays_is_as_far_behind_what_learns_as_the_lag_says(lag, threads):
    policy, critic = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    played = []

    class Player:
        def __init__(self, vector, config, policy, critic, *rest):
            self.policy = policy

        def play(self):
            played.append(float(self.policy.bias.detach()))
            return played[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(acting, "Actor", Player)
        rollouts = acting.Rollouts(None, run_of(3, lag=lag), policy, critic, torch.device("cpu"))  # type: ignore
        learned = []
        for update in range(3):
            with rollouts.next(more=update < 2) as rollout, torch.no_grad():
                policy.bias.fill_(update + 1)  # the update
                learned.append(rollout)
    assert played == learned  # each is learned from, none is played in vain
    first = learned[0]
    assert learned == [first, *([1, 2] if lag == 0 else [first, 1])]


def test_an_update_that_fails_ends_what_is_played_meanwhile(tmp_path, memory_game, monkeypatch, threads):
    monkeypatch.setattr(rl, "learn", lambda *given: {"loss": float("nan"), "norm": 1.0})
    with pytest.raises(DivergedError, match="update 1"):
        rl.train(run_of(3, lag=1), out=tmp_path / "run", table=tmp_path / "runs.csv")
    assert torch.get_num_threads() == threads


def test_a_stopped_run_goes_on_from_where_it_was(tmp_path, memory_game, monkeypatch):
    run = run_of(6)
    learned = rl.learn

    def stopped(learner, *given):
        if learner.update == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return learned(learner, *given)

    monkeypatch.setattr(rl, "learn", stopped)
    with pytest.raises(InterruptedRunError, match="after update 3 of 6"):
        rl.train(run, out=tmp_path / "a", table=tmp_path / "runs.csv")
    assert not (tmp_path / "runs.csv").exists()
    monkeypatch.setattr(rl, "learn", learned)
    rl.train(run, out=tmp_path / "a", table=tmp_path / "runs.csv")
    found, _ = latest_checkpoint(tmp_path / "a" / "checkpoints")
    assert found is not None
    assert found.update == 6
    assert len(rows_of(tmp_path / "runs.csv")) == 1


def test_a_policy_that_must_stay_as_it_was_stays_closer(tmp_path, memory_game):
    start = run_of(2)
    rl.train(start, out=tmp_path / "start", table=tmp_path / "runs.csv")
    before = weights(tmp_path / "start")
    moved = {}
    for kl in (0.0, 100.0):
        run = run_of(6, init=str(tmp_path / "start"), kl=kl, learning_rate=1e-3)
        run = dataclasses.replace(run, kl=kl)
        rl.train(run, out=tmp_path / f"kl{kl}", table=tmp_path / "runs.csv")
        after = weights(tmp_path / f"kl{kl}")
        moved[kl] = max(float((after[k] - before[k]).abs().max()) for k in before if k.startswith("policy.policy"))
    assert 0 < moved[100.0] < moved[0.0]
    # To look on while it plays costs another forward pass, which the same budget pays for with fewer frames.
    alone = going_on(run_of(6), init=str(tmp_path / "start"))
    watched = going_on(run_of(6), init=str(tmp_path / "start"), kl=0.1)
    assert watched.samples < alone.samples == run_of(6).samples
    assert watched.flops == alone.flops


def test_the_cost_counts_acting_and_learning():
    spec = PolicySpec(env="atari", core="cnn", width=8, actions=6)
    run = configure(env="atari", task="Pong", params=count_params(spec), flops=1e12)
    layers = layer_costs(spec, 1)
    forward, backward = sum(x.forward for x in layers), sum(x.backward for x in layers)
    head = 2 * spec.features
    wanted = (forward + head) * (1 + 1 / run.rollout) + run.epochs * (forward + backward + 3 * head)
    assert reinforcement_flops(spec, run) == pytest.approx(wanted)
    assert run.samples == int(1e12 / wanted)


def test_the_critic_keeps_its_predictions_when_its_units_change():
    torch.manual_seed(0)
    critic, features = Critic(5), torch.randn(2, 3, 5)
    torch.nn.init.normal_(critic.head.weight)
    critic.follow(torch.tensor([0.0, 10.0]))
    before = critic.value(critic(features))
    critic.follow(torch.tensor([[1000.0, -500.0, 20.0]]))
    torch.testing.assert_close(critic.value(critic(features)), before, atol=1e-3, rtol=1e-4)
    critic = Critic(5)
    returns = torch.from_numpy(np.random.default_rng(0).normal(7, 3, 10_000))
    critic.follow(returns)
    normal = critic.normalise(returns)
    assert float(normal.mean()) == pytest.approx(0, abs=1e-6)
    assert float(normal.std()) == pytest.approx(1, abs=1e-3)


def test_the_clipped_surrogate_by_hand():
    behaviour = torch.tensor([0.5, 0.5, 0.5, 0.5]).log()
    now = torch.tensor([0.75, 0.75, 0.25, 0.25]).log()
    gain = torch.tensor([1.0, -1.0, 1.0, -1.0])
    # Ratios 1.5, 1.5, 0.5, 0.5 with clip 0.2: min(1.5, 1.2), min(-1.5, -1.2), min(0.5, 0.8), min(-0.5, -0.8).
    assert float(rl.ppo_loss(now, behaviour, gain, 0.2)) == pytest.approx(-(1.2 - 1.5 + 0.5 - 0.8) / 4)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"rollout": 10, "unroll_length": 4}, "multiple of unroll_length"),
        ({"batch_size": 3}, "does not divide the 8 sequences"),
        ({"kl": 0.1}, "kl needs a policy"),
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "choices", "dark", "updates"),
    [
        ("ppo", {"epochs": 4, "batch_size": 8, "learning_rate": 3e-3}, 3, 60),
        ("vtrace", {"epochs": 1, "batch_size": 4, "learning_rate": 2e-3, "entropy": 0.03}, 1, 100),
    ],
)
def test_it_learns_to_remember(tmp_path, memory_game, algorithm, choices, dark, updates):
    # Chance is 1/4, knowing the keys but not the letter 1/2: only a memory reaches 0.9.
    memory_game["dark"] = dark
    shape = {"envs": 16, "rollout": 20, "unroll_length": 20, "discount": 0.95}
    run = run_of(updates, algorithm=algorithm, **shape, **choices)
    scores: list[float] = []
    games = MemoryGame.receive

    def received(self):
        frame = games(self)
        scores.extend(result.score for result in frame.results)
        return frame

    MemoryGame.receive = received
    try:
        rl.train(run, out=tmp_path / "a", table=tmp_path / "runs.csv")
    finally:
        MemoryGame.receive = games
    assert np.mean(scores[:64]) < 0.6
    assert np.mean(scores[-256:]) > 0.9


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
