"""How far beyond a table a question lies, and how far is too far to answer."""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from forecast.errors import ForecastError
from forecast.numbers import count, plain, scientific

CHECKED = 2.0
"""Factors of ten of compute beyond a table to which forecasts have been checked (`benchmarks/public.py`)."""
CHECKED_SIZES = 5.0
"""How many times larger than a table's largest size the best size was where forecasts have been checked."""
FURTHEST = 6.0
"""Factors of ten outside a table, at which forecasts stop."""


def beyond(ahead: float) -> str:
    """How far compute lies beyond a table, in words. ahead: in factors of ten."""
    return (
        f"{plain(10**ahead)} times the largest compute of the table"
        if ahead > 0.02
        else "within the compute of the table"
    )


def outside(params: ArrayLike, table: pd.DataFrame) -> float:
    """How many times the largest of these sizes (parameters) is larger than a table's largest; 1 for none.

    table: rows of one group.
    """
    return max(float(np.max(params)) / float(table["params"].max()), 1.0)


def check_reach(table: pd.DataFrame, source: str, **points: ArrayLike) -> None:
    """Raise ForecastError for a value too far outside its column: a million times, ten million for sizes and samples.

    table: rows of one group. source: its name. points: by column (params, samples, unique_samples, flops,
    target_flops), positive numbers [P].
    """
    for name, values in points.items():
        column = name.removeprefix("target_").removeprefix("unique_")
        written, furthest = (scientific, FURTHEST) if column == "flops" else (count, FURTHEST + 1)
        low, high = float(table[column].min()), float(table[column].max())
        given = np.atleast_1d(np.asarray(values, float))
        far = given[(given > high * 10 ** (furthest + 0.01)) | (given < low / 10 ** (furthest + 0.01))]
        if far.size:
            raise ForecastError(
                f"{name} is {written(float(far[0]))}, and {source} reaches from {written(low)} to {written(high)}: "
                f"forecasts stop {10**furthest:,.0f} times outside the table; check the unit, or ask for less."
            )
