"""Draws for new runs, and the quantiles that summarise them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
QUANTILE_NAMES = ("q05", "q25", "median", "q75", "q95")


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """S draws of a new run at each of P points."""

    params: np.ndarray
    """[P]."""
    samples: np.ndarray
    """[P]."""
    flops: np.ndarray
    """Compute of each run [P]."""
    loss: np.ndarray | None
    """Nats [S, P], None where the table has no losses."""
    returns: np.ndarray | None
    """[S, P], None where the table has no returns."""

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
