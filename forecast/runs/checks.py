"""The rules of a run table, and the problems of a table that breaks them.

Cell checks are a lazily validated pandera schema; checks between cells, rows and sizes are plain functions. All of
them run before anything is computed, and all problems are reported together.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from forecast.errors import Problem

if TYPE_CHECKING:
    import pandera.pandas as pa

REQUIRED = ("params", "samples", "flops", "loss")
"""`loss` may be absent where every row has a `return_mean`; see `required`."""
TEXT = ("group", "run", "seed")
NUMBERS = (
    *REQUIRED,
    "loss_se",
    "return_mean",
    "return_se",
    "episodes",
    "unique_samples",
    "expert_return",
    "expert_loss",
)
CANONICAL = (*TEXT, *NUMBERS)

MIN_SIZES = 3
MIN_BUDGETS = 3
# flops / (params · samples): 2 and 6 for dense networks, up to 15,000 where convolutions reuse weights.
RATIO_RANGE = (0.1, 1e5)
MAX_DECADES_OFF_TREND = 2.0
# Cost per sample grows as params^(1 + slope); a robust line steeper than this is following the bad rows.
MAX_TREND_SLOPE = 0.5


def _cell_schema() -> "pa.DataFrameSchema":
    """Rules a single cell can break. Columns that are absent are reported elsewhere, with the near names."""
    import pandera.pandas as pa  # slow to import, and a saved posterior needs no check

    positive = pa.Check(lambda s: s > 0, name="positive")
    not_negative = pa.Check(lambda s: s >= 0, name="not_negative")
    finite = pa.Check(lambda s: np.isfinite(s), name="finite")
    number = {c: pa.Column(float, [finite, positive], nullable=False, required=False) for c in REQUIRED}
    for name in ("loss_se", "return_se", "episodes"):
        number[name] = pa.Column(float, [finite, not_negative], nullable=True, required=False)
    for name in ("return_mean", "expert_return"):
        number[name] = pa.Column(float, [finite], nullable=True, required=False)
    for name in ("unique_samples", "expert_loss"):
        number[name] = pa.Column(float, [finite, positive], nullable=True, required=False)
    text = {c: pa.Column("string", nullable=False, required=False) for c in ("group", "run")}
    return pa.DataFrameSchema({**text, **number}, strict=False)


_MESSAGES = {
    "not_nullable": ("is empty or NaN", "give the measured value, or delete the row"),
    "finite": ("is infinite", "delete the row if its training diverged"),
    "positive": ("is zero or negative", "correct the value"),
    "not_negative": ("is negative", "correct the value, or leave the cell empty if it was not measured"),
}
_MESSAGES_OF_COLUMN = {
    ("loss", "positive"): (
        "is zero or negative",
        "give the mean negative log-likelihood per action in nats, not its logarithm and not a reward",
    ),
    ("loss", "not_nullable"): (
        "is empty or NaN",
        "give the measured value, or delete the row; put rows that have only returns into a separate table without "
        "losses",
    ),
    ("group", "not_nullable"): (
        "is blank",
        "name the game, algorithm or architecture, or remove the column if the table has only one of them",
    ),
    ("run", "not_nullable"): (
        "is blank",
        "name the training that the row is a checkpoint of, or remove the column if every row is a separate training",
    ),
}


def required(table: pd.DataFrame) -> tuple[str, ...]:
    """The columns that need a value in every row; `return_mean` replaces `loss` in a table without losses."""
    if "loss" in table or "return_mean" not in table:
        return REQUIRED
    return ("params", "samples", "flops", "return_mean")


def check(
    table: pd.DataFrame, *, unread: Mapping[str, Sequence[int]], has_runs: bool, to_fit: bool = True
) -> list[Problem]:
    """All problems of a canonical table; an empty list means it is valid.

    table: canonical columns, float64 numbers and string texts; the index holds line numbers.
    unread: by column, line numbers of cells already reported as not numbers; they are NaN here and are not reported
    again.
    has_runs: whether the table has a `run` column of its own.
    to_fit: whether the table must have enough sizes and budgets to fit a law.
    """
    if table.empty:
        return [Problem((), "", "the table has no data rows", "add one row for each training run or checkpoint")]
    problems = [*_cell_problems(table, unread), *_return_problems(table), *_unique_problems(table)]
    problems += _expert_problems(table)
    needed = required(table)
    if needed != REQUIRED:
        problems += _without_losses(table, unread, to_fit)
    if all(c in table for c in needed):
        numbers = table.loc[:, list(needed)].to_numpy(dtype=float)
        positive = (numbers > 0) | (np.array(needed) == "return_mean")
        usable = table.loc[(np.isfinite(numbers) & positive).all(axis=1) & table["group"].notna().to_numpy()]
        spread = _spread_problems(usable) if to_fit else ()
        problems += [*_duplicate_problems(usable, has_runs), *spread, *_cost_problems(usable)]
    return problems


def _cell_problems(table: pd.DataFrame, unread: Mapping[str, Sequence[int]]) -> Iterator[Problem]:
    from pandera.errors import SchemaErrors

    try:
        _cell_schema().validate(table, lazy=True)
    except SchemaErrors as error:
        cases = error.failure_cases
        for (column, rule), cells in cases.groupby(["column", "check"], sort=False):
            column, rule = str(column), str(rule)
            rows = sorted({int(r) for r in cells["index"]} - set(unread.get(column, ())))
            if rows:
                yield Problem(tuple(rows), column, *_MESSAGES_OF_COLUMN.get((column, rule), _MESSAGES[rule]))


def _rows(table: pd.DataFrame, mask: np.ndarray) -> tuple[int, ...]:
    return tuple(int(r) for r in table.index[mask])


def _column(table: pd.DataFrame, name: str) -> np.ndarray:
    """Values of a number column; NaN throughout if there is none."""
    return table[name].to_numpy(dtype=float) if name in table else np.full(len(table), np.nan)


def _return_problems(table: pd.DataFrame) -> Iterator[Problem]:
    has_return = ~np.isnan(_column(table, "return_mean"))
    episodes = _column(table, "episodes")
    no_error = np.isnan(episodes) if "loss" in table else np.isnan(episodes) & np.isnan(_column(table, "return_se"))
    if rows := _rows(table, has_return & no_error):
        what = "is empty although `return_mean` has a value"
        yield Problem(rows, "episodes", what, "add the number of episodes (or evaluation sets) behind each mean return")
    if rows := _rows(table, has_return & (episodes < 1) & (episodes >= 0)):
        what = "is below 1 although `return_mean` has a value"
        yield Problem(rows, "episodes", what, "correct it, or leave both empty")
    if rows := _rows(table, ~np.isnan(_column(table, "return_se")) & ~has_return):
        yield Problem(
            rows, "return_se", "has a value without `return_mean`", "add the mean return, or leave both empty"
        )


def _without_losses(table: pd.DataFrame, unread: Mapping[str, Sequence[int]], to_fit: bool) -> Iterator[Problem]:
    """Problems of a table without losses."""
    returns = _column(table, "return_mean")
    reported = table.index.isin(list(unread.get("return_mean", ())))
    if rows := _rows(table, np.isnan(returns) & ~reported):
        yield Problem(rows, "return_mean", "is empty, and the table has no losses", "give one of the two for every row")
        return
    if rows := _rows(table, ~np.isnan(_column(table, "loss_se"))):
        yield Problem(rows, "loss_se", "has a value without `loss`", "add the loss of every row, or leave both empty")
    for name, part in table.groupby("group"):
        if to_fit and len(part) > 1 and part["return_mean"].nunique() == 1:
            what = f"is {part['return_mean'].iloc[0]:g} in every row of group `{name}`, so no law can be fitted to it"
            yield Problem((), "return_mean", what, "add budgets at which returns differ, or leave this group out")


def _unique_problems(table: pd.DataFrame) -> Iterator[Problem]:
    if rows := _rows(table, _column(table, "unique_samples") > _column(table, "samples")):
        fix = "`samples` counts every sample trained on, repeats included; check whether the two are swapped"
        yield Problem(rows, "unique_samples", "is larger than `samples`", fix)


def _expert_problems(table: pd.DataFrame) -> Iterator[Problem]:
    known = {"expert_return": "one demonstrator, or one highest return,", "expert_loss": "one demonstrator"}
    for column in known.keys() & {*table.columns}:
        for name, part in table.groupby("group"):
            values = np.unique(part[column].dropna())
            several = "data" in part and part["data"].nunique() > 1  # sets of demonstrations, each with its own
            if len(values) > 1 and not several:
                what = f"has {len(values)} values in group `{name}` ({values[0]:g} to {values[-1]:g})"
                fix = f"{known[column]} is known for a group: write it in every row, or leave it out"
                yield Problem((), column, what, fix)


def _duplicate_problems(usable: pd.DataFrame, has_runs: bool) -> Iterator[Problem]:
    key = [c for c in ("group", "seed", "params", "samples", "flops") if c in usable] + (["run"] if has_runs else [])
    # Two trainings of one configuration are replicates, and without run names only what was measured tells them apart.
    key += [] if has_runs else [required(usable)[-1]]
    if rows := _rows(usable, usable.duplicated(key, keep=False).to_numpy()):
        what = f"these rows are equal in {', '.join(f'`{c}`' for c in key)}"
        fix = "keep one of them (with the average of repeated evaluations)"
        yield Problem(rows, "", what, fix if has_runs else f"{fix}, or name replicates in a `run` or `seed` column")


def count_budgets(flops: np.ndarray) -> int:
    """Number of distinct values of log10 C rounded to 0.1, because the true compute of one budget differs by size."""
    return len(np.unique(np.log10(flops).round(1)))


def _spread_problems(usable: pd.DataFrame) -> Iterator[Problem]:
    for name, part in usable.groupby("group"):
        sizes, budgets = len(np.unique(_column(part, "params"))), count_budgets(_column(part, "flops"))
        for column, count, least, thing in (
            ("params", sizes, MIN_SIZES, "sizes"),
            ("flops", budgets, MIN_BUDGETS, "budgets (0.1 in log10 apart)"),
        ):
            if count < least:
                what = f"group `{name}` has {count} distinct {thing}, and a scaling law needs at least {least}"
                yield Problem((), column, what, f"add runs at other {thing.split()[0]}, or leave this group out")


def _cost_problems(usable: pd.DataFrame) -> Iterator[Problem]:
    """Compute that contradicts params × samples, in a whole group or in rows far from the trend of their group."""
    larger, smaller = [], []
    for name, part in usable.groupby("group"):
        params, samples, flops = (np.log10(_column(part, c)) for c in ("params", "samples", "flops"))
        ratio = flops - params - samples
        median = float(np.median(ratio))
        if not np.log10(RATIO_RANGE[0]) <= median <= np.log10(RATIO_RANGE[1]):
            what = f"flops / (params × samples) is about 1e{median:.0f} in group `{name}`, where 2 to 15,000 is usual"
            yield Problem((), "flops", what, "check the units: params in millions, samples in batches, flops in PFLOPs")
        residual = ratio - _trend(params, ratio)
        larger += _rows(part, residual > MAX_DECADES_OFF_TREND)
        smaller += _rows(part, residual < -MAX_DECADES_OFF_TREND)
    for rows, word in ((larger, "larger"), (smaller, "smaller")):
        if rows:
            what = f"is over 100 times {word} than params × samples implies at neighbouring sizes of the same group"
            fix = "check the units and the digits of flops, params and samples"
            yield Problem(tuple(sorted(rows)), "flops", what, fix)


def _trend(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Theil-Sen line through the median y of each x, evaluated at every x, so that a minority cannot move it."""
    u = np.unique(x)
    if len(u) > 500:  # the number of pairwise slopes grows with the square, and 500 sizes suffice
        u = u[np.linspace(0, len(u) - 1, 500).astype(int)]
    v = np.array([np.median(y[x == size]) for size in u])
    i, j = np.triu_indices(len(u), 1)
    slope = float(np.median((v[j] - v[i]) / (u[j] - u[i]))) if len(i) else 0.0
    slope = float(np.clip(slope, -MAX_TREND_SLOPE, MAX_TREND_SLOPE))
    return float(np.median(v - slope * u)) + slope * x
