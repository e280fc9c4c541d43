"""Draws for new runs, and the quantiles that summarise them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from forecast.numbers import count, digits
from forecast.shown import html_frame

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
QUANTILE_NAMES = ("q05", "q25", "median", "q75", "q95")
_SHOWN = 5  # points that its text lists


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

    def __repr__(self) -> str:
        spread = {
            name: [f"{digits(m)} ({digits(low)} to {digits(high)})" for low, m, high in quantiles.T]
            for name, draws in (("loss", self.loss), ("return", self.returns))
            if draws is not None
            for quantiles in [np.quantile(draws[:, :_SHOWN], (0.05, 0.5, 0.95), axis=0)]
        }
        lines = [f"{self._title}, the median with its 90% interval:"]
        for i, (params, samples) in enumerate(zip(self.params[:_SHOWN], self.samples, strict=False)):
            what = ", ".join(f"{name} {texts[i]}" for name, texts in spread.items())
            lines.append(f"- {count(params)} parameters, {count(samples)} samples: {what}")
        lines += [f"- and {len(self.params) - _SHOWN} more"] if len(self.params) > _SHOWN else []
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """The table."""
        return html_frame(self._title, self.table())

    @property
    def _title(self) -> str:
        return f"Prediction of {len(self.params):,} new runs" if len(self.params) > 1 else "Prediction of a new run"

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
