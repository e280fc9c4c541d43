"""Bootstrap of the parametric laws, by trajectory."""

from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from forecast.classical.columns import Columns, columns
from forecast.classical.parametric import ParametricLaw
from forecast.classical.result import FloatArray
from forecast.errors import FitError, ForecastError
from forecast.runs.table import Runs


class ParametricFitter(Protocol):
    """`huber_lse`, `varpro`, or one of them with options bound by functools.partial."""

    def __call__(
        self,
        params: FloatArray,
        samples: FloatArray,
        flops: FloatArray,
        loss: FloatArray,
        /,
        *,
        weights: FloatArray | None = None,
        warm: ParametricLaw | None = None,
    ) -> ParametricLaw:
        """Fit weighted rows, starting from `warm` when given."""
        ...


def bootstrap(fit_fn: ParametricFitter, runs: Runs | Columns, *, replicates: int = 200, seed: int = 0) -> ParametricLaw:
    """Fit all rows, then `replicates` resamples, and return the full fit carrying the resampled laws as `draws`.

    Whole trajectories are drawn with replacement when some run has several rows, since errors within one training are
    correlated; otherwise rows are. A resample enters as row weights, and each refit starts from the full fit beside a
    few grid starts. Resamples that cannot determine the law (too few sizes) are drawn again.

    Raises FitError when the table has a single trajectory, or more than half of all resamples are unusable, and
    ForecastError for fewer than two replicates.
    """
    if replicates < 2:
        raise ForecastError(f"a bootstrap needs at least 2 replicates, got {replicates}; 200 is usual.")
    table = columns(runs)
    arrays = table.params, table.samples, table.flops, table.loss
    full = fit_fn(*arrays)
    unit = _units(table)
    count = int(unit.max()) + 1
    if count < 2:
        raise FitError("the table has one trajectory, which cannot be resampled; add runs.")
    rng = np.random.default_rng(seed)
    draws: list[FloatArray] = []
    failed = 0
    while len(draws) < replicates:
        weights = rng.multinomial(count, np.full(count, 1 / count))[unit].astype(np.float64)
        try:
            draws.append(fit_fn(*arrays, weights=weights, warm=full).theta)
        except FitError as error:
            failed += 1
            if failed > replicates:
                raise FitError(f"more than half of the resamples could not be fitted; add runs ({error})") from error
    return replace(full, draws=np.stack(draws))


def _units(table: Columns) -> NDArray[np.intp]:
    """The resampling unit of each row, numbered from 0."""
    if table.run is None:
        return np.arange(table.loss.size)
    return np.unique(table.run.astype(str), return_inverse=True)[1]
