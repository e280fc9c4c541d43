"""From a run table to the arrays of the model: rows set aside, reference points, log distances, padding."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from forecast.model import Data
from forecast.runs import Runs

_ROW_BLOCK = 64  # rows are padded to a multiple of this, so that similar tables share a compilation
_NO_GAP = 1e6  # log samples since a checkpoint that does not exist; finite, for its gradient
_FAR = 0.5  # log loss above the running minimum: what the frontier cannot learn from
_NEAR = 0.15  # log loss above the running minimum: what counts as near the frontier


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The point of a group's frontier around which its law is written.

    Geometric means over the near-frontier rows of the last factor of ten of compute. offset: added to returns before
    the log is taken, 1% of the best return, plus what lifts the lowest to 0.
    """

    params: float
    samples: float
    flops: float
    loss: float
    return_offset: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """Data for the sampler and what is needed to read its draws: groups in the order of their indices."""

    data: Data
    groups: tuple[str, ...]
    references: Mapping[str, Reference]
    rows: np.ndarray
    """Row numbers of the table in the order of the data (unpadded): sorted, so that row order changes nothing."""


def set_aside(runs: Runs) -> pd.Series:
    """Why a row takes no part in the fit, by row number; empty if all do.

    A law that holds near the frontier need not hold for transients far from it, and on the bundled tables does not:
    with them in the likelihood, forecasts were worse and no less sure (benchmarks/LOG.md). Two kinds are left out:
    losses above the best of the group's smallest budget, where the frontier begins, and losses over exp(0.5) times the
    best that the same compute bought. A group that would keep fewer than 3 sizes or 10 rows keeps all of them.
    """
    table, excess = runs.table, runs.frontier_excess()
    reasons = pd.Series(index=table.index, dtype="string")
    for _, rows in table.groupby("group"):
        first = rows.loc[rows["flops"] <= 1.4999999 * rows["flops"].min(), "loss"].min()
        early, far = rows["loss"] > first * (1 + 1e-9), excess[rows.index] > _FAR
        kept = rows[~(early | far)]
        if kept["params"].nunique() < 3 or len(kept) < 10:
            continue
        reasons[rows.index[far]] = f"loss over {np.exp(_FAR):.2f} times the best that the same compute bought"
        reasons[rows.index[early]] = "loss above the best of the smallest budget: the frontier begins below it"
    return reasons.dropna()


def encode(
    runs: Runs, *, expert_return: Mapping[str, float] | None = None, start_loss: Mapping[str, float] | None = None
) -> Encoding:
    """Arrays of the model for a table; expert_return and start_loss (nats) by group, where known."""
    table = runs.table.assign(excess=runs.frontier_excess(), row=runs.table.index)
    # A run's rows follow each other, in order of samples. Not by flops, whose units could part ties; nor by names of
    # runs of one row, which may be row numbers.
    training = table["run"].where(table.duplicated(["group", "run"], keep=False), "")
    keys = ["group", "training", "params", "samples", "loss"]
    table = table.assign(training=training).sort_values(keys, kind="stable").reset_index(drop=True)
    groups = runs.groups
    references = {name: _reference(table[table["group"] == name]) for name in groups}
    return Encoding(
        data=_data(table, references, expert_return or {}, start_loss or {}),
        groups=groups,
        references=references,
        rows=table["row"].to_numpy(),
    )


def _reference(table: pd.DataFrame) -> Reference:
    top = (table["flops"] >= 0.0999999 * table["flops"].max()) & (table["excess"] < _NEAR)
    offset = 0.0
    if "return_mean" in table and table["return_mean"].notna().any():
        returns = table["return_mean"].dropna()
        low = min(0.0, float(returns.min()))
        offset = 0.01 * max(float(returns.max()) - low, 1e-9) - low
    centre = {c: float(np.exp(np.log(table.loc[top, c]).mean())) for c in ("params", "samples", "flops", "loss")}
    return Reference(**centre, return_offset=offset)


def _data(
    table: pd.DataFrame,
    references: Mapping[str, Reference],
    expert_return: Mapping[str, float],
    start_loss: Mapping[str, float],
) -> Data:
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
    priors = [_priors(table[table["group"] == g], references[g], expert_return.get(g)) for g in groups]
    level = np.array([np.log(references[g].loss) for g in groups])
    highest = [np.log(table.loc[table["group"] == g, "loss"].max()) for g in groups]
    start = [np.log(start_loss[g]) if g in start_loss else h for g, h in zip(groups, highest, strict=True)]
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
        level=level,
        start=np.array(start),
        return_level=np.array([p[0] for p in priors]),
        return_floor=np.array([p[1] for p in priors]),
        ceiling=np.array([p[2] for p in priors]),
        ceiling_known=np.array([float(expert_return.get(g) is not None) for g in groups]),
    )


def _priors(table: pd.DataFrame, reference: Reference, expert: float | None) -> tuple[float, float, float]:
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
