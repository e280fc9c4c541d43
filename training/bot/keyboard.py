"""The scripted player's hands: keys pressed one an action, and what the game asks on the way answered."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from training.bot.explorer import Explorer
from training.bot.lore import ACTION, ENTER, ESC
from training.bot.screen_reader import Screen

_WAYS_OUT = (ESC, ENTER, " ", "n", "q", "y")


class Keyboard(Explorer):
    """Presses what the first of `BEHAVIOURS` that has something to do asks for."""

    BEHAVIOURS: ClassVar[tuple[Callable[[Any, Screen], str], ...]] = ()
    """Each returns keys to press, or "" to leave the turn to those after it."""

    def __init__(self) -> None:
        super().__init__()
        # Keys still to be pressed: at moves, in answer to questions (part of the question -> key), at the prompt for
        # a line of text, in a menu.
        self._queue: list[str] = []
        self.answers: dict[str, str] = {}
        self.line: list[str] = []
        self.menu: list[str] = []
        self.pushed: int | None = None
        """The square that the move before aimed at."""
        self._asked, self._idle, self._turn = 0, 0, -1  # keys in this prompt, keys in this turn, the turn
        self._heard = ""

    def notice(self, screen: Screen) -> None:
        """Take in what came of the last keys; called before each decision."""

    def act(self, observation: Mapping[str, np.ndarray]) -> int:
        """The action (index into nle.nethack.ACTIONS) for an observation with `screen_reader.OBSERVATION_KEYS`."""
        screen = Screen(observation)
        self._idle = self._idle + 1 if screen.turn == self._turn else 0
        self._turn = screen.turn
        if screen.in_prompt:
            self._heard += screen.message + "  "
            self._asked += 1
            key = self._answer(screen)
        elif self._idle > 20 and self._idle % 6 < 2:
            # Some prompts do not look like one, such as choosing a place; a first escape may only empty their line.
            self._queue = []
            key = ESC
        else:
            self._asked = 0
            key = self._queue.pop(0) if self._queue else self._decide(screen)
        return ACTION[ord(key)]

    def _answer(self, screen: Screen) -> str:
        """The key that answers the game's question, or leaves it."""
        if self._asked > 12:  # nothing below has worked
            self.line, self._queue = [], []
            return _WAYS_OUT[self._asked % len(_WAYS_OUT)]
        if screen.waits:
            if self.menu and "--More--" not in screen.words:
                return self.menu.pop(0)
            return ENTER if self._asked % 4 else ESC
        if screen.asks_line:
            return self.line.pop(0) if self.line else ESC
        if "Really attack" in screen.words and self.target is not None:
            self.level.peaceful.append((screen.glyph(self.target), self.target, screen.turn))
            return ESC
        for question, answer in self.answers.items():
            if question in screen.words:
                return answer
        self._queue = []
        return ESC

    def _decide(self, screen: Screen) -> str:
        """The first key of what to do now; the others follow from the queue."""
        screen.message = self._heard + screen.message  # what was said before a --More-- counts as well
        self._heard = ""
        self.remember(screen)
        self.notice(screen)
        self.pushed, self.target = self.target, None
        self.answers, self.line, self.menu = {}, [], []
        if self._idle <= 40:  # else whatever was tried cannot be done
            for behaviour in self.BEHAVIOURS:
                keys = behaviour(self, screen)
                if keys:
                    self._queue = list(keys[1:])
                    return keys[0]
        return "s"
