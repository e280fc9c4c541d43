"""The four numbers of a run that the classical methods use, checked once."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecast.classical.result import FloatArray
from forecast.errors import FitError, ForecastError
from forecast.runs.table import Runs


@dataclass(frozen=True, kw_only=True, eq=False)
class Columns:
    """Columns of one run table, each of shape (rows,).

    params (parameters N), samples (D), flops (training compute C) and loss (nats) are finite and positive. `run` names
    the trajectory of each row, or is None when every row is its own training.

    Raises ForecastError for columns of other shapes, and FitError for a value that is not finite and positive, with its
    column and row (counted from 0).
    """

    params: FloatArray
    samples: FloatArray
    flops: FloatArray
    loss: FloatArray
    run: NDArray[np.object_] | None = None

    def __post_init__(self) -> None:
        rows = np.shape(self.loss)
        for name in ("params", "samples", "flops", "loss"):
            values = np.asarray(getattr(self, name), dtype=np.float64)
            if values.ndim != 1 or values.shape != rows:
                raise ForecastError(
                    f"column {name} has shape {values.shape} where loss has {rows}; "
                    "pass one-dimensional columns of one length."
                )
            bad = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
            if bad.size:
                raise FitError(
                    f"column {name} holds {values[bad[0]]:g} in row {bad[0]} (and {bad.size - 1} more such rows); "
                    "classical fits take logarithms, so drop the rows without a finite positive value."
                )
            object.__setattr__(self, name, values)
        if self.run is not None:
            run = np.asarray(self.run, dtype=object)
            if run.shape != rows:
                raise ForecastError(
                    f"column run has shape {run.shape} where loss has {rows}; name the run of every row."
                )
            object.__setattr__(self, "run", run)


def columns(runs: Runs | Columns) -> Columns:
    """The columns of a run table that holds exactly one group.

    Raises ForecastError when the table holds several groups (games, say), which no classical method can pool.
    """
    if isinstance(runs, Columns):
        return runs
    table = runs.table
    groups = table["group"].unique()
    if len(groups) != 1:
        raise ForecastError(
            f"the table holds {len(groups)} groups ({', '.join(map(str, groups[:5]))}); "
            "classical methods fit one at a time, so select one group first."
        )
    numbers = {name: table[name].to_numpy(np.float64) for name in ("params", "samples", "flops", "loss")}
    return Columns(**numbers, run=table["run"].to_numpy(object))
