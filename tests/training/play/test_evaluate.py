"""Returns against games whose every score is known beforehand."""

import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training.errors import ConfigError, DivergedError
from training.games.atari import AtariTask
from training.games.nethack.game import NetHackTask
from training.games.vector import Deal, GameResult, Transition
from training.play import evaluate as evaluation
from training.play.evaluate import RandomPolicy, Returns, evaluate, play, sample


class Clockwork:
    """Game g lasts lengths[g] steps and scores what its score function makes of the actions taken in it."""

    actions = 4

    def __init__(self, lengths: list[int], count: int, score=len) -> None:
        self.count, self._lengths, self._score = count, lengths, score

    def reset(self) -> Transition:
        self._deal = Deal(self.count, len(self._lengths))
        self._game = [self._deal.next(slot) for slot in range(self.count)]
        self._taken: list[list[int]] = [[] for _ in range(self.count)]
        return self._transition(())

    def step(self, actions: np.ndarray) -> Transition:
        results = []
        for slot, game in enumerate(self._game):
            if game is None:
                continue
            self._taken[slot].append(int(actions[slot]))
            length = len(self._taken[slot])
            if length == self._lengths[game]:
                score, long = float(self._score(self._taken[slot])), length > 5
                results.append(
                    GameResult(slot=slot, game=game, score=score, length=length, truncated=long, crashed=False)
                )
                self._game[slot], self._taken[slot] = self._deal.next(slot), []
        return self._transition(tuple(results))

    def _transition(self, results: tuple[GameResult, ...]) -> Transition:
        playing = np.array([game is not None for game in self._game])
        nothing = np.zeros(self.count, bool)
        return Transition(
            fields={"step": np.where(playing, [len(taken) for taken in self._taken], -1)},
            start=np.array([not taken for taken in self._taken]) & playing,
            playing=playing,
            game=np.array([-1 if game is None else game for game in self._game]),
            reward=np.zeros(self.count, np.float32),
            terminated=nothing,
            truncated=nothing,
            results=results,
        )


class Counting(nn.Module):
    """Remembers how often it was called in this game and what it did before, and notes where that is not so."""

    actions = 4

    def __init__(self) -> None:
        super().__init__()
        self.wrong, self.widths, self.training_seen = 0, [], False

    def initial_state(self, batch_size: int, device: torch.device | str | None = None) -> tuple[Tensor, ...]:
        return torch.full((batch_size, 1), 77), torch.full((batch_size, 1), 77)

    def forward(self, batch: Mapping[str, Tensor], state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        assert torch.is_inference_mode_enabled()
        self.training_seen |= self.training
        count, action = (torch.where(batch["start"], 0, part) for part in state)
        wrong = (count != batch["step"]) | (action != batch["previous"])
        self.wrong += int((wrong & (batch["step"] >= 0)).sum())
        self.widths.append(len(count))
        action = (3 * count + 1) % 4
        return nn.functional.one_hot(action, 4).float() * 100, (count + 1, action)


LENGTHS = [1, 40, 2, 2, 3, 1, 25, 4, 1, 2, 3, 30]


@pytest.mark.parametrize("count", [1, 3, 12])
def test_every_game_on_the_list_counts_once_however_long(count: int) -> None:
    """The first 12 to finish of an endless stream would be the short ones."""
    returns = play(Counting(), Clockwork(LENGTHS, count))
    assert returns.lengths.tolist() == LENGTHS
    assert returns.mean == pytest.approx(np.mean(LENGTHS))
    assert returns.cut_off == sum(length > 5 for length in LENGTHS)


def test_memory_and_previous_action_follow_each_game() -> None:
    policy = Counting()
    policy.train()
    play(policy, Clockwork(LENGTHS, 6))
    assert policy.wrong == 0
    assert policy.widths[0] == 6
    assert policy.widths[-1] == 1
    assert policy.training
    assert not policy.training_seen


def test_the_standard_error_is_that_of_the_mean() -> None:
    rng, k = np.random.default_rng(0), 25
    samples = rng.exponential(3.0, (4000, k))
    flags = np.zeros(k, bool)
    errors = [Returns(scores=row, lengths=flags, truncated=flags, crashed=flags).standard_error for row in samples]
    assert math.sqrt(np.mean(np.square(errors))) == pytest.approx(3.0 / math.sqrt(k), rel=0.03)
    one = Returns(scores=np.ones(1), lengths=flags[:1], truncated=flags[:1], crashed=flags[:1])
    assert one.standard_error is None
    pair = Returns(scores=np.array([1.0, 4.0]), lengths=flags, truncated=flags, crashed=flags)
    assert pair.standard_error == pytest.approx(1.5)


def test_actions_are_drawn_from_the_softmax() -> None:
    logits = np.log([0.5, 0.3, 0.15, 0.05])
    uniform = (np.arange(10_000) + 0.5) / 10_000
    shares = np.bincount(sample(np.tile(logits + 700, (10_000, 1)), uniform), minlength=4) / 10_000
    assert shares == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=1e-4)
    masked = np.array([[-np.inf, 0.0, -np.inf]])
    assert sample(masked, np.array([0.0])) == sample(masked, np.array([1 - 1e-16])) == 1


