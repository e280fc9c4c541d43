"""The frontier that the law predicts beyond a table: the least log loss at each compute, by draw."""

from collections.abc import Callable

import numpy as np

from forecast.runs.reach import FURTHEST

STEPS = np.linspace(0.0, FURTHEST, 25)
"""Factors of ten beyond the table at which it is tabulated."""


class Frontier:
    """The least log loss of S draws, sought at those of `STEPS` that are asked for, once each.

    least: factors of ten beyond the table -> least log loss [S].
    """

    def __init__(self, least: Callable[[float], np.ndarray]) -> None:
        self._least = least
        self._at: dict[int, np.ndarray] = {}

    def change(self, ahead: np.ndarray) -> np.ndarray:
        """Change of the least log loss since the end of the table, `ahead` [P] factors of ten beyond it: [S, P]."""
        rank = np.clip(np.searchsorted(STEPS, ahead, side="right") - 1, 0, len(STEPS) - 2)
        part = (ahead - STEPS[rank]) / (STEPS[rank + 1] - STEPS[rank])
        return self._log_loss(rank) * (1 - part) + self._log_loss(rank + 1) * part - self._log_loss(np.zeros(1, int))

    def _log_loss(self, steps: np.ndarray) -> np.ndarray:
        """At steps of these numbers [P]: [S, P]."""
        for step in set(steps.tolist()) - self._at.keys():
            self._at[step] = self._least(float(STEPS[step]))
        return np.stack([self._at[step] for step in steps.tolist()], axis=1)
