"""The continuous ranked probability score of a forecast known by its quantiles.

A proper score: no forecast does better in expectation than the one that is believed (Gneiting and Raftery, 2007,
Journal of the American Statistical Association 102, 359-378).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

LEVELS = np.linspace(0.005, 0.995, 199)
"""Levels over which the pinball loss is averaged."""


def crps_at_levels(quantiles: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """CRPS [P] of values [P] under forecasts known at `LEVELS` [199, P], in the units of the values.

    Twice the pinball loss averaged over the levels (Gneiting and Ranjan, 2011, Journal of Business and Economic
    Statistics 29, 411-422).
    """
    levels = LEVELS[:, None]
    error = values - quantiles
    return 2 * np.maximum(levels * error, (levels - 1) * error).mean(axis=0)


def crps(levels: ArrayLike, quantiles: ArrayLike, value: float) -> float:
    """CRPS of one value under a forecast known at some levels, in the units of the value.

    Between the levels known, and beyond them, quantiles are linear in the normal score of the level, which is exact for
    a normal forecast.
    """
    z, q = ndtri(np.asarray(levels, float)), np.asarray(quantiles, float)
    at = ndtri(LEVELS)
    interpolated = np.interp(at, z, q)
    for end, slope in ((at < z[0], (q[1] - q[0]) / (z[1] - z[0])), (at > z[-1], (q[-1] - q[-2]) / (z[-1] - z[-2]))):
        edge = 0 if end[0] else -1
        interpolated = np.where(end, q[edge] + slope * (at - z[edge]), interpolated)
    error = value - interpolated
    return float(2 * np.maximum(LEVELS * error, (LEVELS - 1) * error).mean())
