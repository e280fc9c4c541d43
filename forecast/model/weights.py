"""Weights of rows in a fit."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from forecast.runs.table import Runs

LOCALITIES = ((0.15, 0.7), (0.4, np.inf))
"""Scales of log loss and of factors of ten of compute over which weights decay; the chains take them in turn.

The data cannot determine how fast weights should decay, and the forecast depends on it: a law fitted to all rows misses
the frontier, and one fitted only to the end of the frontier has few rows. The posterior is therefore averaged over a
narrow and a wide view, and its intervals are wide where the two disagree."""
MOST_ROWS = 448
"""Rows of a group that a fit uses; of more, those that are spaced in log samples along their training."""
_LEAST_MOST = 192  # rows of a group, however many groups there are
_LEAST = 0.01  # a smaller weight is set to 0
_WIDEN = 8  # doublings of a locality, at most
NEIGHBOUR = "a checkpoint nearby on the same curve stands for it"
"""Reason why a row of a large table is left out."""


@dataclass(frozen=True, kw_only=True)
class Locality:
    """How one view weighs a group's rows."""

    of_excess: float
    """Scale of log loss above the frontier."""
    of_compute: float
    """Scale of factors of ten of compute below `flops`."""
    begun: float
    """Loss (nats, or 1 / shifted return) above which a row has weight 0."""
    flops: float
    """The largest compute of the group."""

    def weigh(self, loss: np.ndarray, excess: np.ndarray, flops: np.ndarray) -> np.ndarray:
        """Weights of rows, between 0 and 1; the arguments broadcast.

        loss: nats, or 1 / shifted return.
        excess: log loss above the frontier.
        flops: compute of the rows.
        """
        # Rounded, so that the units of compute cannot change a weight through the last bit.
        behind = np.maximum(np.round(np.log10(self.flops / flops), 9), 0.0)
        weights = np.exp(-0.5 * ((excess / self.of_excess) ** 2 + (behind / self.of_compute) ** 2))
        return np.where((loss <= self.begun) & (weights >= _LEAST), weights, 0.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class RowWeights:
    """The weights of a table's rows and what they were computed from."""

    loss: pd.Series
    """What falls with compute, by row number: `Runs.falling`."""
    excess: pd.Series
    """Log loss above the best at the same compute, by row number: `Runs.frontier_excess`."""
    group: pd.Series
    """Group of each row."""
    begun: Mapping[str, float]
    """By group: the best loss of its smallest budget, where its frontier begins."""
    localities: Mapping[str, tuple[Locality, ...]]
    """By group: how each of `LOCALITIES` weighs its rows."""
    weights: pd.DataFrame
    """Power of each row's likelihood, by row number, a column for each of `LOCALITIES`, between 0 and 1."""
    represented: pd.Index
    """Numbers of the rows that have weight 0 because a later row of their training stands for them."""

    @cached_property
    def set_aside(self) -> pd.Series:
        """Reason why a row is left out of the fit, by row number; empty if none is."""
        unused = (self.weights == 0).all(axis=1)
        early = self.loss[unused] > self.group[unused].map(self.begun).astype(float)
        reasons = np.where(
            early,
            "loss above the best loss of the smallest budget, where the frontier begins",
            "loss too far above the best loss at the same compute",
        )
        reasons = pd.Series(reasons, index=self.loss.index[unused], dtype="string")
        reasons[self.represented] = NEIGHBOUR
        return reasons


def weigh_rows(runs: Runs) -> RowWeights:
    """The power of each row's likelihood, for each of `LOCALITIES`.

    A law that holds near the frontier need not hold for transients far from it, nor a law of large compute at small
    compute; on the bundled tables neither holds (benchmarks/LOG.md). A row has weight exp(-r²/2 - t²/2): r is its log
    loss above the best at the same compute, t the factors of ten from its compute to the largest, each over the scale
    of the locality. Losses above the best of the group's smallest budget have weight 0. Where the weights of a group
    would sum to less than 10 (or half its rows, if fewer than 20) or leave fewer than 3 sizes, all its losses count and
    its scales are doubled until enough is left.

    Of the rows that have a weight a group keeps at most `MOST_ROWS` (fewer where there are several groups): a curve of
    thousands of checkpoints tells no more about the law than some tens of them, spaced in log samples.

    Without losses, weights depend on compute alone: seeds of one configuration differ in return by tens of percent, so
    rows near the best are lucky, and a law fitted to lucky rows is too optimistic.
    """
    loss, excess = runs.falling, runs.frontier_excess()
    table = runs.table.assign(loss=loss, excess=excess if runs.has_losses else 0.0)
    weights = pd.DataFrame(1.0, index=table.index, columns=range(len(LOCALITIES)))
    localities, begun = {}, {}
    most = max(MOST_ROWS // table["group"].nunique(), _LEAST_MOST)
    represented = []
    for name, rows in table.groupby("group"):
        begun[name] = _first_loss(rows)
        localities[name] = _localities(rows, begun[name] if runs.has_losses else np.inf)
        columns = [rows[c].to_numpy(float) for c in ("loss", "excess", "flops")]
        weights.loc[rows.index] = np.stack([view.weigh(*columns) for view in localities[name]], axis=1)
        counted = rows[(weights.loc[rows.index] > 0).any(axis=1)]
        curve = counted["run"] if runs.has_trajectories else counted["params"].astype(str)
        spaced = _spaced(np.log(counted["samples"].to_numpy()), pd.factorize(curve, sort=True)[0], most)
        represented.append(counted.index[~spaced])
    stood_for = represented[0].append(represented[1:])
    weights.loc[stood_for] = 0.0
    return RowWeights(
        loss=loss,
        excess=excess,
        group=table["group"],
        begun=begun,
        localities=localities,
        weights=weights,
        represented=stood_for,
    )


def _spaced(log_samples: np.ndarray, curve: np.ndarray, most: int) -> np.ndarray:
    """Whether to keep each row [n]: all, or at most `most` of them, spaced in log samples along their curve.

    The last row of a curve is kept, and the last one before each step back from it. Where there are more curves than
    `most`, evenly spaced ones are kept, in their order.

    curve: number of each row's curve [n].
    """
    if len(curve) <= most:
        return np.ones(len(curve), dtype=bool)
    rows = pd.DataFrame({"curve": curve, "log_samples": log_samples}).sort_values("log_samples", ascending=False)
    behind = rows.groupby("curve")["log_samples"].transform("max") - rows["log_samples"]
    kept = rows["curve"]
    for step in np.geomspace(1e-3, 1e3, 200):
        kept = rows["curve"][~rows.assign(bin=np.floor(behind / step)).duplicated(["curve", "bin"])]
        if len(kept) <= most:
            break
    if len(kept) > most:
        curves = np.unique(curve)
        kept = kept[kept.isin(curves[np.linspace(0, len(curves) - 1, most).astype(int)])]
    return np.isin(np.arange(len(curve)), kept.index)


def _localities(rows: pd.DataFrame, first_loss: float) -> tuple[Locality, ...]:
    """Each of `LOCALITIES` for the rows of a group, widened until enough rows count."""
    loss, excess, flops = (rows[c].to_numpy(float) for c in ("loss", "excess", "flops"))
    sizes = rows["params"].to_numpy()
    begun = first_loss * (1 + 1e-9)
    views = []
    for of_excess, of_compute in LOCALITIES:
        for widen in (1.0, *2.0 ** np.arange(_WIDEN)):
            scales = {"of_excess": of_excess * widen, "of_compute": of_compute * widen}
            view = Locality(**scales, begun=begun, flops=float(flops.max()))
            weights = view.weigh(loss, excess, flops)
            if weights.sum() >= min(10, 0.5 * len(rows)) and np.unique(sizes[weights > 0.1]).size >= 3:
                break
            begun = np.inf
        views.append(view)
    return tuple(views)


def _first_loss(table: pd.DataFrame) -> float:
    """The best loss of a group's smallest budget."""
    return float(table.loc[table["flops"] <= 1.4999999 * table["flops"].min(), "loss"].min())
