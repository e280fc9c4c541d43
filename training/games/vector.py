"""What every vectorised environment shares: how games are numbered and seeded, and what a step returns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, Self

import numpy as np

from training.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class GameResult:
    """A game that ended, by itself or not."""

    slot: int
    game: int
    """The game's number, which with the vector's seed decides everything random in it."""
    score: float
    """NetHack: the in-game score when the game ended. Atari: the sum of unclipped rewards."""
    length: int
    """Actions taken by the agent."""
    truncated: bool
    """Cut off (step limit, no progress, crash) rather than ended by the game."""
    crashed: bool
    """The process that played it ended; score and length are those of the last whole step."""


@dataclass(frozen=True, kw_only=True)
class Transition:
    """What one step did, one entry a slot. The arrays are overwritten by the next step: copy what must last.

    When a game ends its slot begins the next one within the same step: `terminated`, `truncated` and `reward` speak of
    the game that ended, `fields`, `start` and `game` of the new game's first frame.
    """

    fields: Mapping[str, np.ndarray]
    """The frame: NetHack chars and colors uint8 [count, 24, 80] and cursor uint8 [count, 2] (row, column); Atari pixels
    uint8 [count, 4, 84, 84]."""
    start: np.ndarray
    """bool [count]: the frame is the first of its game."""
    playing: np.ndarray
    """bool [count]: False for a slot left without a game (only where the number of games is fixed)."""
    game: np.ndarray
    """int64 [count]: number of the game that the frame belongs to."""
    reward: np.ndarray
    """float32 [count]."""
    terminated: np.ndarray
    """bool [count]: the game ended by its own rules."""
    truncated: np.ndarray
    """bool [count]: the game was cut off; its last state is not an end."""
    results: tuple[GameResult, ...]
    """The games that ended in this step, by slot."""
    life_lost: np.ndarray | None = None
    """bool [count]: the agent lost a life, or its game ended; None where games have no lives."""
    final: Mapping[int, Mapping[str, np.ndarray]] = field(default_factory=dict)
    """By slot, for a game that was cut off but not by a crash: its last frame, copies of what `fields` would have held
    had the game gone on. What a state is worth that was not an end is asked of this frame. A game that ended by its
    rules has none, nor has one whose process died: ask with `get`."""


class Vector(Protocol):
    """Environments stepped together. `reset` first; then `step`, or `send` and `receive` with other work between."""

    count: int
    actions: int

    def reset(self) -> Transition:
        """Begin from the first games and return their first frames."""
        ...

    def step(self, actions: np.ndarray) -> Transition:
        """Take one action in every slot; entries of slots that play nothing are ignored."""
        ...

    def send(self, actions: np.ndarray) -> None:
        """Begin a step and return at once."""
        ...

    def receive(self) -> Transition:
        """Wait for the step begun by `send`."""
        ...

    def close(self) -> None:
        """Free everything; more than once is harmless."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...


class Deal:
    """Which slot plays which game.

    Endless (`games` None): slot i of n plays games i, i + n, i + 2n, ... Fixed: games 0 .. games-1, each once, the next
    on the list going to the slot that is free first. Every game on the list is played to its end, so that short games
    are not favoured, as they are by taking the first k that finish.
    """

    def __init__(self, count: int, games: int | None = None) -> None:
        if count < 1:
            raise ConfigError(f"A vectorised environment needs at least one slot, got count = {count}.")
        if games is not None and games < 1:
            raise ConfigError(f"At least one game must be played, got {games}.")
        self._games = games
        self._count = count
        self._dealt = np.zeros(count, np.int64)
        self._listed = 0

    def next(self, slot: int) -> int | None:
        """Number of the slot's next game; None when the list is empty."""
        if self._games is None:
            self._dealt[slot] += 1
            return int(slot + self._count * (self._dealt[slot] - 1))
        if self._listed == self._games:
            return None
        self._listed += 1
        return self._listed - 1


def game_seeds(seed: int, game: int, words: int) -> np.ndarray:
    """uint64 [words], each below 2^63, for the environment of one game; the same wherever that game is played."""
    return np.random.SeedSequence(seed, spawn_key=(game, 0)).generate_state(words, np.uint64) >> np.uint64(1)


def noise_of_game(seed: int, game: int) -> np.random.Generator:
    """Random numbers for the choices of whoever plays this game, independent of the game's own."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(game, 1)))


def checked_seed(seed: int) -> int:
    """The seed; raises ConfigError for a negative one, which names no games."""
    if seed < 0:
        raise ConfigError(f"A seed must be 0 or more, got {seed}.")
    return seed


def checked_actions(actions: np.ndarray, count: int, choices: int) -> np.ndarray:
    """Actions as an int64 array [count]; raises ValueError for a wrong shape, type or range."""
    array = np.asarray(actions)
    if array.shape != (count,) or array.dtype.kind not in "iu":
        raise ValueError(f"One action (an integer) a slot is needed: {count}, got {array.dtype} {list(array.shape)}.")
    if array.min() < 0 or array.max() >= choices:
        raise ValueError(f"Actions must be 0 to {choices - 1}, got {array.min()} to {array.max()}.")
    return array.astype(np.int64, copy=False)
