"""The loop of reinforcement learning: it learns, writes its rows, and can be repeated and resumed."""

import csv
import dataclasses
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import same, weights
from memory_game import MemoryGame
from memory_runs import ACTIONS, run_of

from forecast import read_runs
from training.design.reinforcement import going_on
from training.interrupts import InterruptedRunError
from training.learn import rl
from training.learn.rollouts import Actor
from training.policies import compiled
from training.policies.checkpoint import latest_checkpoint
from training.policies.family import spec_for
from training.policies.flops import reinforcement_flops
from training.policies.networks.critic import Critic


def rows_of(table: Path) -> list[dict[str, str]]:
    with open(table) as file:
        return list(csv.DictReader(file))


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


@pytest.mark.parametrize("lag", [0, 1])
def test_a_run_asked_to_stop_plays_no_further_frame(tmp_path, memory_game, monkeypatch, lag):
    """Nothing would be learned from it: the next process begins with new games."""
    frames = []
    whole = Actor._act

    def act(actor, play, group, t):
        frames.append(t)
        if len(frames) == 2 * run.rollout + 3:
            os.kill(os.getpid(), signal.SIGTERM)
        whole(actor, play, group, t)

    run = run_of(6, lag=lag)
    monkeypatch.setattr(Actor, "_act", act)
    with pytest.raises(InterruptedRunError, match="after update 2 of 6, which is saved"):
        rl.train(run, out=tmp_path / "a", table=tmp_path / "runs.csv")
    assert len(frames) == 2 * run.rollout + 3
    monkeypatch.setattr(Actor, "_act", whole)
    rl.train(run, out=tmp_path / "a", table=tmp_path / "runs.csv")
    assert len(rows_of(tmp_path / "runs.csv")) == 1


@pytest.mark.parametrize("lag", [0, 1])
def test_a_compiled_run_learns_from_the_same_games(tmp_path, memory_game, monkeypatch, lag):
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")  # all of torch.compile but the machine's compiler
    threads = torch.get_num_threads()
    torch.set_num_threads(1 + lag)  # one to play and one to learn
    try:
        for name, compile in (("plain", "off"), ("compiled", "on")):
            rl.train(run_of(3, lag=lag, compile=compile), out=tmp_path / name, table=tmp_path / "runs.csv")
    finally:
        torch.set_num_threads(threads)
    plain, other = weights(tmp_path / "plain"), weights(tmp_path / "compiled")
    assert all(torch.allclose(plain[name], other[name], atol=1e-4) for name in plain)


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
