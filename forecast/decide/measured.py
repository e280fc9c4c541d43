"""A row of the table that did better than what would be recommended in its place."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from forecast.bayes.prediction import Prediction
from forecast.decide.checks import Limits
from forecast.numbers import count, digits
from forecast.runs.table import distinct_samples

_SPENT = 1.001  # of the budget, up to which a row is within it
_BEYOND = 0.05  # probability that the luckiest of the rows within is taken for better than the forecast


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A row of the table within a budget and limits."""

    row: int
    """Its line in the table."""
    run: str
    """The training that it is a checkpoint of."""
    params: float
    """Model size (parameters)."""
    samples: float
    """Samples seen."""
    unique_samples: float
    """Distinct samples among them."""
    flops: float
    """Compute (FLOPs)."""
    target: str
    """loss or return."""
    value: float
    """Its loss (nats) or mean return, as measured."""

    @property
    def sentence(self) -> str:
        """That it is the answer, and why."""
        return (
            f"This is the run of row {self.row}, which measured a {self.target} of {digits(self.value)} with "
            f"{count(self.params)} parameters on {count(self.samples)} samples: better than any size within the limits "
            "is expected to do."
        )


def better_row(
    table: pd.DataFrame, flops: float, limits: Limits, objective: str, predicted: Prediction
) -> Measured | None:
    """The best row of a group within budget and limits, if it did better than the luckiest of so many runs would.

    Else it may be lucky, and is no better advice than the forecast.

    predicted: what the recommended run would do, of one point.
    """
    distinct = distinct_samples(table)
    within = table["flops"] <= _SPENT * flops
    for column, most in {"params": limits.max_params, "samples": limits.max_samples}.items():
        within &= table[column] <= (np.inf if most is None else most)
    within &= distinct <= (np.inf if limits.unique_samples is None else limits.unique_samples)
    column, sign = ("return_mean", -1.0) if objective == "return" else ("loss", 1.0)
    draws = predicted.returns if objective == "return" else predicted.loss
    assert draws is not None
    value = (sign * table[column])[within].dropna()
    if value.empty or value.min() >= np.quantile(sign * draws[:, 0], _BEYOND / len(value)):
        return None
    best = table.loc[value.idxmin()]
    return Measured(
        row=int(value.idxmin()),
        run=str(best["run"]),
        unique_samples=float(distinct[value.idxmin()]),
        target=objective,
        value=float(best[column]),
        **{name: float(best[name]) for name in ("params", "samples", "flops")},
    )
