"""How well a policy plays: returns over a fixed list of games, with their standard error."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from training.errors import ConfigError, DivergedError
from training.games.tasks import Task, vector_of
from training.games.vector import GameResult, Transition, Vector, noise_of_game
from training.policies.arithmetic import to_device
from training.policies.family import remembering
from training.policies.policy import Policy

_KNOWN = 1.0  # seconds of play from which on its rate says how long the rest takes

Progress = Callable[[int, int, float | None], None]
"""Called with the games ended, all games, and the seconds that the others take at most, each cut off at its limit; None
in the first second."""


@dataclass(frozen=True, kw_only=True)
class Returns:
    """Results of k games, in the order of their numbers. Games cut off count with what they had reached."""

    scores: np.ndarray
    """float64 [k]: NetHack's in-game score, or the sum of unclipped Atari rewards."""
    lengths: np.ndarray
    """int64 [k]: actions taken."""
    truncated: np.ndarray
    """bool [k]: cut off, by a limit or a crash, before the game ended."""
    crashed: np.ndarray
    """bool [k]: cut off because the process that played it died."""

    @property
    def mean(self) -> float:
        """Mean score."""
        return float(self.scores.mean())

    @property
    def standard_error(self) -> float | None:
        """Standard error of the mean, sd / √k with k - 1 in the variance; None for one game, which shows no spread."""
        if len(self.scores) < 2:
            return None
        return float(self.scores.std(ddof=1) / math.sqrt(len(self.scores)))

    @property
    def cut_off(self) -> int:
        """How many games were cut off; when many, the mean says little about whole games."""
        return int(self.truncated.sum())


