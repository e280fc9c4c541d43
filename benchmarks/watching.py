"""The end of a run under way, forecast from a quarter of it: how much do its own checkpoints tell?

    python benchmarks/watching.py [constant-rate nethack-transformer FILE...] [--part 0.25] [--docs]

Of every training of a table that has checkpoints up to a quarter of its samples, the rest is hidden. Its last loss is
forecast by `forecast.watch`, whose table has those checkpoints and all other trainings whole, and without them by the
posterior of the other trainings alone, as of a new run of that size and samples. Columns: CRPS of log loss of both,
their ratio, how often the 90% interval holds the outcome, and its width in log. Two fits a training.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

import forecast
from documents import replace_block
from forecast.bayes.residuals import end_of_run
from forecast.verify.crps import LEVELS, crps_at_levels

SETTINGS = {"draws": 500, "max_draws": 1000, "warmup": 600}
SLACK = 1.1  # a checkpoint may lie so far after the part
TABLES = ("constant-rate", "nethack-transformer", str(Path(__file__).parent.parent / "reports/nethack-lstm/runs.csv"))


def watched(runs: forecast.Runs, part: float) -> pd.DataFrame:
    """A row a training: what was forecast of its last loss, with and without its checkpoints."""
    table, rows = runs.table, []
    for run, own in table.groupby("run"):
        own = own.sort_values("samples")
        others, end = table["run"] != run, own.iloc[-1]
        begun = table.index.isin(own.index[own["samples"] <= SLACK * part * end["samples"]])
        if not begun.any() or table.loc[others, "params"].nunique() < 3:
            continue
        new = forecast.fit(runs.subset(others), **SETTINGS).predict(end["params"], end["samples"], group=end["group"])
        assert new.loss is not None
        going = forecast.fit(runs.subset(others | begun), **SETTINGS)
        ours = end_of_run(going, str(run), float(end["samples"]), group=str(end["group"]))[:, 0]
        outcome = np.array([np.log(end["loss"])])
        row: dict[str, object] = {"run": run}
        for name, draws in (("with", ours), ("without", np.log(new.loss[:, 0]))):
            low, high = np.quantile(draws, (0.05, 0.95))
            row[f"crps_{name}"] = float(crps_at_levels(np.quantile(draws, LEVELS)[:, None], outcome)[0])
            row |= {f"cover_{name}": low <= outcome[0] <= high, f"width_{name}": high - low}
        rows.append(row)
        print("  ", row, flush=True)
    return pd.DataFrame(rows)


def markdown(found: dict[str, pd.DataFrame]) -> str:
    """The table in Markdown."""
    lines = [
        "| table | trainings | CRPS | without its checkpoints | ratio | 90% covers | without | width | without |",
        "|---" * 9 + "|",
    ]
    for name, rows in found.items():
        m = rows.drop(columns="run").astype(float).mean()
        ratio = m["crps_with"] / m["crps_without"]
        cells = [f"{m['crps_with']:.4f}", f"{m['crps_without']:.4f}", f"{ratio:.2f}", f"{m['cover_with']:.0%}"]
        cells += [f"{m['cover_without']:.0%}", f"{m['width_with']:.3f}", f"{m['width_without']:.3f}"]
        lines.append(f"| {name} | {len(rows)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", default=TABLES, help="names of bundled tables with one group, or files")
    parser.add_argument("--part", type=float, default=0.25, help="of a run's samples that its checkpoints reach")
    parser.add_argument("--docs", action="store_true", help="write the table of docs/how-it-was-tested.md")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    found = {
        name.removesuffix("/runs.csv").rpartition("/")[2]: watched(forecast.read_runs(name), given.part)
        for name in given.tables
    }
    print(markdown(found))
    if given.docs:
        replace_block("watching", markdown(found))


if __name__ == "__main__":
    main()
