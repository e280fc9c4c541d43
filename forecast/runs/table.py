"""The run table: one row per training run or checkpoint.

Columns. Required: `params` N, `samples` D, `flops` C (training compute of that row), `loss` (nats per action).
Optional: `group` (game, algorithm or architecture: the unit of pooling), `run` (the training that a row is a checkpoint
of), `seed`, `loss_se`, `return_mean`, `return_se`, `episodes`, `unique_samples`, `expert_return` (one a group: of the
demonstrator, or the highest that is possible), `expert_loss` (one a group: of the demonstrator's own policy). Other
columns are kept unchanged.

A table without losses, as from reinforcement learning, has no `loss` column or an empty one, and in every row a
`return_mean` with `return_se` or `episodes`; its samples are environment frames.

Rows of failed runs (`state` says failed, crashed or killed) are left out.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from types import NoneType

import numpy as np
import pandas as pd

from forecast.arguments import of_kind
from forecast.errors import ForecastError
from forecast.numbers import count, digits, scientific
from forecast.runs.checks import CANONICAL, count_budgets, required
from forecast.runs.files import printable
from forecast.shown import html_table, names

UNNAMED = "all"
"""The group of a table without groups."""
# The run name of a row in a table without a `run` column; in a saved table it still means that.
_MADE_UP_RUN = re.compile(r"row \d+")
_SIZES = 81  # model sizes among which an optimum is sought
_ONE_BUDGET = np.log10(1.5)  # compute of rows of one budget differs by less
_HARDLY = 0.05  # of its whole fall, below which a loss has hardly begun to fall
_BELOW_EXPERT = 0.97  # of the demonstrator's loss, which no loss goes below but by chance
_PASSED = 0.8  # runs have passed a highest return that lies below this part of what they reach


@dataclass(frozen=True, kw_only=True, eq=False)
class Runs:
    """A validated run table."""

    table: pd.DataFrame
    """Canonical columns first, then the others; numbers float64, `group`, `run` and `seed` string. The index, named
    `row`, holds line numbers (the header is line 1, the first data row line 2)."""
    source: str
    """File, bundled name or "DataFrame"."""
    notes: tuple[str, ...] = ()
    """Provenance and caveats, one sentence each; every report must show them."""

    def __repr__(self) -> str:
        params, flops = (self.table[c] for c in ("params", "flops"))
        return (
            f"Runs of {self.source}: {len(self.table)} rows, {params.nunique()} sizes from {count(params.min())} to "
            f"{count(params.max())} parameters, {scientific(flops.min())} to {scientific(flops.max())} FLOPs; "
            f"{'group' if len(self.groups) == 1 else 'groups'} {names(self.groups)}"
        )

    def _repr_html_(self) -> str:
        """A row a group."""
        measured = [c for c in ("loss", "return_mean") if c in self.table and self.table[c].notna().any()]
        rows = []
        for group, table in self.table.groupby("group", sort=True):
            forms = {"params": count, "samples": count, "flops": scientific, **dict.fromkeys(measured, digits)}
            spans = [f"{form(table[c].min())} to {form(table[c].max())}" for c, form in forms.items()]
            rows.append((str(group), str(len(table)), str(table["params"].nunique()), *spans))
        return html_table(repr(self), ("group", "rows", "sizes", "params", "samples", "flops", *measured), rows)

    @cached_property
    def sha256(self) -> str:
        """Hash of the canonical columns, independent of row order, file format, other columns and made-up run names."""
        unnamed = () if self.has_trajectories else ("run",)
        columns = [c for c in CANONICAL if c in self.table and c not in unnamed]
        cells = [["" if pd.isna(v) else str(v) for v in self.table[c].tolist()] for c in columns]
        rows = sorted("\x1f".join(row) for row in zip(*cells, strict=True))
        return hashlib.sha256("\x1e".join(["\x1f".join(columns), *rows]).encode()).hexdigest()

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups, sorted."""
        return tuple(sorted(self.table["group"].unique().tolist()))

    @property
    def has_returns(self) -> bool:
        """Whether any row was evaluated by playing."""
        return "return_mean" in self.table and bool(self.table["return_mean"].notna().any())

    @property
    def has_losses(self) -> bool:
        """Whether the rows have losses; if not, every row has a return."""
        return "loss" in self.table

    @property
    def falling(self) -> pd.Series:
        """What falls with compute, by row: the loss (nats), or, without losses, 1 / (return + `return_offset`)."""
        if self.has_losses:
            return self.table["loss"]
        offset = self.table["group"].map({name: return_offset(rows) for name, rows in self.table.groupby("group")})
        return (1 / (self.table["return_mean"] + offset.astype(float))).rename("falling")

    @property
    def has_trajectories(self) -> bool:
        """Whether the source named its runs; if not, every row counts as a separate training."""
        run = self.table["run"]
        return bool(run.duplicated().any()) or not all(_MADE_UP_RUN.fullmatch(r) for r in run)

    def group_table(self, name: str) -> pd.DataFrame:
        """Rows of one group. Raises ForecastError, which lists the groups, if the table does not have it."""
        if name not in self.groups:
            raise ForecastError(f"{self.source} has no group {name!r}; name one of {', '.join(self.groups)}.")
        return self.table.loc[self.table["group"] == name]

    def group_name(self, group: str | None) -> str:
        """The name of the group; None is allowed where there is one.

        group: as in this table, or as in the file, where it may have characters that are not printed.

        Raises ForecastError for an unknown group.
        """
        of_kind("group", group, (str, NoneType), f"the name of one: {', '.join(self.groups)}")
        if group is None and len(self.groups) == 1:
            return self.groups[0]
        name = next((name for name in (group, printable(group or "")) if name in self.groups), None)
        if name is None:
            problem = f"has no group {group!r}" if group else "has several groups"
            raise ForecastError(f"{self.source} {problem}; name one of {', '.join(self.groups)}.")
        return name

    def largest_flops(self, group: str | None = None) -> float:
        """The largest compute among the rows of a group."""
        return float(self.group_table(self.group_name(group))["flops"].max())

    def sizes(self, group: str | None, flops: float) -> np.ndarray:
        """Model sizes among which an optimum is sought: the table's range, and beyond it for larger budgets."""
        table = self.group_table(self.group_name(group))
        beyond = max(flops / table["flops"].max(), 1.0)
        return np.geomspace(table["params"].min() / 10, table["params"].max() * 10 * beyond**0.9, _SIZES)

    def plateau(self, group: str | None) -> float:
        """Part of a group's decades of compute over which its best loss has hardly begun to fall: 0 to 1.

        Hardly: by less than a twentieth of its whole fall in log loss.
        """
        table = self.group_table(self.group_name(group)).sort_values("flops")
        log_flops = np.log10(table["flops"].to_numpy())
        lowest = np.minimum.accumulate(np.log(self.falling.loc[table.index].to_numpy()))
        at_budget = lowest[np.searchsorted(log_flops, log_flops + _ONE_BUDGET, side="right") - 1]
        fallen = at_budget[0] - at_budget
        if fallen[-1] <= 0:
            return 1.0
        flat = log_flops[fallen < _HARDLY * fallen[-1]].max() - log_flops[0]
        return float(flat / (log_flops[-1] - log_flops[0]))

    def subset(self, mask: object) -> "Runs":
        """The rows for which the mask is true, with their line numbers.

        mask: one bool a row, or a Series of them with the index of the table.
        The result may have too few sizes and budgets to fit a law, because back-tests leave rows out.

        Raises ForecastError if the mask does not fit the table or keeps no row.
        """
        if isinstance(mask, pd.Series) and not mask.index.equals(self.table.index):
            raise ForecastError(
                "mask is a Series with another index than the table; give it the index of `Runs.table`."
            )
        keep = np.asarray(mask, dtype=bool)
        if keep.shape != (len(self.table),):
            raise ForecastError(
                f"mask has shape {keep.shape} and the table {len(self.table)} rows; give one value for each row."
            )
        if not keep.any():
            raise ForecastError(f"mask keeps none of the {len(self.table)} rows of {self.source}; keep at least one.")
        return Runs(table=self.table.loc[keep], source=self.source, notes=self.notes)

    def frontier_excess(self) -> pd.Series:
        """Log of each row's loss over the best loss at the same compute or less, by row; >= 0.

        log(loss) - log(min loss over rows of the group with at most the row's flops): a lower envelope in C, because
        true compute differs across sizes and no two rows need share a budget. Without losses, the log of the best
        shifted return over the row's.
        """
        # Rounded, so that the units of compute cannot separate two rows of equal cost.
        by_cost = self.table.assign(flops=np.round(np.log10(self.table["flops"]), 9), loss=self.falling).sort_values(
            "flops", kind="stable"
        )
        best = by_cost.groupby("group")["loss"].cummin()
        best = best.groupby([by_cost["group"], by_cost["flops"]]).transform("min")  # over rows of equal cost
        excess = np.log(by_cost["loss"].to_numpy()) - np.log(best.to_numpy())
        return pd.Series(excess, index=by_cost.index, name="frontier_excess").reindex(self.table.index)

    def summary(self) -> dict[str, object]:
        """Counts and ranges for the command line and the report, as plain JSON types."""
        table = self.table
        number = {c: table[c].to_numpy(dtype=float) for c in required(table)}
        return {
            "rows": len(table),
            "groups": list(self.groups),
            "runs": len(set(table["run"])) if self.has_trajectories else None,
            "sizes": len(np.unique(number["params"])),
            "budgets": count_budgets(number["flops"]),
            "rows_with_return": int(np.isfinite(table["return_mean"].to_numpy()).sum()) if self.has_returns else 0,
            **({} if self.has_losses else {"loss": None}),
            **{c: [float(v.min()), float(v.max())] for c, v in number.items()},
        }


