"""The size of least loss on a budget, as the rows of a table show it, with its own error."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

_SIZES = 4  # sizes that a profile needs
_NEAR = 0.1  # log loss above the least of a profile up to which it is taken for a parabola
_DRAWS = 400
_CONVEX = 0.9  # share of perturbed profiles that must have a least size for it to count as known
_LEAST_NOISE = 1e-3  # of log loss: losses are not known to more


class Profile(NamedTuple):
    """Losses of the sizes of a table on one budget, read between their checkpoints."""

    flops: float
    """The budget."""
    log_params: np.ndarray
    """Log of the sizes, ascending [P]."""
    log_loss: np.ndarray
    """[P]."""


class Optimum(NamedTuple):
    """The size of least loss on a budget."""

    log_params: float
    """Log of the size at the vertex of the profile; NaN where the profile has none inside its sizes."""
    sd: float
    """Its standard error, from the scatter of the losses around their parabolas."""


def profiles(table: pd.DataFrame, budgets: np.ndarray) -> list[Profile | None]:
    """The profile of each budget (FLOPs), None where fewer than four sizes reach it.

    table: `params`, `flops` and `loss` of one group; rows of one size and compute are averaged.
    """
    means = table.groupby(["params", "flops"], as_index=False)["loss"].mean()
    sizes = np.unique(means["params"])
    curves = [(n, *means.loc[means["params"] == n, ["flops", "loss"]].to_numpy(float).T) for n in sizes]
    found: list[Profile | None] = []
    for budget in budgets:
        profile = [
            (np.log(size), np.interp(np.log(budget), np.log(flops), np.log(loss)))
            for size, flops, loss in curves
            if flops[0] <= budget * (1 + 1e-9) and budget <= flops[-1] * (1 + 1e-9)
        ]
        points = np.array(sorted(profile)).T
        found.append(Profile(float(budget), *points) if len(profile) >= _SIZES else None)
    return found


def optima(found: Sequence[Profile | None], seed: int = 0) -> list[Optimum]:
    """The vertex of each profile and its standard error.

    A parabola goes through the sizes near the least loss. The noise of the losses is what is left of all profiles
    around their parabolas; each profile is drawn again with it to see how far its vertex moves.
    """
    near = [None if p is None else _near(p) for p in found]
    noise = _noise([p for p in near if p is not None])
    return [_vertex(p, noise, seed) for p in near]


def _near(profile: Profile) -> Profile | None:
    """The sizes around the least loss; None where it is at an end."""
    least = int(np.argmin(profile.log_loss))
    if not 0 < least < len(profile.log_loss) - 1:
        return None
    inside = profile.log_loss - profile.log_loss[least] < _NEAR
    first, last = least - 1, least + 2
    while first > 0 and (inside[first - 1] or last - first < _SIZES):
        first -= 1
    while last < len(inside) and (inside[last] or last - first < _SIZES):
        last += 1
    return Profile(profile.flops, profile.log_params[first:last], profile.log_loss[first:last])


def _noise(near: list[Profile]) -> float:
    """Scatter of log losses around the parabolas of all profiles together."""
    squares, freedom = 0.0, 0
    for profile in near:
        x = profile.log_params - profile.log_params.mean()
        left = profile.log_loss - np.polyval(np.polyfit(x, profile.log_loss, 2), x)
        squares, freedom = squares + left @ left, freedom + len(x) - 3
    return max(float(np.sqrt(squares / freedom)) if freedom > 0 else 0.0, _LEAST_NOISE)


def _vertex(profile: Profile | None, noise: float, seed: int) -> Optimum:
    unknown = Optimum(np.nan, np.nan)
    if profile is None:
        return unknown
    centre = profile.log_params.mean()
    x = profile.log_params - centre
    drawn = np.random.default_rng(seed).standard_normal((_DRAWS, len(x))) * noise
    curvature, slope, _ = np.polyfit(x, np.vstack([profile.log_loss, profile.log_loss + drawn]).T, 2)
    convex = curvature > 0
    if not convex[0] or convex[1:].mean() < _CONVEX:
        return unknown
    at = np.clip(-slope[convex] / (2 * curvature[convex]), x[0], x[-1])
    if not x[1] <= at[0] <= x[-2]:  # two sizes on each side, or a profile cut off there decides where it lies
        return unknown
    return Optimum(float(at[0] + centre), float(np.std(at[1:])))
