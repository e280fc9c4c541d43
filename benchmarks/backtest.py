"""Back-test of the bundled tables: ours against the classical methods, and against what we promise.

    python benchmarks/backtest.py [--bundle] [--ours | --bundled] [--docs]

Fits at cut-offs spread over the compute of the NetHack table and of each of the five Atari games, and scores the
near-frontier rows beyond (see `forecast.backtest`). `huber_lse_below_1` is the Huber fit of losses under 1, a cut-off
that was chosen knowing the answer. A ratio is of mean CRPS at the cut-offs where both methods answered, geometric mean
over the six tables. --bundle writes the back-tests into the package, where the reports take them from; --bundled reads
them there in place of fitting, without the last method, which is not among them; --ours fits our own method anew and
reads the others there, after a change of the model alone. --docs writes the table of docs/how-it-was-tested.md and
README.md; with the last two the row of the last method stays as it is. About ten minutes on two cores; three with
--ours, seconds if bundled.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

import forecast
from documents import README, TESTED, block, replace_block
from forecast.verify import backtest

TABLES = ("nethack-transformer", "atari-cnn")
METHODS = (*backtest.METHODS, backtest.BELOW_1)
NAMES = {
    "ours": "**this forecast**",
    "power_law": "power law of minimal loss",
    "parabola": "isoFLOP parabolas",
    "huber_lse": "Huber log-sum-exp",
    backtest.BELOW_1: "the same, losses under 1 alone",
    "varpro": "variable projection",
}
"""Of the methods, in the documents."""
PARTS = ("forecasts", "choices", "paths", "refusals")
"""Tables of a back-test."""
BUNDLED = Path(forecast.__file__).parent / "published" / "backtests"


def crps_ratio(found: backtest.Backtest, other: str) -> pd.Series:
    """Ours over another method's, by group."""
    rows = found.forecasts[found.forecasts["target"] == "loss"]
    by_cutoff = rows.groupby(["group", "cutoff", "method"])["crps"].mean().unstack("method")
    both = by_cutoff.dropna(subset=["ours", other]).groupby("group").mean() if other in by_cutoff else pd.DataFrame()
    return both["ours"] / both[other]


def fitted(name: str) -> backtest.Backtest:
    """Every method at every cut-off of a bundled table."""
    return backtest.backtest(forecast.read_runs(name), methods=METHODS)


def bundled(name: str) -> backtest.Backtest:
    """The back-test that the package holds of a bundled table: every method but `huber_lse_below_1`."""
    kept = backtest.bundled_backtest(forecast.read_runs(name))
    if kept is None:
        raise SystemExit(f"The back-test in the package is not of {name} as it is now; run with --bundle.")
    return kept


def ours_anew(name: str) -> backtest.Backtest:
    """Our own method fitted anew, the others as the package holds them."""
    kept, anew = bundled(name), backtest.backtest(forecast.read_runs(name), methods=("ours",))
    with TemporaryDirectory() as folder:  # to the digits that the package holds, so that cut-offs are the same numbers
        anew.save(folder)
        anew = backtest.load_backtest(folder)
    tables = {}
    for part in PARTS:
        others = getattr(kept, part).query("method != 'ours'")
        new = getattr(anew, part)
        tables[part] = pd.concat([new, others], ignore_index=True) if len(new) else others
    return replace(kept, **tables)


def bundle(name: str, whole: backtest.Backtest) -> None:
    """Write a back-test into the package, without the method whose cut-off was chosen knowing the answer."""
    tables = {part: getattr(whole, part) for part in PARTS}
    shown = {part: rows[rows["method"] != backtest.BELOW_1] for part, rows in tables.items()}
    replace(whole, **shown).save(BUNDLED / name)


def docs_table(scores: pd.DataFrame, before: str) -> str:
    """The scores to 30 times the cut-off over all tables, in Markdown; other methods keep their row of before."""
    pooled = backtest.pooled(scores)
    near = pooled[pooled["horizon"] == 30].set_index(["target", "method"])
    lines = [
        "| method | CRPS of log loss | 90% covers | 50% covers | CRPS of log N* | regret of N* | CRPS of log return |",
        "|---|---|---|---|---|---|---|",
    ]
    for method, name in NAMES.items():
        if ("loss", method) not in near.index:
            lines += [line for line in before.splitlines() if line.startswith(f"| {name} |")]
            continue
        loss, returns = near.loc[("loss", method)], near.loc[("return", method)]
        of_loss, of_size, of_return = (
            f"{x:.3f}".removeprefix("0") for x in (loss["crps"], loss["size_crps"], returns["crps"])
        )
        shares = f"{loss['cover90']:.0%} | {loss['cover50']:.0%}"
        lines.append(f"| {name} | {of_loss} | {shares} | {of_size} | {loss['regret']:.1%} | {of_return} |")
    return "\n".join(lines)


def print_scores(scores: pd.DataFrame) -> None:
    """By table and over all of them."""
    pd.set_option("display.width", 200)
    for target in ("loss", "return"):
        for horizon in (30, 100):
            rows = scores[(scores["target"] == target) & (scores["horizon"] == horizon)]
            table = rows.drop(columns=["target", "horizon"]).set_index(["group", "method"])
            print(f"\n{target}, up to {horizon} times the cut-off\n{table.round(3).to_string()}")
    print(f"\nOver the six tables\n{backtest.pooled(scores).round(3).to_string(index=False)}\n")


def print_promises(scores: pd.DataFrame, tests: Sequence[backtest.Backtest]) -> None:
    """What is promised, beside what was wanted."""
    ours = scores[(scores["method"] == "ours") & (scores["target"] == "loss") & (scores["horizon"] == 30)]
    print(f"coverage to 30 times: 90% {ours['cover90'].mean():.2f} (wanted .85 to .97), 50% "
          f"{ours['cover50'].mean():.2f} (.40 to .65), least of a table {ours['cover90'].min():.2f} (.80)")  # fmt: skip
    for other, wanted in (("power_law", 0.30), ("huber_lse", 0.40), (backtest.BELOW_1, 1.0)):
        if other not in scores["method"].to_numpy():
            continue
        ratios = pd.concat([crps_ratio(one, other) for one in tests])
        print(f"CRPS / {other}: {np.exp(np.log(ratios).mean()):.2f} (wanted at most {wanted:.2f}); by table "
              + ", ".join(f"{g} {r:.2f}" for g, r in ratios.items()))  # fmt: skip
    regret = scores[(scores["method"] == "ours") & (scores["target"] == "loss") & (scores["horizon"] == 100)]
    print("N* regret to 100 times: " + ", ".join(f"{r.group} {r.regret:.2%}" for r in regret.itertuples()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", action="store_true", help="write the back-tests into the package")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--ours", action="store_true", help="fit our method alone, read the others in the package")
    source.add_argument("--bundled", action="store_true", help="read the back-tests in the package")
    parser.add_argument("--docs", action="store_true", help="write the table of the documents")
    options = parser.parse_args()
    make = bundled if options.bundled else ours_anew if options.ours else fitted
    tests = {name: make(name) for name in TABLES}
    if options.bundle:
        for name, whole in tests.items():
            bundle(name, whole)
    scores = pd.concat([one.scores() for one in tests.values()])
    print_scores(scores)
    print_promises(scores, list(tests.values()))
    if options.docs:
        for file in (TESTED, README):
            replace_block("backtest", docs_table(scores, block("backtest", file)), file)


if __name__ == "__main__":
    main()