class Biased(nn.Module):
    """The same logits always."""

    actions = 4

    def initial_state(self, batch_size: int, device: torch.device | str | None = None) -> tuple[Tensor, ...]:
        return ()

    def forward(self, batch: Mapping[str, Tensor], state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        return torch.tensor([1.0, 0.0, 2.0, 0.0]).expand(*batch["start"].shape, 4), state


class Broken(Biased):
    """Logits that are no numbers."""

    def forward(self, batch: Mapping[str, Tensor], state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        return super().forward(batch, state)[0] * float("nan"), state


def test_a_policy_without_numbers_is_refused() -> None:
    with pytest.raises(DivergedError, match="not a number"):
        play(Broken(), Clockwork(LENGTHS, 2))


def test_temperature_and_greed() -> None:
    def shares(**settings) -> np.ndarray:
        counts = [play(Biased(), Clockwork([2000], 1, lambda taken, a=a: taken.count(a)), **settings) for a in range(4)]
        return np.array([returns.mean / 2000 for returns in counts])

    assert shares(greedy=True).tolist() == [0, 0, 1, 0]
    for temperature in (0.5, 1.0, 3.0):
        weights = np.exp(np.array([1, 0, 2, 0]) / temperature)
        expected = weights / weights.sum()
        spread = np.sqrt(expected * (1 - expected) / 2000)
        assert np.all(np.abs(shares(temperature=temperature) - expected) < 4 * spread + 1e-9)


def test_choices_belong_to_the_game_and_not_to_the_slot() -> None:
    def digits(taken: list[int]) -> int:
        return int("".join(map(str, taken[:15])), 4)

    runs = [play(Biased(), Clockwork(LENGTHS, count, digits), seed).scores for count, seed in ((1, 0), (5, 0), (1, 1))]
    assert np.array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


class Looking(nn.Module):
    """Its logits are a hash of the screen, in integers, so that no batch size changes a rounding."""

    def __init__(self, field: str, actions: int) -> None:
        super().__init__()
        self.field, self.actions = field, actions

    def initial_state(self, batch_size: int, device: torch.device | str | None = None) -> tuple[Tensor, ...]:
        return ()

    def forward(self, batch: Mapping[str, Tensor], state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        total = batch[self.field].flatten(2).long().sum(-1, keepdim=True)
        return ((total * torch.arange(1, self.actions + 1)) % 7).float(), state


def test_scores_depend_on_the_seed_and_not_on_workers_or_slots() -> None:
    task = NetHackTask(name="NetHackScore", max_steps=400)
    policy = Looking("chars", task.actions)
    one = evaluate(policy, task, 6, 3, slots=6, workers=1)
    two = evaluate(policy, task, 6, 3, slots=4, workers=2)
    other = evaluate(policy, task, 6, 4, slots=6, workers=2)
    assert one.scores.tolist() == two.scores.tolist()
    assert one.lengths.tolist() == two.lengths.tolist()
    assert one.scores.tolist() != other.scores.tolist()


def test_atari_is_evaluated_alike() -> None:
    task = AtariTask(game="Breakout", max_steps=120)
    one = evaluate(RandomPolicy(task.actions), task, 3, 3, slots=3, workers=1)
    two = evaluate(RandomPolicy(task.actions), task, 3, 3, slots=2, workers=2)
    assert one.scores.tolist() == two.scores.tolist()
    assert one.lengths.tolist() == two.lengths.tolist()


def test_progress_says_how_long_the_games_take_at_most(monkeypatch) -> None:
    told = []
    task = NetHackTask(max_steps=40, no_progress=1000)
    monkeypatch.setattr(evaluation.time, "perf_counter", lambda: 0.0)
    played = evaluate(RandomPolicy(task.actions), task, 5, slots=2, progress=lambda *now: told.append(now))
    assert told[-1][:2] == (5, 5)
    assert {left for _, _, left in told} == {None}  # in less than a second
    seconds = iter(range(10_000))
    monkeypatch.setattr(evaluation.time, "perf_counter", lambda: float(next(seconds)))
    again = []
    evaluate(RandomPolicy(task.actions), task, 5, slots=2, progress=lambda *now: again.append(now))
    # One second a step. After the first 198 actions may be left for two slots, of which the last game has one alone.
    assert again[0] == (0, 5, 99.0 + 20.0)
    assert again[-1] == (5, 5, 0.0)
    assert all(left >= len(again) - 1 - step for step, (_, _, left) in enumerate(again))  # it is a bound
    assert len(again) == len(told) >= played.lengths.sum() / 2
    assert all(left >= 0 for _, _, left in again)


def test_wrong_use_is_refused_in_a_sentence() -> None:
    task = NetHackTask()
    with pytest.raises(ConfigError, match="7 actions, the task has 121"):
        evaluate(RandomPolicy(7), task, 1)
    with pytest.raises(ConfigError, match="temperature"):
        evaluate(RandomPolicy(121), task, 1, temperature=0.0)
    with pytest.raises(ConfigError, match="one game"):
        evaluate(RandomPolicy(121), task, 0)
