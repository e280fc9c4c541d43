"""A game for learners, in minutes: see a letter, remember it over dark frames, press its key."""

from typing import Self

import numpy as np

from training.games.vector import Deal, GameResult, Transition, checked_actions, game_seeds


class MemoryGame:
    """`count` games; a `training.games.Vector` whose frames are NetHack screens.

    The first frame of a game shows one of two letters at the cursor, then come `dark` empty frames, then a question
    mark: the key of the letter, 0 or 1, brings 1 point, any other none. Chance brings `1 / actions`. With `cut` a game
    is cut off before its question.
    """

    def __init__(self, count: int, *, actions: int = 4, seed: int = 0, dark: int = 3, cut: bool = False) -> None:
        self.count, self.actions = count, actions
        self._deal, self._seed, self._dark, self._last = Deal(count), seed, dark, dark if cut else dark + 1
        self._cut = cut

    def reset(self) -> Transition:
        self._number, self._age = np.full(self.count, -1, np.int64), np.zeros(self.count, np.int64)
        self._letter, self._score = np.zeros(self.count, np.int64), np.zeros(self.count)
        self._begin(np.arange(self.count))
        nothing = np.zeros(self.count, bool)
        return self._shown(np.zeros(self.count, np.float32), nothing, nothing, (), {})

    def step(self, actions: np.ndarray) -> Transition:
        self.send(actions)
        return self.receive()

    def send(self, actions: np.ndarray) -> None:
        self._actions = checked_actions(actions, self.count, self.actions)

    def receive(self) -> Transition:
        asked = self._age == self._dark + 1
        reward = (asked & (self._actions == self._letter)).astype(np.float32)
        self._score += reward
        ended = self._age == self._last
        results = tuple(
            GameResult(
                slot=int(slot), game=int(self._number[slot]), score=float(self._score[slot]),
                length=int(self._age[slot]) + 1, truncated=self._cut, crashed=False,
            )
            for slot in np.flatnonzero(ended)
        )  # fmt: skip
        self._age += 1
        screens = self._screens()
        final = (
            {int(s): {k: v[s].copy() for k, v in screens.items()} for s in np.flatnonzero(ended)} if self._cut else {}
        )
        self._begin(np.flatnonzero(ended))
        return self._shown(reward, ended & (not self._cut), ended & self._cut, results, final)

    def close(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def _begin(self, slots: np.ndarray) -> None:
        for slot in slots.tolist():
            self._number[slot] = self._deal.next(slot)
            self._letter[slot] = game_seeds(self._seed, int(self._number[slot]), 1)[0] % 2
        self._age[slots] = self._score[slots] = 0

    def _screens(self) -> dict[str, np.ndarray]:
        chars = np.full((self.count, 24, 80), ord(" "), np.uint8)
        shown = np.select(
            [self._age == 0, self._age == self._dark + 1],
            [np.where(self._letter == 0, ord("A"), ord("B")), ord("?")],
            ord("."),
        )
        chars[:, 8:13, 38:43] = shown[:, None, None]
        colors = np.where(chars == ord(" "), 0, 7).astype(np.uint8)
        return {"chars": chars, "colors": colors, "cursor": np.tile(np.array([10, 40], np.uint8), (self.count, 1))}

    def _shown(self, reward, terminated, truncated, results, final) -> Transition:
        return Transition(
            fields=self._screens(), start=self._age == 0, playing=np.ones(self.count, bool), game=self._number.copy(),
            reward=reward, terminated=terminated, truncated=truncated, results=results, final=final,
        )  # fmt: skip
