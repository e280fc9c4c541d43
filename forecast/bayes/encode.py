"""From a run table to the arrays of the model: rows set aside, reference points, log distances, padding."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from forecast.bayes.model import Data
from forecast.runs.table import Runs, return_offset

_ROW_BLOCK = 64  # rows are padded to a multiple of this, so that similar tables share a compilation
_NO_GAP = 1e6  # log samples since a checkpoint that does not exist; finite, for its gradient
_NOTHING = 0.01  # a weight below this is 0
_WIDEN = 8  # doublings of a locality, at most
_NEAR = 0.15  # log loss above the running minimum: what counts as near the frontier
_NEAR_RETURN = 0.5  # log return below the running maximum, which is the luckiest seed's
LOCALITIES = ((0.15, 0.7), (0.4, np.inf))
"""Scales of log loss and of factors of ten of compute over which rows count less; the chains take them in turn.

How local a fit should be, its rows cannot say: a law bent to suit them all misses the frontier, and one that sees only
its end knows little. So the posterior is averaged over a narrow and a wide view, and where the two disagree, its
intervals are wide."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The point of a group's frontier around which its law is written.

    Geometric means over the near-frontier rows of the last factor of ten of compute. offset: added to returns before
    the log is taken, 1% of the best return, plus what lifts the lowest to 0. loss (nats): without losses, 1 over the
    return so lifted.
    """

    params: float
    samples: float
    flops: float
    loss: float
    return_offset: float = 0.0

    @property
    def returns(self) -> float:
        """Return at the reference, of a table without losses."""
        return 1 / self.loss - self.return_offset


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """Data for the sampler and what is needed to read its draws: groups in the order of their indices."""

    data: Data
    groups: tuple[str, ...]
    references: Mapping[str, Reference]
    rows: np.ndarray
    """Row numbers of the table in the order of the data (unpadded): sorted, so that row order changes nothing."""
    weights: np.ndarray
    """Powers of the rows' likelihoods for each of `LOCALITIES`, padding 0: [L, n]."""

    def chain_weights(self, chains: int) -> np.ndarray:
        """Weights for each chain [chains, n], the localities in turn."""
        return self.weights[np.arange(chains) % len(self.weights)]


def row_weights(runs: Runs) -> pd.DataFrame:
    """The power of each row's likelihood, by row number and for each of `LOCALITIES`, between 0 and 1.

    A law that holds near the frontier need not hold for transients far from it, nor one that holds at large compute for
    the smallest, and on the bundled tables neither does (benchmarks/LOG.md). A row weighs exp(-r²/2 - t²/2): r is its
    log loss above the best that the same compute bought, t the factors of ten from its compute to the largest, each
    over the scale of the locality. Losses above the best of the group's smallest budget, where its frontier begins,
    weigh nothing. Where less than 10 rows' worth (or half of fewer than 20 rows) or 3 sizes would be left to a group,
    all its losses count and its scales are doubled until enough is left.

    Without losses compute alone decides: seeds of one configuration differ in return by tens of percent, so that the
    rows near the best are the lucky ones, and a law of lucky rows promises too much.
    """
    table = _weighed(runs)
    found = pd.DataFrame(1.0, index=table.index, columns=range(len(LOCALITIES)))
    for _, rows in table.groupby("group"):
        numbers = [rows[c].to_numpy(float) for c in ("loss", "excess", "flops")]
        found.loc[rows.index] = np.stack([view.weigh(*numbers) for view in _views(rows, runs)], axis=1)
    return found


@dataclass(frozen=True, kw_only=True)
class Locality:
    """What one view counts of a group's rows.

    begun: loss (nats, or 1 / shifted return) above which a row is nothing. of_excess: scale of log loss above the
    frontier. of_compute: scale of factors of ten of compute below `flops`, the largest.
    """

    of_excess: float
    of_compute: float
    begun: float
    flops: float

    def weigh(self, loss: np.ndarray, excess: np.ndarray, flops: np.ndarray) -> np.ndarray:
        """Weights between 0 and 1 of rows with this loss, log loss above the frontier, and FLOPs; they broadcast."""
        # Rounded, so that the units of compute cannot change a weight through the last bit.
        behind = np.maximum(np.round(np.log10(self.flops / flops), 9), 0.0)
        weights = np.exp(-0.5 * ((excess / self.of_excess) ** 2 + (behind / self.of_compute) ** 2))
        return np.where((loss <= self.begun) & (weights >= _NOTHING), weights, 0.0)


