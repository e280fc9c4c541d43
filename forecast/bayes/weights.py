"""Which rows count in a fit, and how much."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from forecast.runs.table import Runs

LOCALITIES = ((0.15, 0.7), (0.4, np.inf))
"""Scales of log loss and of factors of ten of compute over which rows count less; the chains take them in turn.

The rows cannot determine how local a fit should be: a law bent to suit them all misses the frontier, and one that sees
only its end knows little. So the posterior is averaged over a narrow and a wide view, and where the two disagree, its
intervals are wide."""
_NOTHING = 0.01  # a weight below this is 0
_WIDEN = 8  # doublings of a locality, at most


@dataclass(frozen=True, kw_only=True)
class Locality:
    """What one view counts of a group's rows."""

    of_excess: float
    """Scale of log loss above the frontier."""
    of_compute: float
    """Scale of factors of ten of compute below `flops`."""
    begun: float
    """Loss (nats, or 1 / shifted return) above which a row weighs nothing."""
    flops: float
    """The largest compute of the group."""

    def weigh(self, loss: np.ndarray, excess: np.ndarray, flops: np.ndarray) -> np.ndarray:
        """Weights between 0 and 1 of rows with this loss, log loss above the frontier, and FLOPs; they broadcast."""
        # Rounded, so that the units of compute cannot change a weight through the last bit.
        behind = np.maximum(np.round(np.log10(self.flops / flops), 9), 0.0)
        weights = np.exp(-0.5 * ((excess / self.of_excess) ** 2 + (behind / self.of_compute) ** 2))
        return np.where((loss <= self.begun) & (weights >= _NOTHING), weights, 0.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class RowWeights:
    """The weights of a table's rows and what they were made of, computed once for each table."""

    loss: pd.Series
    """What compute brings down, by row number: `Runs.falling`."""
    excess: pd.Series
    """Log loss above the best that the same compute bought, by row number: `Runs.frontier_excess`."""
    group: pd.Series
    """Group of each row."""
    begun: Mapping[str, float]
    """By group: the best loss of its smallest budget, where its frontier begins."""
    localities: Mapping[str, tuple[Locality, ...]]
    """By group: how each of `LOCALITIES` counts its rows."""
    weights: pd.DataFrame
    """Power of each row's likelihood, by row number, a column for each of `LOCALITIES`, between 0 and 1."""

    @cached_property
    def set_aside(self) -> pd.Series:
        """Why a row takes no part in the fit, by row number; empty if all do."""
        unused = (self.weights == 0).all(axis=1)
        early = self.loss[unused] > self.group[unused].map(self.begun).astype(float)
        reasons = np.where(
            early,
            "loss above the best of the smallest budget: the frontier begins below it",
            "too far above the best loss that its compute bought to count",
        )
        return pd.Series(reasons, index=self.loss.index[unused], dtype="string")


def weigh_rows(runs: Runs) -> RowWeights:
    """The power of each row's likelihood, for each of `LOCALITIES`.

    A law that holds near the frontier need not hold for transients far from it, nor one that holds at large compute for
    the smallest, and on the bundled tables neither does (benchmarks/LOG.md). A row weighs exp(-r²/2 - t²/2): r is its
    log loss above the best that the same compute bought, t the factors of ten from its compute to the largest, each
    over the scale of the locality. Losses above the best of the group's smallest budget weigh nothing. Where less than
    10 rows' worth (or half of fewer than 20 rows) or 3 sizes would be left to a group, all its losses count and its
    scales are doubled until enough is left.

    Without losses compute alone decides: seeds of one configuration differ in return by tens of percent, so that the
    rows near the best are the lucky ones, and a law of lucky rows promises too much.
    """
    loss, excess = runs.falling, runs.frontier_excess()
    table = runs.table.assign(loss=loss, excess=excess if runs.has_losses else 0.0)
    weights = pd.DataFrame(1.0, index=table.index, columns=range(len(LOCALITIES)))
    localities, begun = {}, {}
    for name, rows in table.groupby("group"):
        begun[name] = _first_loss(rows)
        localities[name] = _localities(rows, begun[name] if runs.has_losses else np.inf)
        columns = [rows[c].to_numpy(float) for c in ("loss", "excess", "flops")]
        weights.loc[rows.index] = np.stack([view.weigh(*columns) for view in localities[name]], axis=1)
    return RowWeights(
        loss=loss, excess=excess, group=table["group"], begun=begun, localities=localities, weights=weights
    )


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