def expert_returns(table: pd.DataFrame) -> dict[str, float]:
    """By group, where the table says: mean return of the demonstrator, or the highest return without losses.

    Left out with losses where runs exceed their demonstrator, whose games may have been cut short.
    """
    if "expert_return" not in table:
        return {}
    known = table.groupby("group")["expert_return"].max().dropna()
    bounds = {str(group): float(value) for group, value in known.items()}
    if "loss" not in table:
        return bounds
    return {group: top for group, top in bounds.items() if reached_beyond(table[table["group"] == group], top) is None}


def expert_losses(table: pd.DataFrame) -> dict[str, float]:
    """By group, where the table says: loss of the demonstrator's own policy (nats), the least of several."""
    if not {"loss", "expert_loss"} <= {*table.columns}:
        return {}
    known = table.groupby("group")["expert_loss"].min().dropna()
    return {str(group): float(value) for group, value in known.items()}


def below_expert(table: pd.DataFrame, expert: float) -> float | None:
    """The least loss of a group's runs, where it lies clearly below that of its demonstrator; None where not."""
    least = float(table["loss"].min())
    return least if least < _BELOW_EXPERT * expert else None


def reached_beyond(table: pd.DataFrame, highest: float) -> float | None:
    """What runs of most compute of a group return, where that lies far above the highest return; None where not."""
    if "return_mean" not in table:
        return None
    offset = return_offset(table)
    reached = float(table.loc[table["flops"] >= 0.5 * table["flops"].max(), "return_mean"].median())
    return reached if highest + offset < _PASSED * (reached + offset) else None


def distinct_samples(table: pd.DataFrame) -> pd.Series:
    """Distinct samples that each row has seen: `unique_samples`, or all of its samples where that is not known."""
    samples = table["samples"].astype(float)
    return table["unique_samples"].fillna(samples) if "unique_samples" in table else samples


def return_offset(table: pd.DataFrame) -> float:
    """Added to returns before their log: 1% of the best, plus what raises the lowest to 0; 0 without returns."""
    if "return_mean" not in table or not table["return_mean"].notna().any():
        return 0.0
    returns = table["return_mean"].dropna()
    low = min(0.0, float(returns.min()))
    return 0.01 * max(float(returns.max()) - low, 1e-9) - low
