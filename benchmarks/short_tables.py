"""Tables of little more than a factor of ten of compute: how honest are their forecasts?

    python benchmarks/short_tables.py [NAMES] [--docs]

A user's table is often short. Out of each published table windows of compute are cut, at every half factor of ten:
the rows of the first 1.3 factors are fitted, and the best runs of the next 1.3 are forecast (`forecast backtest` with
its first cut-off alone). The table printed has a row a method, over all windows, each of which counts alike:

- answered: windows at which it could be fitted.
- CRPS: of log loss, the geometric mean over windows; / ours: over that of our forecast, at windows where both answered.
- 90%, 50%: what the intervals cover; below, above: outcomes below and above the 90% interval.
- width: of the 90% interval, in log.
- regret: relative loss of the recommended size over the best in the table.

A quarter of an hour on two cores.
"""

import argparse
import warnings
from collections.abc import Iterator

import numpy as np
import pandas as pd

import forecast
from documents import replace_block
from forecast.errors import ForecastError
from forecast.verify.backtest import backtest
from forecast.verify.scores import NAMES

TABLES = ("nethack-transformer", "atari-cnn", "chinchilla", "constant-rate")
METHODS = ("ours", "power_law", "huber_lse")
_DECADES = 1.3  # factors of ten of compute behind and ahead of the cut-off: the first one of `backtest` lies there
_STEP = 0.5  # factors of ten of compute between windows
_FEWEST = 12  # rows of a window


def windows(name: str) -> Iterator[forecast.Runs]:
    """Stretches of each group of a table, 2.6 factors of ten of compute long."""
    whole = forecast.read_runs(name)
    for group in whole.groups:
        runs = whole.subset(whole.table["group"] == group)
        log_flops = np.log10(runs.table["flops"].to_numpy())
        for begin in np.arange(log_flops.min(), log_flops.max() - 2 * _DECADES + 0.01, _STEP):
            inside = (log_flops > begin - 1e-9) & (log_flops < begin + 2 * _DECADES + 1e-9)
            if inside.sum() >= _FEWEST:
                yield runs.subset(inside)


def scored(window: forecast.Runs) -> pd.DataFrame:
    """A row a method that answered: the means over the forecasts of its losses."""
    tested = backtest(window, methods=METHODS, cutoffs=1)
    rows = tested.forecasts[tested.forecasts["target"] == "loss"]
    found = pd.DataFrame(
        {
            "method": rows["method"],
            "crps": rows["crps"],
            "cover90": rows["observed"].between(rows["q05"], rows["q95"]),
            "cover50": rows["observed"].between(rows["q25"], rows["q75"]),
            "below": rows["observed"] < rows["q05"],
            "above": rows["observed"] > rows["q95"],
            "width": np.log(rows["q95"] / rows["q05"]),
        }
    )
    means = found.groupby("method").mean().astype(float)
    means["regret"] = tested.choices.groupby("method")["regret"].mean()
    return means.reset_index()


def markdown(found: pd.DataFrame) -> str:
    """The table in Markdown. found: rows of `scored`, with the number of their `window`."""
    crps = found.pivot(index="window", columns="method", values="crps").reindex(columns=list(METHODS))
    lines = [
        "| method | answered | CRPS of log loss | / ours | 90% covers | below | above | 50% covers | width | regret |",
        "|---" * 10 + "|",
    ]
    for method in METHODS:
        own, both = found[found["method"] == method], crps.dropna(subset=["ours", method])
        if own.empty:
            continue
        ratio = np.exp(np.log(both[method] / both["ours"]).mean())
        m = own.drop(columns=["method", "window"]).mean()
        cells = [f"{len(own)} of {len(crps)}", f"{np.exp(np.log(own['crps']).mean()):.4f}", f"{ratio:.2f}"]
        cells += [f"{m[c]:.0%}" for c in ("cover90", "below", "above", "cover50")]
        cells += [f"{m['width']:.3f}", f"{m['regret']:.2%}"]
        lines.append(f"| {NAMES[method]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=TABLES, help=f"of tables; {', '.join(TABLES)} unless given")
    parser.add_argument("--docs", action="store_true", help="write the table of docs/how-it-was-tested.md")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    found: list[pd.DataFrame] = []
    for name in given.names:
        for window in windows(name):
            low, high = window.table["flops"].min(), window.table["flops"].max()
            try:
                rows = scored(window)
            except ForecastError as error:  # too few sizes behind the cut-off, or nothing ahead
                print(f"{window.groups[0]}, {low:.2g} to {high:.2g} FLOPs: {error}", flush=True)
                continue
            found.append(rows.assign(window=len(found)))
            own = rows.set_index("method").loc["ours"]
            told = f"CRPS {own['crps']:.4f}, 90% covers {own['cover90']:.0%}, width {own['width']:.3f}"
            print(f"{window.groups[0]}, {low:.2g} to {high:.2g} FLOPs: {told}", flush=True)
    table = markdown(pd.concat(found, ignore_index=True))
    print("\n" + table)
    if given.docs:
        replace_block("short", table)


if __name__ == "__main__":
    main()
