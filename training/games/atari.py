"""Atari games stepped together by ale-py's own threads, with the settings of the scaling-laws paper.

Sticky actions (Machado et al., 2018, arXiv 1709.06009) are the only randomness, seeded by the number of the game.
"""

import difflib
import functools
import os
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from ale_py import ALEInterface, LoggerMode, roms
from ale_py.vector_env import AtariVectorEnv

from training.errors import ConfigError
from training.games.vector import Deal, GameResult, Transition, checked_actions, checked_seed, game_seeds

# The emulator's own limit leaves a half-made last frame, so `AtariVector` counts the actions itself.
_NEVER = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class AtariTask:
    """An Atari game and how it is played. Raises ConfigError on construction for one that ale-py does not have."""

    game: str
    """Name in either spelling: NameThisGame or name_this_game."""
    full_actions: bool = False
    """All 18 actions rather than those that do something in the game."""
    sticky: float = 0.25
    """Probability that a frame repeats the action of the frame before."""
    frame_skip: int = 4
    """Emulator frames an action lasts; the last two are merged by their maximum."""
    noops: int = 0
    """Most no-ops at the beginning of a game; sticky actions already make games differ."""
    max_steps: int = 27_000
    """Actions after which a game is cut off: half an hour at 60 frames a second."""

    def __post_init__(self) -> None:
        known = {rom.replace("_", ""): rom for rom in roms.get_all_rom_ids()}
        plain = self.game.replace("_", "").lower()
        if plain not in known:
            close = difflib.get_close_matches(plain, known, 1)
            hint = f"did you mean {known[close[0]]}" if close else f"such as {', '.join(sorted(known.values())[:3])}"
            raise ConfigError(f"ale-py has no Atari game {self.game!r}; {hint}?")
        object.__setattr__(self, "game", known[plain])
        if not 0 <= self.sticky < 1 or self.frame_skip < 1 or self.noops < 0 or self.max_steps < 1:
            raise ConfigError(
                f"An Atari task needs 0 <= sticky < 1, frame_skip and max_steps of 1 or more and noops of 0 or more, "
                f"got {self.sticky}, {self.frame_skip}, {self.max_steps} and {self.noops}."
            )

    @property
    def actions(self) -> int:
        """Number of actions."""
        return 18 if self.full_actions else _minimal_actions(self.game)

    @property
    def step_limit(self) -> int:
        """Actions after which a game is cut off."""
        return self.max_steps


