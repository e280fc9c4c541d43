"""The frontier that the law predicts beyond a table: the least log loss at each compute, by draw."""

from typing import NamedTuple

import numpy as np

from forecast.runs.reach import FURTHEST

STEPS = np.linspace(0.0, FURTHEST, 25)
"""Factors of ten beyond the table at which it is tabulated."""


class Frontier(NamedTuple):
    """The least log loss of S draws at `STEPS`."""

    log_loss: np.ndarray
    """[S, steps]."""

    def change(self, ahead: np.ndarray) -> np.ndarray:
        """Change of the least log loss since the end of the table, `ahead` [P] factors of ten beyond it: [S, P]."""
        rank = np.clip(np.searchsorted(STEPS, ahead, side="right") - 1, 0, len(STEPS) - 2)
        part = (ahead - STEPS[rank]) / (STEPS[rank + 1] - STEPS[rank])
        return self.log_loss[:, rank] * (1 - part) + self.log_loss[:, rank + 1] * part - self.log_loss[:, :1]