def localities(runs: Runs, group: str) -> tuple[Locality, ...]:
    """How each of `LOCALITIES` counts rows of a group, widened as `row_weights` says."""
    table = _weighed(runs)
    return tuple(_views(table[table["group"] == group], runs))


def _weighed(runs: Runs) -> pd.DataFrame:
    """The table with what weights are made of."""
    table = runs.table.assign(loss=runs.falling, excess=runs.frontier_excess())
    return table if runs.has_losses else table.assign(excess=0.0)


def _views(rows: pd.DataFrame, runs: Runs) -> list[Locality]:
    loss, excess, flops = (rows[c].to_numpy(float) for c in ("loss", "excess", "flops"))
    sizes = rows["params"].to_numpy()
    begun = _first_loss(rows) * (1 + 1e-9) if runs.has_losses else np.inf
    found = []
    for of_excess, of_compute in LOCALITIES:
        for widen in (1.0, *2.0 ** np.arange(_WIDEN)):
            scales = {"of_excess": of_excess * widen, "of_compute": of_compute * widen}
            view = Locality(**scales, begun=begun, flops=float(flops.max()))
            weights = view.weigh(loss, excess, flops)
            if weights.sum() >= min(10, 0.5 * len(rows)) and np.unique(sizes[weights > 0.1]).size >= 3:
                break
            begun = np.inf
        found.append(view)
    return found


def _first_loss(table: pd.DataFrame) -> float:
    """The best loss of a group's smallest budget, where its frontier begins."""
    return float(table.loc[table["flops"] <= 1.4999999 * table["flops"].min(), "loss"].min())


def set_aside(runs: Runs) -> pd.Series:
    """Why a row takes no part in the fit, by row number; empty if all do."""
    unused = (row_weights(runs) == 0).all(axis=1)
    every = runs.table.assign(loss=runs.falling)
    table = every[unused]
    first = {name: _first_loss(rows) for name, rows in every.groupby("group")}
    early = table["loss"] > table["group"].map(first).astype(float)
    reasons = np.where(
        early,
        "loss above the best of the smallest budget: the frontier begins below it",
        "too far above the best loss that its compute bought to count",
    )
    return pd.Series(reasons, index=table.index, dtype="string")


def encode(
    runs: Runs, *, expert_return: Mapping[str, float] | None = None, start_loss: Mapping[str, float] | None = None
) -> Encoding:
    """Arrays of the model for a table; expert_return and start_loss (nats) by group, where known."""
    weights = row_weights(runs)
    table = runs.table.assign(loss=runs.falling, excess=runs.frontier_excess(), row=runs.table.index)
    if not runs.has_losses and "return_se" in table:
        table["loss_se"] = table["return_se"] * table["loss"] ** 2
    # A run's rows follow each other, in order of samples. Not by flops, whose units could part ties; nor by names of
    # runs of one row, which may be row numbers.
    table["training"] = table["run"].where(table.duplicated(["group", "run"], keep=False), "")
    table = table.sort_values(["group", "training", "params", "samples", "loss"], kind="stable")
    groups = runs.groups
    near = _NEAR if runs.has_losses else _NEAR_RETURN
    references = {name: _reference(table[table["group"] == name], near) for name in groups}
    priors = _priors(table, references, expert_return or {}, start_loss or {})
    table = table[(weights > 0).any(axis=1).reindex(table.index)]
    rows = table["row"].to_numpy()
    data = _data(table.reset_index(drop=True), references, priors)
    padding = (0, 0), (0, len(data.weight) - len(rows))
    return Encoding(
        data=data,
        groups=groups,
        references=references,
        rows=rows,
        weights=np.pad(weights.loc[rows].to_numpy().T, padding),
    )


