"""From a run table to the arrays of the model: rows set aside, reference points, log distances, padding."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from forecast.model.data import Data
from forecast.model.laws import log_worth
from forecast.model.priors import REPEATS
from forecast.model.weights import RowWeights, weigh_rows
from forecast.runs.table import Runs, distinct_samples, return_offset

_ROW_BLOCK = 64  # rows are padded to a multiple of this, so that similar tables share a compilation
_NO_GAP = 1e6  # log samples since a checkpoint that does not exist; finite, for its gradient
_NEAR = 0.15  # log loss above the running minimum, up to which a row is near the frontier
_NEAR_RETURN = 0.5  # log return below the running maximum, wider because that is of the luckiest seed


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The point of a group's frontier around which its law is written.

    Geometric means over the near-frontier rows of the last factor of ten of compute; samples seen again count as what
    they are worth by the prior.
    """

    params: float
    """N0."""
    samples: float
    """D0."""
    flops: float
    """Compute."""
    loss: float
    """Nats; without losses, 1 / (return + return_offset)."""
    return_offset: float = 0.0
    """Added to returns before their log: 1% of the best return, plus what raises the lowest to 0."""

    @property
    def returns(self) -> float:
        """Return at the reference, of a table without losses."""
        return 1 / self.loss - self.return_offset


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """Data for the sampler, and what is needed to interpret its draws."""

    data: Data
    """The arrays."""
    groups: tuple[str, ...]
    """Names of the groups, in the order of their indices."""
    references: Mapping[str, Reference]
    """Reference point of each group."""
    rows: np.ndarray
    """Row numbers of the table in the order of the data (unpadded): sorted, so that row order changes nothing."""
    weights: np.ndarray
    """Powers of the rows' likelihoods for each of `LOCALITIES`, padding 0: [L, n]."""
    row_weights: RowWeights
    """The same by row number of the table, including rows of weight 0."""

    @property
    def repeats(self) -> bool:
        """Whether a row that counts saw samples again."""
        return bool(np.any(np.asarray(self.data.passes) > 0))

    def chain_weights(self, chains: int) -> np.ndarray:
        """Weights for each chain [chains, n]; the chains take the localities in turn."""
        return self.weights[np.arange(chains) % len(self.weights)]


def encode(
    runs: Runs,
    *,
    expert_return: Mapping[str, float] | None = None,
    expert_loss: Mapping[str, float] | None = None,
    start_loss: Mapping[str, float] | None = None,
) -> Encoding:
    """Arrays of the model for a table.

    expert_return, expert_loss (nats), start_loss (nats): by group, where known.
    """
    weighed = weigh_rows(runs)
    table = runs.table.assign(loss=weighed.loss, excess=weighed.excess, row=runs.table.index)
    if not runs.has_losses and "return_se" in table:
        table["loss_se"] = table["return_se"] * table["loss"] ** 2
    # Rows of a run are adjacent, in order of samples. Not by flops, whose units could separate ties; nor by names of
    # runs of one row, which may be row numbers.
    table["training"] = table["run"].where(table.duplicated(["group", "run"], keep=False), "")
    table = table.sort_values(["group", "training", "params", "samples", "loss"], kind="stable")
    groups = runs.groups
    near = _NEAR if runs.has_losses else _NEAR_RETURN
    references = {name: _reference(table[table["group"] == name], near) for name in groups}
    known = expert_return or {}, expert_loss or {}, start_loss or {}
    priors = _priors(table, references, *known, begun=weighed.begun)
    table = table[(weighed.weights > 0).any(axis=1).reindex(table.index)]
    rows = table["row"].to_numpy()
    data = _data(table.reset_index(drop=True), references, priors)
    padding = (0, 0), (0, len(data.weight) - len(rows))
    return Encoding(
        data=data,
        groups=groups,
        references=references,
        rows=rows,
        weights=np.pad(weighed.weights.loc[rows].to_numpy().T, padding),
        row_weights=weighed,
    )


def _reference(table: pd.DataFrame, near: float) -> Reference:
    top = (table["flops"] >= 0.0999999 * table["flops"].max()) & (table["excess"] < near)
    rows = table[top].assign(samples=table["samples"] * np.exp(_log_worth(table)))
    centre = {c: float(np.exp(np.log(rows[c]).mean())) for c in ("params", "samples", "flops", "loss")}
    return Reference(**centre, return_offset=return_offset(table))


def _log_passes(table: pd.DataFrame) -> np.ndarray:
    """Log of samples over distinct ones [n], 0 where these are not known."""
    return np.round(np.log((table["samples"] / distinct_samples(table)).to_numpy(float)), 9)


def _log_worth(table: pd.DataFrame) -> np.ndarray:
    """Log of what samples are worth over fresh ones [n], by the middle of the prior."""
    return np.asarray(log_worth(_log_passes(table), np.exp(REPEATS.arguments[0])))


def _data(table: pd.DataFrame, references: Mapping[str, Reference], priors: Mapping[str, Any]) -> Data:
    groups = tuple(references)
    n = len(table)
    rows = -(-n // _ROW_BLOCK) * _ROW_BLOCK

    def pad(values: object, fill: float = 0.0) -> Any:
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
        passes=pad(_log_passes(table)),
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
    expert_loss: Mapping[str, float],
    start_loss: Mapping[str, float],
    *,
    begun: Mapping[str, float],
) -> dict[str, Any]:
    """Centres of priors by group [G]: log losses, and log shifted returns. begun: loss where the frontier begins."""
    centres = []
    for name, reference in references.items():
        rows = table[table["group"] == name]
        expert = expert_return.get(name)
        level, floor, ceiling = _return_priors(rows, reference, expert)
        centres.append(
            {
                "level": np.log(reference.loss),
                "start": np.log(start_loss.get(name, begun[name])),
                "start_known": float(name in start_loss),
                "expert": np.log(expert_loss.get(name, reference.loss)),
                "expert_known": float(name in expert_loss),
                "return_level": level,
                "return_floor": floor,
                "ceiling": ceiling,
                "ceiling_known": float(expert is not None),
            }
        )
    return {field: np.array([of_group[field] for of_group in centres]) for field in centres[0]}


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
    """Log samples since the previous checkpoint of the row's run; 1e6 for its first."""
    log_samples = np.log(table["samples"].to_numpy())
    first = ~table.duplicated(["group", "run"]).to_numpy()
    # At least 0.01: at an equal number of samples the later checkpoint would have no noise left.
    gap = np.round(np.maximum(np.diff(log_samples, prepend=log_samples[0]), 0.01), 9)
    return np.where(first, _NO_GAP, gap)
