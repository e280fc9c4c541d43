"""Draws for new runs, and the quantiles by which they are shown."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
QUANTILE_NAMES = ("q05", "q25", "median", "q75", "q95")


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """Draws for P points: params, samples, flops [P]; loss (nats) and returns [S, P], None where the table has none."""

    params: np.ndarray
    samples: np.ndarray
    flops: np.ndarray
    loss: np.ndarray | None
    returns: np.ndarray | None

    def table(self) -> pd.DataFrame:
        """One row a point and target: target, params, samples, q05, q25, median, q75, q95."""
        frames = []
        for target, draws in (("loss", self.loss), ("return", self.returns)):
            if draws is None:
                continue
            q = np.quantile(draws, QUANTILES, axis=0)
            points = {"target": target, "params": self.params, "samples": self.samples}
            frames.append(pd.DataFrame({**points, **dict(zip(QUANTILE_NAMES, q, strict=True))}))
        return pd.concat(frames, ignore_index=True)