class RandomPolicy(nn.Module):
    """Every action is equally likely: the score that knowing nothing brings."""

    def __init__(self, actions: int) -> None:
        super().__init__()
        self.actions = actions

    def initial_state(self, batch_size: int, device: torch.device | str | None = None) -> tuple[Tensor, ...]:
        """Nothing: no memory."""
        return ()

    def forward(self, batch: dict[str, Tensor], state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Logits of zero [B, T, actions]."""
        start = batch["start"]
        return torch.zeros((*start.shape, self.actions), device=start.device), state


def evaluate(
    policy: Policy,
    task: Task,
    episodes: int,
    seed: int = 0,
    *,
    slots: int = 64,
    workers: int | None = None,
    temperature: float = 1.0,
    greedy: bool = False,
    device: torch.device | str | None = None,
    progress: Progress | None = None,
) -> Returns:
    """Play exactly `episodes` games, `slots` at a time, each to its end.

    Actions are drawn from the softmax of logits / temperature, or are the likeliest with `greedy`. A game and the
    choices in it are seeded by (seed, number of the game), so that the scores do not depend on `workers`, and on
    `slots` only as far as a network's rounding depends on its batch size. `device` is where the policy's weights lie.
    `progress` is called after each step. Raises ConfigError for settings or a policy that cannot play the task,
    DivergedError for logits that are not a number.
    """
    if episodes < 1 or slots < 1:
        raise ConfigError(f"At least one game must be played in at least one slot, got {episodes} in {slots}.")
    with vector_of(task, count=min(slots, episodes), workers=workers, seed=seed, games=episodes) as vector:
        watcher = _Counter(episodes, vector.count, task.step_limit, progress) if progress else None
        return play(policy, vector, seed, temperature=temperature, greedy=greedy, device=device, watcher=watcher)


class Watcher(Protocol):
    """Looks on while games are played."""

    def chosen(self, frame: Transition, actions: np.ndarray) -> None:
        """The frame and the actions [count] chosen in it, before they are taken."""
        ...

    def stepped(self, frame: Transition) -> None:
        """What came of them."""
        ...


class _Counter:
    """A watcher that counts games that ended, and knows how long the others take if all of them reach their limit."""

    def __init__(self, games: int, slots: int, limit: int, progress: Progress) -> None:
        """slots: games played at a time. limit: actions after which a game is cut off."""
        self._ended, self._games, self._slots, self._limit, self._progress = 0, games, slots, limit, progress
        self._taken, self._of_ended, self._steps = 0, 0, 0  # actions, those of games that ended, and steps of all slots
        self._begun = time.perf_counter()

    def chosen(self, frame: Transition, actions: np.ndarray) -> None:
        self._taken += int(frame.playing.sum())

    def stepped(self, frame: Transition) -> None:
        self._steps += 1
        self._ended += len(frame.results)
        self._of_ended += sum(result.length for result in frame.results)
        self._progress(self._ended, self._games, self._seconds_left())

    def _seconds_left(self) -> float | None:
        seconds = time.perf_counter() - self._begun
        if seconds < _KNOWN:
            return None
        games = self._games - self._ended
        actions = self._limit * games - (self._taken - self._of_ended)
        # Each game goes to the slot that is free first: Graham (1969), SIAM J. Appl. Math. 17, 416-429. Steps in which
        # fewer slots play take no longer than those so far.
        steps = actions / self._slots + (1 - 1 / self._slots) * self._limit * (games > 0)
        return min(steps, actions) * seconds / self._steps


@torch.inference_mode()
def play(
    policy: Policy,
    vector: Vector,
    seed: int = 0,
    *,
    temperature: float = 1.0,
    greedy: bool = False,
    device: torch.device | str | None = None,
    watcher: Watcher | None = None,
) -> Returns:
    """Play the games of a vector with a fixed number of games until all have ended; settings as in `evaluate`."""
    _check(policy, vector, temperature)
    results: list[GameResult] = []
    noise: dict[int, np.random.Generator] = {}
    frame = vector.reset()
    rows = np.arange(vector.count)  # the slots that the policy still looks at
    state = policy.initial_state(vector.count, device=device)
    actions = np.zeros(vector.count, np.int64)
    with _in_evaluation(policy):
        while frame.playing.any():
            active = np.flatnonzero(frame.playing[rows])
            if 2 * len(active) <= len(rows):  # long games outlive many short ones: do not compute for empty slots
                keep = torch.as_tensor(active, device=device)
                rows, state = rows[active], tuple(part[keep] for part in state)
            logits, state = policy(_batch(frame, rows, actions, device), state)
            chosen = frame.playing[rows]
            last = logits[:, -1].double().cpu().numpy()[chosen]
            if np.isnan(last).any():
                raise DivergedError("The policy's logits are not a number: the run that made its weights diverged.")
            if greedy:
                actions[rows[chosen]] = last.argmax(1)
            else:
                uniform = np.array([_uniform(noise, seed, int(game)) for game in frame.game[rows[chosen]]])
                actions[rows[chosen]] = sample(last / temperature, uniform)
            if watcher:
                watcher.chosen(frame, actions)
            frame = vector.step(actions)
            if watcher:
                watcher.stepped(frame)
            results += frame.results
    results.sort(key=lambda result: result.game)
    return Returns(
        scores=np.array([result.score for result in results]),
        lengths=np.array([result.length for result in results]),
        truncated=np.array([result.truncated for result in results]),
        crashed=np.array([result.crashed for result in results]),
    )


@contextlib.contextmanager
def _in_evaluation(policy: Policy) -> Iterator[None]:
    training = policy.training
    policy.eval()
    try:
        with remembering(policy, {}):
            yield
    finally:
        policy.train(training)


def sample(logits: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Actions int64 [B] of logits float64 [B, A]: the inverse of the softmax's distribution function at uniform [B]."""
    cumulative = np.exp(logits - logits.max(1, keepdims=True)).cumsum(1)
    return (cumulative[:, :-1] <= uniform[:, None] * cumulative[:, -1:]).sum(1)


def _batch(
    frame: Transition, rows: np.ndarray, actions: np.ndarray, device: torch.device | str | None
) -> dict[str, Tensor]:
    fields = {name: values[rows] for name, values in frame.fields.items()}
    start = frame.start[rows]
    fields |= {"start": start, "previous": np.where(start, 0, actions[rows])}
    return to_device({name: values[:, None] for name, values in fields.items()}, torch.device(device or "cpu"))


def _uniform(noise: dict[int, np.random.Generator], seed: int, game: int) -> float:
    if game not in noise:
        noise[game] = noise_of_game(seed, game)
    return noise[game].random()


def _check(policy: Policy, vector: Vector, temperature: float) -> None:
    if policy.actions != vector.actions:
        raise ConfigError(
            f"The policy chooses among {policy.actions} actions, the task has {vector.actions}; play its own task."
        )
    if not (math.isfinite(temperature) and temperature > 0):
        raise ConfigError(
            f"The temperature must be positive, got {temperature:g}; use greedy for the likeliest action."
        )
