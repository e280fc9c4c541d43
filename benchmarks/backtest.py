"""Back-test of the bundled tables: ours against the classical methods, and against what we promise.

    python benchmarks/backtest.py [--bundle]

Fits at cut-offs spread over the compute of the NetHack table and of each of the five Atari games, and scores the
near-frontier rows beyond (see `forecast.backtest`). `huber_lse_below_1` is the Huber fit of losses under 1, a cut-off
that was chosen knowing the answer. A ratio is of mean CRPS at the cut-offs where both methods answered, geometric mean
over the six tables. --bundle writes the back-tests into the package, where the reports take them from. About ten
minutes on two cores.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

import forecast
from forecast.verify import backtest

TABLES = ("nethack-transformer", "atari-cnn")
METHODS = (*backtest.METHODS, backtest.BELOW_1)
BUNDLED = Path(forecast.__file__).parent / "published" / "backtests"


def crps_ratio(found: backtest.Backtest, other: str) -> pd.Series:
    """Ours over another method's, by group."""
    rows = found.forecasts[found.forecasts["target"] == "loss"]
    by_cutoff = rows.groupby(["group", "cutoff", "method"])["crps"].mean().unstack("method")
    both = by_cutoff.dropna(subset=["ours", other]).groupby("group").mean() if other in by_cutoff else pd.DataFrame()
    return both["ours"] / both[other]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", action="store_true")
    given = parser.parse_args()
    found = {name: backtest.backtest(forecast.read_runs(name), methods=METHODS) for name in TABLES}
    if given.bundle:
        for name, one in found.items():
            tables = {t: getattr(one, t) for t in ("forecasts", "choices", "paths", "refusals")}
            shown = {t: rows[rows["method"] != backtest.BELOW_1] for t, rows in tables.items()}
            replace(one, **shown).save(BUNDLED / name)
    scores = pd.concat([one.scores() for one in found.values()])
    pd.set_option("display.width", 200)
    for target in ("loss", "return"):
        for horizon in (30, 100):
            rows = scores[(scores["target"] == target) & (scores["horizon"] == horizon)]
            table = rows.drop(columns=["target", "horizon"]).set_index(["group", "method"])
            print(f"\n{target}, up to {horizon} times the cut-off\n{table.round(3).to_string()}")
    pooled = backtest.pooled(scores)
    print(f"\nOver the six tables\n{pooled.round(3).to_string(index=False)}\n")
    ours = scores[(scores["method"] == "ours") & (scores["target"] == "loss") & (scores["horizon"] == 30)]
    print(f"coverage to 30 times: 90% {ours['cover90'].mean():.2f} (wanted .85 to .97), 50% "
          f"{ours['cover50'].mean():.2f} (.40 to .65), least of a table {ours['cover90'].min():.2f} (.80)")  # fmt: skip
    for other, wanted in (("power_law", 0.30), ("huber_lse", 0.40), (backtest.BELOW_1, 1.0)):
        ratios = pd.concat([crps_ratio(one, other) for one in found.values()])
        print(f"CRPS / {other}: {np.exp(np.log(ratios).mean()):.2f} (wanted at most {wanted:.2f}); by table "
              + ", ".join(f"{g} {r:.2f}" for g, r in ratios.items()))  # fmt: skip
    regret = scores[(scores["method"] == "ours") & (scores["target"] == "loss") & (scores["horizon"] == 100)]
    print("N* regret to 100 times: " + ", ".join(f"{r.group} {r.regret:.2%}" for r in regret.itertuples()))


if __name__ == "__main__":
    main()
