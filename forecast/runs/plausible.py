"""What a valid table can still have wrong: refused where an answer would be wrong, noted where it may be."""

from collections.abc import Collection, Iterator, Sequence

import numpy as np
import pandas as pd

from forecast.errors import Problem

MOST_NATS = 15.0
"""Above it a loss is no mean negative log-likelihood: a uniform guess among 3 million is at 15 nats."""
_KINDS = 12  # most values of a column that may name games
_ROWS_A_KIND = 4
_CHANCE = 1e-6  # probability of so good a division by chance
_HALVED = 0.5  # of the squared residuals, those that are left by a division worth asking about
_FEW = 0.9  # share of rows with fewer samples than parameters
_BATCHES = sorted(odd * 2**k for odd in range(1, 16, 2) for k in range(13) if odd * 2**k >= 16)
"""Samples that one counted sample may stand for: how batches are chosen, a power of two or a few of them."""


def implausible(table: pd.DataFrame, *, mapped: Collection[str], unread: Sequence[str]) -> Iterator[Problem]:
    """Problems of a table whose cells are all valid.

    mapped: canonical columns that the user mapped, about which nothing is asked again.
    unread: columns that are none of ours; one of text that parts the rows may be the group.
    """
    if "loss" in table:
        for name, part in table.groupby("group"):
            if len(part) > 1 and part["loss"].nunique() == 1:
                what = f"is {part['loss'].iloc[0]:g} in every row of group `{name}`, so no law can be fitted to it"
                yield Problem((), "loss", what, "give the loss of each row, or leave this group out")
        middle = float(table["loss"].median())
        if middle > MOST_NATS and "loss" not in mapped:
            what = f"is {middle:.3g} in the median row, more than a mean negative log-likelihood in nats can be"
            fix = "take the logarithm of a perplexity; a loss of another kind is mapped to itself (loss=loss)"
            yield Problem((), "loss", what, fix, mapping="loss=log(loss)")
    if not {"samples", "flops"} & set(mapped) and (batch := _batch(table)):
        what = f"may count batches: in every row FLOPs are 6 x {batch:,} x params x samples"
        fix = "if each sample is one token or action, map it to itself (samples=samples); if it is a batch"
        yield Problem((), "samples", what, fix, mapping=f"samples={batch}*samples")
    if "group" not in mapped and "loss" in table and table["group"].nunique() == 1:
        for column in unread:
            if column in table and _parts_the_rows(table, column):
                what = f"was not read, and rows of its {table[column].nunique()} values follow different laws"
                fix = f"is it the group (the game, the architecture)? If not, leave it out with `{column}=`. If it is"
                yield Problem((), column, what, fix, mapping=f"group={column}")


def doubts(table: pd.DataFrame) -> list[str]:
    """Sentences about a table that may be meant as it is."""
    few = float((table["samples"] < table["params"]).mean())
    if few < _FEW:
        return []
    return [
        f"{few:.0%} of the rows have fewer samples than parameters; check whether the two columns are swapped, or "
        "samples are counted in batches."
    ]


def told_apart(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The table with the size added to run names that stand for several sizes, and a sentence that says so."""
    sizes = table.groupby(["group", "run"])["params"].transform("nunique")
    mixed = (sizes > 1).to_numpy() & table["params"].notna().to_numpy()
    if not mixed.any():
        return table, []
    names = [str(n) for n in table.loc[mixed, "run"].unique()]
    run = table["run"].where(~mixed, table["run"] + " (" + table["params"].map("{:g}".format) + ")")
    shown = ", ".join(f"`{n[:40]}`" for n in names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    note = f"Run names that stand for several sizes are told apart by size, as trainings of their own: {shown}."
    return table.assign(run=run.astype("string")), [note]


def _batch(table: pd.DataFrame) -> int | None:
    """How many samples each counted one may stand for: FLOPs are 6 x this x params x samples, at two sizes or more.

    Networks that use a parameter many times a sample (convolutions) have a ratio that differs by size.
    """
    if table["params"].nunique() < 2:
        return None
    times = (table["flops"] / (6 * table["params"] * table["samples"])).to_numpy(float)
    batch = min(_BATCHES, key=lambda size: abs(float(times[0]) - size))
    return batch if np.all(np.abs(times / batch - 1) < 1e-3) else None


def _parts_the_rows(table: pd.DataFrame, column: str) -> bool:
    """Whether a column of text divides the rows into kinds whose losses differ far beyond chance.

    By an F test of kinds beside a quadratic in log size and log samples.
    """
    texts = table[column]
    if pd.api.types.is_numeric_dtype(texts) or texts.isna().any():
        return False
    kinds = texts.astype(str)
    counts = kinds.value_counts()
    if not 2 <= len(counts) <= _KINDS or counts.min() < _ROWS_A_KIND:
        return False
    if (kinds.groupby(table["params"]).nunique() == 1).all():  # another name of the size
        return False
    n, d = (np.log(table[c].to_numpy(float)) for c in ("params", "samples"))
    n, d = n - n.mean(), d - d.mean()
    smooth = np.column_stack([np.ones_like(n), n, d, n * n, d * d, n * d])
    divided = np.column_stack([smooth, pd.get_dummies(kinds, drop_first=True).to_numpy(float)])
    loss = np.log(table["loss"].to_numpy(float))
    left = len(loss) - np.linalg.matrix_rank(divided)
    if left < 1:
        return False
    before, after = (_unexplained(x, loss) for x in (smooth, divided))
    more = len(counts) - 1
    ratio = (before - after) / more / max(after / left, 1e-300)
    from scipy import stats

    return after < _HALVED * before and float(stats.f.sf(ratio, more, left)) < _CHANCE


def _unexplained(x: np.ndarray, y: np.ndarray) -> float:
    """Sum of squared residuals of least squares."""
    return float(((y - x @ np.linalg.lstsq(x, y, rcond=None)[0]) ** 2).sum())