def _reference(table: pd.DataFrame, near: float) -> Reference:
    top = (table["flops"] >= 0.0999999 * table["flops"].max()) & (table["excess"] < near)
    centre = {c: float(np.exp(np.log(table.loc[top, c]).mean())) for c in ("params", "samples", "flops", "loss")}
    return Reference(**centre, return_offset=return_offset(table))


def _data(table: pd.DataFrame, references: Mapping[str, Reference], priors: Mapping[str, np.ndarray]) -> Data:
    groups = tuple(references)
    n = len(table)
    rows = -(-n // _ROW_BLOCK) * _ROW_BLOCK

    def pad(values: object, fill: float = 0.0) -> np.ndarray:
        return np.concatenate([np.asarray(values, dtype=np.float64), np.full(rows - n, fill)])

    def of_reference(field: str) -> np.ndarray:
        return np.array([getattr(references[g], field) for g in table["group"]])

    def column(name: str) -> np.ndarray:
        return table[name].to_numpy(np.float64) if name in table else np.full(n, np.nan)

    # Rounded, so that the units of params and samples cannot change a draw through the last bit.
    u = np.round(np.log(table["params"].to_numpy() / of_reference("params")), 9)
    v = np.round(np.log(table["samples"].to_numpy() / of_reference("samples")), 9)
    loss = table["loss"].to_numpy()
    offset = of_reference("return_offset")
    returned = np.isfinite(column("return_mean"))
    shifted = np.where(returned, column("return_mean") + offset, 1.0)
    se = column("return_se") / shifted
    return Data(
        u=pad(u),
        v=pad(v),
        log_loss=pad(np.round(np.log(loss), 12)),
        log_loss_se=pad(np.nan_to_num(column("loss_se") / loss)),
        group=pad([groups.index(g) for g in table["group"]]).astype(int),
        gap=pad(_gaps(table), _NO_GAP),
        weight=pad(np.ones(n)),
        log_return=pad(np.log(shifted)),
        return_se=pad(np.nan_to_num(se)),
        episodes=pad(np.where(np.isnan(se), np.nan_to_num(column("episodes")), 0.0)),
        return_weight=pad(returned),
        **priors,
    )


def _priors(
    table: pd.DataFrame,
    references: Mapping[str, Reference],
    expert_return: Mapping[str, float],
    start_loss: Mapping[str, float],
) -> dict[str, np.ndarray]:
    """Centres of priors by group [G]: log losses, and log shifted returns."""
    rows = []
    for name, reference in references.items():
        own = table[table["group"] == name]
        expert = expert_return.get(name)
        level, floor, ceiling = _return_priors(own, reference, expert)
        rows.append(
            {
                "level": np.log(reference.loss),
                "start": np.log(start_loss.get(name, _first_loss(own))),
                "start_known": float(name in start_loss),
                "return_level": level,
                "return_floor": floor,
                "ceiling": ceiling,
                "ceiling_known": float(expert is not None),
            }
        )
    return {field: np.array([row[field] for row in rows]) for field in rows[0]}


def _return_priors(table: pd.DataFrame, reference: Reference, expert: float | None) -> tuple[float, float, float]:
    """Centres of return level, floor and ceiling, log shifted return."""
    if "return_mean" not in table or not table["return_mean"].notna().any():
        return 0.0, 0.0, 0.0
    played = table[table["return_mean"].notna()]
    log_return = np.log(played["return_mean"] + reference.return_offset)
    near = np.abs(np.log(played["loss"] / reference.loss)) < 0.3
    level = log_return[near].median() if near.any() else log_return.max()
    worst = log_return[played["loss"] >= played["loss"].quantile(0.8)].median()
    ceiling = np.log(expert + reference.return_offset) if expert is not None else log_return.max()
    return float(level), float(min(worst, level)), float(ceiling)


def _gaps(table: pd.DataFrame) -> np.ndarray:
    """For each row the log samples since its run's checkpoint, the row before it (1e6: there is none)."""
    log_samples = np.log(table["samples"].to_numpy())
    first = ~table.duplicated(["group", "run"]).to_numpy()
    # Two checkpoints at one number of samples would make the later one certain: a hundredth apart at least.
    gap = np.round(np.maximum(np.diff(log_samples, prepend=log_samples[0]), 0.01), 9)
    return np.where(first, _NO_GAP, gap)
