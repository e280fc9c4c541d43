"""Two sweeps of cloned NetHack players, a real expert's games and our bot's, and a forecast of each held against a run.

    python benchmarks/nethack_lstm.py NLD_AA_FOLDER [--out demo/nethack-lstm] [--report reports/nethack-lstm]

NLD_AA_FOLDER holds some forty games in the layout of NLD-AA; the bot's are recorded here. The plans are those of the
report's folder. Their tables become one, from which a forecast is frozen for each group; then the recommended runs are
made and held against it. What is there already is not made again; a run that was stopped goes on. About three hours on
two cores.
"""

import argparse
import os
import shutil
from pathlib import Path

import pandas as pd

from demo import run
from training.shards.reader import Shards

STEPS = 2_000_000
TARGETS = {"nld-aa-mini": 1e14, "scripted-bot": 3.2e13}
"""Groups, named like their shards, and the FLOPs for which each is forecast: ten times those of its sweep."""
MEASURED = ("--episodes", 100, "--max-steps", 1_000, "--heldout-frames", 50_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("games", type=Path)
    parser.add_argument("--out", type=Path, default=Path("demo/nethack-lstm"))
    parser.add_argument("--report", type=Path, default=Path("reports/nethack-lstm"))
    given = parser.parse_args()
    home, report = Path.cwd(), given.report.resolve()
    games = {"nld-aa-mini": given.games.resolve(), "scripted-bot": Path("bot-games")}
    given.out.mkdir(parents=True, exist_ok=True)
    os.chdir(given.out)  # a run is known by its config, which names its shards as the plans do
    if not games["scripted-bot"].exists():
        run("training", "collect", games["scripted-bot"], "--steps", STEPS)
    for group, folder in games.items():
        if not Path(group).exists():
            run("training", "shard", folder, group, "--holdout", 0.1)
        run("training", "sweep", report / f"plan-{group}.toml", "--out", f"sweep-{group}")
    pd.concat([pd.read_csv(f"sweep-{group}/runs.csv") for group in TARGETS]).to_csv("runs.csv", index=False)
    for group, flops in TARGETS.items():
        if not Path(f"frozen-{group}.toml").exists():
            asked = ("--flops", flops, "--group", group, "--max-samples", Shards(group).samples)
            run("forecast", "recommend", "runs.csv", *asked, "--out", f"frozen-{group}.toml")
        if not Path(f"last-{group}.toml").exists():
            named = ("--data", group, "--group", group, "--rules", 1)  # as its plan has it
            run("training", "configure", f"frozen-{group}.toml", *named, *MEASURED, "--out", f"last-{group}.toml")
    for group in TARGETS:
        run("training", "bc", f"last-{group}.toml", "--out", f"last-{group}", "--table", "outcome.csv")
    for name in ("runs.csv", "outcome.csv", *(f"frozen-{group}.toml" for group in TARGETS)):
        shutil.copyfile(name, report / name)
    os.chdir(home)
    frozen = [word for group in TARGETS for word in ("--scored", given.report / f"frozen-{group}.toml")]
    outcome = ("--outcome", given.report / "outcome.csv")
    run("forecast", "report", given.report / "runs.csv", *frozen, *outcome, "--out", given.report, "--force")


if __name__ == "__main__":
    main()
