"""The loop closed on two CPU cores: record an expert, sweep, forecast, train the recommendation, score the forecast.

    python benchmarks/demo.py --out demo/loop [--report reports/nethack-bot]

Runs the commands a user would type and prints each with its seconds: the built-in NetHack player's games become shards,
a sweep of small policies over small budgets becomes a run table, whose forecast for ten times the largest budget is
frozen before the recommended run is made, played and held against it. The report shows both. What is there already is
not made again; a run that was stopped goes on. The report, the tables and the frozen forecast go to --report.
"""

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

STEPS = 600_000
BUDGETS = (5e10, 1.4e11, 3.7e11, 1e12)
SIZES = 5
EPISODES, LAST_EPISODES = 10, 30
EPISODE_STEPS = 1_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("demo/loop"))
    parser.add_argument("--report", type=Path, help="OUT/report unless given")
    arguments = parser.parse_args()
    out, report = arguments.out, arguments.report or arguments.out / "report"
    out.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    games, shards, plan, sweep = out / "games", out / "shards", out / "plan.toml", out / "sweep"
    frozen, last, outcome = out / "recommendation.toml", out / "last.toml", out / "outcome.csv"
    budgets = ",".join(f"{budget:g}" for budget in BUDGETS)
    play = ("--max-steps", EPISODE_STEPS)
    if not games.exists():
        run("training", "collect", games, "--steps", STEPS)
    if not shards.exists():
        run("training", "shard", games, shards, "--holdout", 0.1)
    if not plan.exists():
        grid = ("--flops", budgets, "--sizes", SIZES, "--data", shards)
        run("training", "plan", *grid, "--separate", "--episodes", EPISODES, *play, "--out", plan)
    run("training", "sweep", plan, "--out", sweep)
    if not frozen.exists():
        run("forecast", "recommend", sweep / "runs.csv", "--flops", 10 * BUDGETS[-1], "--out", frozen)
    if not last.exists():
        given = ("--data", shards, "--episodes", LAST_EPISODES, *play)
        run("training", "configure", frozen, *given, "--out", last)
    run("training", "bc", last, "--out", out / "last", "--table", outcome)
    run("forecast", "score", frozen, "--runs", outcome, "--out", out / "score.json")
    # The report is made from copies beside it, so that what it says of its sources holds where it is read.
    report.mkdir(parents=True, exist_ok=True)
    for file, name in ((sweep / "runs.csv", "runs.csv"), (outcome, "outcome.csv"), (frozen, "frozen.toml")):
        shutil.copyfile(file, report / name)
    shutil.copyfile(plan, report / "plan.toml")
    scored = ("--scored", report / "frozen.toml", "--outcome", report / "outcome.csv")
    run("forecast", "report", report / "runs.csv", *scored, "--out", report, "--force")
    print(f"{report / 'index.html'}: {(time.perf_counter() - begun) / 60:.1f} minutes in all")


def run(*arguments: object) -> None:
    name, *rest = map(str, arguments)
    print(f"$ {name} {' '.join(rest)}", flush=True)
    begun = time.perf_counter()
    done = subprocess.run([str(Path(sys.executable).parent / name), *rest], check=False)
    if done.returncode:
        raise SystemExit(done.returncode)
    print(f"  {time.perf_counter() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
