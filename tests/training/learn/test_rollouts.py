"""What acting hands to learning, and that it may play while the policy learns."""

import dataclasses
import threading
from types import SimpleNamespace

import pytest
import torch
from helpers import same, weights
from memory_game import MemoryGame
from memory_runs import ACTIONS, run_of

from training.errors import DivergedError
from training.interrupts import StopFlag
from training.learn import rl
from training.learn import rollouts as acting
from training.learn.rollouts import Actor
from training.policies import recorded
from training.policies.family import build, spec_for
from training.policies.networks.critic import Critic


def actor_of(*vectors, core: str = "lstm", **choices) -> tuple[Actor, torch.nn.Module]:
    torch.manual_seed(0)
    spec = spec_for("nethack", core, 2.1e4, ACTIONS)
    policy, critic = build(spec), Critic(spec.features)
    torch.nn.init.normal_(critic.head.weight)
    config = run_of(3, core=core, **choices)
    return Actor(vectors, config, policy, critic, torch.device("cpu"), torch.float32, seed=1, stop=StopFlag()), policy


@pytest.mark.parametrize(("core", "groups"), [("lstm", 1), ("transformer", 1), ("lstm", 2)])
def test_learning_sees_what_acting_saw(core, groups):
    # The stored memory of each sequence gives the same probabilities and values again, across ends of games.
    actor, policy = actor_of(*(MemoryGame(4 // groups, seed=i) for i in range(groups)), core=core)
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


def as_a_graph(once):
    """In place of a CUDA graph, where there is no GPU: results lie where the first ones lay."""
    log_probs, value, memory = once()
    kept = log_probs, value, *memory

    def replay():
        log_probs, value, memory = once()
        for place, new in zip(kept, (log_probs, value, *memory), strict=True):
            place.copy_(new)

    return replay, (log_probs, value, memory)


@pytest.mark.parametrize("core", ["lstm", "transformer"])
def test_playing_by_replays_sees_what_playing_sees(core, monkeypatch):
    monkeypatch.setattr(recorded, "record", as_a_graph)
    played = []
    for records in (False, True):
        actor, policy = actor_of(MemoryGame(4, cut=True), MemoryGame(4, seed=1), core=core)
        actor._records, said = records, []
        actor._tell = lambda sentence, seconds, said=said: said.append(sentence)
        actor.play()
        with torch.no_grad():  # what learning does between two rollouts
            for weight in policy.parameters():
                weight.mul_(1.1)
        played.append(actor.play())
        assert said == ["playing of 4 games is recorded as a CUDA graph."] * (2 * records)
    assert torch.equal(played[0].action, played[1].action)
    for name in ("log_prob", "value", "next_value", "memory"):
        torch.testing.assert_close(*(getattr(rollout, name) for rollout in played), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (lambda once: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda once: (lambda: None, once()), "RuntimeError: replayed, its results are"),
    ],
)
def test_what_cannot_be_recorded_plays_on_without(record, reason, monkeypatch):
    monkeypatch.setattr(recorded, "record", record)
    actor, _ = actor_of(MemoryGame(2), MemoryGame(2, seed=1))
    actor._records, said = True, []
    actor._tell = lambda sentence, seconds: said.append(sentence)
    rollout = actor.play()
    assert len(said) == 1
    assert f"cannot be recorded as a CUDA graph ({reason}" in said[0]
    plain, _ = actor_of(MemoryGame(2), MemoryGame(2, seed=1))
    torch.testing.assert_close(rollout.log_prob, plain.play().log_prob)


def test_a_group_is_acted_for_while_the_other_steps():
    stepping = []

    class Watched(MemoryGame):
        def send(self, actions):
            stepping.append(self)
            super().send(actions)

        def receive(self):
            assert stepping[0] is self, "the group that waits longest is asked first"
            if len(received) < last:  # the end of a rollout finds all games at rest
                assert len(stepping) == 2, "another group steps meanwhile"
            received.append(stepping.pop(0))
            return super().receive()

    actor, _ = actor_of(Watched(2), Watched(2, seed=1), rollout=10)
    received, last = [], 2 * 10 - 1
    rollout = actor.play()
    assert not stepping
    assert len(received) == 20
    assert rollout.action.shape == (4, 10)
    assert {result.score for result in rollout.results} <= {0.0, 1.0}


class Lives(MemoryGame):
    """Its games lose a life with the second action."""

    def receive(self):
        frame = super().receive()
        return dataclasses.replace(frame, life_lost=self._age == 2)


@pytest.mark.parametrize("counts", [True, False])
def test_the_loss_of_a_life_ends_what_is_learned_from(counts):
    actor, _ = actor_of(Lives(4))
    actor._config = SimpleNamespace(**{**vars(actor._config), "life_loss": counts})
    rollout = actor.play()
    ended = rollout.done[0].nonzero().flatten().tolist()
    assert ended == ([1, 4, 6, 9] if counts else [4, 9])
    assert torch.equal(rollout.terminated, rollout.done)
    assert len(rollout.results) == 8  # whole games, as ever


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


def test_runs_in_groups_repeat_exactly_and_go_on(tmp_path, memory_game):
    for name in "ab":
        rl.train(run_of(3, groups=2, lag=1), out=tmp_path / name, table=tmp_path / "runs.csv")
    rl.train(run_of(3, lag=1), out=tmp_path / "whole", table=tmp_path / "runs.csv")
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "whole"))


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
        rollouts = acting.Rollouts([], run_of(3, lag=lag), policy, critic, torch.device("cpu"))  # type: ignore
        learned = []
        for update in range(3):
            with rollouts.next(more=update < 2) as rollout, torch.no_grad():
                policy.bias.fill_(update + 1)  # the update
                learned.append(rollout)
    assert played == learned  # each is learned from, none is played in vain
    first = learned[0]
    assert learned == [first, *([1, 2] if lag == 0 else [first, 1])]


def test_half_of_learning_has_all_threads_when_playing_is_done(tmp_path, memory_game, monkeypatch, threads):
    seen, played, play, minibatches = [], [], Actor.play, rl.minibatches
    may_end = threading.Event()

    def slowly(actor):
        rollout = play(actor)
        if played:  # beside learning
            assert may_end.wait(60)
        played.append(rollout)
        return rollout

    def watched(*given):
        may_end.clear()
        for number, batch in enumerate(minibatches(*given)):
            yield batch
            seen.append((torch.get_num_threads(), len(played)))
            if number == 1:
                may_end.set()

    monkeypatch.setattr(Actor, "play", slowly)
    monkeypatch.setattr(rl, "minibatches", watched)
    rl.train(run_of(3, lag=1), out=tmp_path / "run", table=tmp_path / "runs.csv")
    if threads == 1:
        assert seen == [(1, 1)] * 4 + [(1, 2)] * 4 + [(1, 3)] * 4
    else:
        assert seen == [(1, 1)] * 2 + [(2, 2)] * 2 + [(1, 2)] * 2 + [(2, 3)] * 2 + [(1, 3)] * 4


def test_an_update_that_fails_ends_what_is_played_meanwhile(tmp_path, memory_game, monkeypatch, threads):
    monkeypatch.setattr(rl, "learn", lambda *given: {"loss": float("nan"), "norm": 1.0})
    with pytest.raises(DivergedError, match="update 1"):
        rl.train(run_of(3, lag=1), out=tmp_path / "run", table=tmp_path / "runs.csv")
    assert torch.get_num_threads() == threads