class AtariVector:
    """`count` Atari games stepped by `threads` threads; a `training.games.Vector` with the field pixels.

    Rewards and scores are unclipped, a lost life ends nothing, and no button is pressed but the agent's. Seeded: with
    the same task, seed, count and actions come the same frames, whatever the number of threads. `games` a number plays
    games 0 .. games-1 once each, every one with its own seed, and then leaves slots idle (`playing` False). None plays
    for ever; there a slot's seed is that of its first game, because seeding reloads the cartridge, which takes as long
    as some 200 steps and stops the other slots.
    """

    def __init__(
        self,
        task: AtariTask | str,
        *,
        count: int,
        threads: int | None = None,
        seed: int = 0,
        games: int | None = None,
    ) -> None:
        self.task = AtariTask(game=task) if isinstance(task, str) else task
        self.count = count
        self._seed, self._games = checked_seed(seed), games
        self._deal = Deal(count, games)
        self._env: Any = AtariVectorEnv(
            self.task.game,
            count,
            num_threads=min(os.cpu_count() or 1, count) if threads is None else threads,
            repeat_action_probability=self.task.sticky,
            frameskip=self.task.frame_skip,
            full_action_space=self.task.full_actions,
            noop_max=self.task.noops,
            max_num_frames_per_episode=_NEVER,
            reward_clipping=False,
            use_fire_reset=False,
        )
        self.actions = int(self._env.single_action_space.n)
        self._numbers = np.full(count, -1, np.int64)
        self._playing = np.zeros(count, bool)
        self._scores = np.zeros(count)
        self._lengths = np.zeros(count, np.int64)
        self._lives = np.zeros(count, np.int64)
        self._ready = self._sent = False

    def reset(self) -> Transition:
        """Begin from the first games and return their first frames; games being played are forgotten."""
        self._check_open()
        if self._sent:
            self._env.recv()
        self._sent, self._ready = False, True
        self._deal = Deal(self.count, self._games)
        everyone, nothing = np.ones(self.count, bool), np.zeros(self.count, bool)
        pixels = self._begin(everyone, seeded=True)
        return self._transition(
            pixels, self._playing.copy(), np.zeros(self.count, np.float32), nothing, nothing, nothing, (), {}
        )

    def step(self, actions: np.ndarray) -> Transition:
        """Take one action (integers [count]) in every slot; entries of slots that play nothing are ignored."""
        self.send(actions)
        return self.receive()

    def send(self, actions: np.ndarray) -> None:
        """Begin a step and return at once."""
        self._check_open()
        if self._sent or not self._ready:
            raise RuntimeError("Call reset() before the first send(), and receive() between two.")
        self._env.send(checked_actions(actions, self.count, self.actions))
        self._sent = True

    def receive(self) -> Transition:
        """Wait for the step begun by `send`."""
        self._check_open()
        if not self._sent:
            raise RuntimeError("Call send() before receive().")
        pixels, reward, terminated, _, info = self._env.recv()
        self._sent = False
        reward = np.where(self._playing, reward, 0).astype(np.float32)
        terminated = terminated & self._playing
        self._scores += reward
        self._lengths += self._playing
        life_lost = self._playing & ((info["lives"] < self._lives) | terminated)
        self._lives = info["lives"].copy()
        truncated = self._playing & ~terminated & (self._lengths >= self.task.max_steps)
        ended = terminated | truncated
        results = tuple(self._result(int(slot), bool(truncated[slot])) for slot in np.flatnonzero(ended))
        final = {int(slot): {"pixels": pixels[slot].copy()} for slot in np.flatnonzero(truncated)}
        if results:
            pixels = self._begin(ended, seeded=self._games is not None)
        return self._transition(pixels, ended & self._playing, reward, terminated, truncated, life_lost, results, final)

    def close(self) -> None:
        """Free the emulators; more than once is harmless."""
        self._env = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _begin(self, slots: np.ndarray, *, seeded: bool) -> np.ndarray:
        """Deal the next games to the slots of a mask and return everyone's frame."""
        seeds = np.zeros(self.count, np.int64)
        for slot in np.flatnonzero(slots):
            game = self._deal.next(int(slot))
            self._playing[slot] = game is not None
            if game is not None:
                self._numbers[slot] = game
                seeds[slot] = game_seeds(self._seed, game, 1)[0] >> np.uint64(32)
        self._scores[slots] = self._lengths[slots] = 0
        # The emulator would begin a finished game by itself at its next step; beginning it now takes the place of that.
        seed = seeds[slots] if seeded else None
        pixels, info = self._env.reset(seed=seed, options={"reset_mask": slots})
        self._lives = np.where(slots, info["lives"], self._lives)
        return pixels

    def _result(self, slot: int, truncated: bool) -> GameResult:
        return GameResult(
            slot=slot,
            game=int(self._numbers[slot]),
            score=float(self._scores[slot]),
            length=int(self._lengths[slot]),
            truncated=truncated,
            crashed=False,
        )

    def _transition(self, pixels, start, reward, terminated, truncated, life_lost, results, final) -> Transition:
        return Transition(
            fields={"pixels": pixels},
            start=start,
            playing=self._playing,
            game=self._numbers,
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            results=results,
            final=final,
            life_lost=life_lost,
        )

    def _check_open(self) -> None:
        if self._env is None:
            raise RuntimeError("This AtariVector is closed; make a new one.")


@functools.cache
def _minimal_actions(game: str) -> int:
    ALEInterface.setLoggerMode(LoggerMode.Error)
    emulator = ALEInterface()
    emulator.loadROM(str(roms.get_rom_path(game)))
    return len(emulator.getMinimalActionSet())
