"""Make the bundled tables from the figures aggregated out of the authors' result files, and the planted example.

    python -m forecast.published.build nethack SRC.csv OUT.csv
    python -m forecast.published.build atari SRC.csv OUT.csv
    python -m forecast.published.build example OUT.csv

SRC of nethack has columns run, flops, params, samples, loss, loss_se, return_mean, return_se, episodes; SRC of atari
has game, flops, params, samples, loss, return_mean, return_sets, return_sets_sd, with the authors' nominal flops.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from forecast.errors import ForecastError
from forecast.published import atari_flops
from forecast.published.example import example

# BattleZone lacks `samples` at two sizes; BankHeist has the same network (18 actions) and the same samples elsewhere.
LENDER, BORROWER = "BankHeist", "BattleZone"


def nethack(source: pd.DataFrame) -> pd.DataFrame:
    """The same rows in canonical column order."""
    columns = ["run", "params", "samples", "flops", "loss", "loss_se", "return_mean", "return_se", "episodes"]
    return source.loc[:, columns]


def atari(source: pd.DataFrame) -> pd.DataFrame:
    """Canonical columns, true compute, and `flops_nominal` and `samples_source` to tell what was recomputed."""
    table = source.rename(columns={"game": "group", "flops": "flops_nominal"})
    table = _merge_same_training(_fill_samples(table))
    table["flops"] = [
        _cost_of_a_sample(group, int(params)) * int(samples)
        for group, params, samples in zip(table["group"], table["params"], table["samples"], strict=True)
    ]
    # The source names no trainings; rows of one game and size shared their seed, so they are kept together as one.
    table["run"] = [f"{group} {int(params)}" for group, params in zip(table["group"], table["params"], strict=True)]
    table["episodes"] = table["return_sets"].where(table["return_mean"].notna())
    table["return_se"] = table["return_sets_sd"] / np.sqrt(table["return_sets"])
    columns = ["group", "run", "params", "samples", "flops", "loss", "return_mean", "return_se", "episodes"]
    return table.loc[:, [*columns, "flops_nominal", "samples_source"]]


def _cost_of_a_sample(game: str, params: int) -> int:
    actions = atari_flops.ACTIONS[game]
    return atari_flops.training_flops(atari_flops.width_of(params, actions), actions)


def _fill_samples(table: pd.DataFrame) -> pd.DataFrame:
    """Take the borrower's missing samples from the lender's rows of equal nominal compute and size.

    Raises ForecastError if any of their published samples differ, which would make the loan a guess, or if some stay
    missing.
    """
    cell = list(zip(table["group"], table["flops_nominal"], table["params"], strict=True))
    published = dict(zip(cell, table["samples"], strict=True))
    owed = table["group"].eq(BORROWER).tolist()
    offer = [published.get((LENDER, *c[1:]), np.nan) if o else np.nan for c, o in zip(cell, owed, strict=True)]
    missing = np.isnan(table["samples"].to_numpy())
    if (np.array(owed) & ~missing & (table["samples"].to_numpy() != offer)).any():
        raise ForecastError(f"{BORROWER} and {LENDER} disagree on samples at equal compute and size; do not match them")
    samples = np.where(missing, offer, table["samples"].to_numpy())
    if stay := int(np.isnan(samples).sum()):
        raise ForecastError(f"{stay} rows have no samples and no {LENDER} row to match")
    return table.assign(samples=samples, samples_source=np.where(missing, f"matched:{LENDER}", "published"))


def _merge_same_training(table: pd.DataFrame) -> pd.DataFrame:
    """One row for nominal budgets that round up to the same samples at the same size.

    Their losses agree to 2e-7, so it is one training listed twice; two rows would count it twice. Its evaluations are
    averaged by their number of sets. The smaller nominal budget is kept.
    """
    key = ["group", "params", "samples"]
    rows = []
    for _, same in table.groupby(key, sort=False):
        row = same.iloc[0].copy()
        if len(same) > 1:
            if np.ptp(same["loss"]) > 1e-6 * same["loss"].max():
                raise ForecastError(f"different losses in {same[key].iloc[0].to_dict()}: these are separate trainings")
            row["loss"] = same["loss"].mean()
            row["return_sets"] = same["return_sets"].sum()
            row["return_sets_sd"] = np.nan  # one set each: two values say nothing of the spread
            if row["return_sets"] > 0:
                row["return_mean"] = np.average(same["return_mean"], weights=same["return_sets"])
        rows.append(row)
    return pd.DataFrame(rows).astype(table.dtypes.to_dict()).sort_index()


def compact(value: object) -> str:
    """The shortest of the usual spellings that reads back to the same float; "" for null."""
    if isinstance(value, str):
        return value
    number = float(value)  # type: ignore[arg-type]
    if np.isnan(number):
        return ""
    spellings = [repr(number), f"{number:g}", f"{number:.0f}", f"{number:.16e}"]
    return min((s for s in spellings if float(s) == number), key=len)


def written(table: pd.DataFrame, out: str) -> None:
    """Write a table as CSV, each number in its shortest spelling."""
    lines = [",".join(table.columns), *(",".join(map(compact, row)) for row in table.itertuples(index=False))]
    Path(out).write_text("\n".join(lines) + "\n", encoding="utf-8")


def main(arguments: list[str]) -> None:
    """Run `build.py WHICH [SRC.csv] OUT.csv`; SystemExit with the usage if that is not what was asked."""
    makers = {"nethack": nethack, "atari": atari}
    match arguments:
        case ["example", out]:
            written(example(), out)
        case [which, source, out] if which in makers:
            # As text first: pandas before 3 rounds the last digit when it parses floats itself.
            text = pd.read_csv(source, dtype=str)
            numbers = {c: float for c in text.columns if c not in ("run", "game")}
            written(makers[which](text.astype(numbers)), out)
        case _:
            usage = f"{{{','.join(makers)}}} SRC.csv OUT.csv, or ... build example OUT.csv"
            raise SystemExit(f"usage: python -m forecast.published.build {usage}")


if __name__ == "__main__":
    main(sys.argv[1:])
