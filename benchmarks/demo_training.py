"""The whole path on two CPU cores: record games, convert them, clone them at three sizes, play, read the run table.

    python benchmarks/demo_training.py --out demo/training

Runs the commands a user would type and prints each with its seconds. What is there already is not made again, but for
runs, which go on where they were.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

STEPS = 200_000
SIZES = (2.2e4, 4.4e4, 8.8e4)
BUDGETS = (2e10, 6e10, 1.8e11)
EPISODES = 10
EPISODE_STEPS = 2_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("demo/training"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    games, shards, table = out / "games", out / "shards", out / "runs.csv"
    if not games.exists():
        run("collect", games, "--steps", STEPS)
    if not shards.exists():
        run("shard", games, shards, "--holdout", 0.15)
    for size in SIZES:
        config = out / f"run-{size:.2g}.toml"
        checkpoints = ",".join(f"{budget:g}" for budget in BUDGETS[:-1])
        options = ("--params", size, "--flops", BUDGETS[-1], "--checkpoints", checkpoints, "--data", shards)
        run("configure", *options, "--out", config, "--force")
        run("bc", config, "--out", out / f"run-{size:.2g}", "--table", table)
    play = ("--episodes", EPISODES, "--max-steps", EPISODE_STEPS)
    run("evaluate", out / f"run-{SIZES[-1]:.2g}", *play)
    run("evaluate", "random", *play)

    import forecast

    runs = forecast.read_runs(table)
    columns = ["params", "samples", "flops", "loss", "loss_se"]
    print(runs.table[columns].to_string(index=False, float_format="{:.4g}".format))
    print(f"{table}: {len(runs.table)} rows that `forecast` reads; {time.perf_counter() - begun:.0f} s in all")


def run(*arguments: object) -> None:
    command = [str(Path(sys.executable).parent / "training"), *map(str, arguments)]
    print("$ training " + " ".join(map(str, arguments)), flush=True)
    begun = time.perf_counter()
    done = subprocess.run(command, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)
    print(f"  {time.perf_counter() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
