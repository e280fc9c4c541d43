"""The closed loop at the scale of a card: record, sweep, and then train and play what the forecast recommends.

    python benchmarks/gpu_loop.py --minutes 8 --out demo/card
    forecast recommend demo/card/sweep/runs.csv --flops 1e15 --out recommendation.toml        # wherever you like
    python benchmarks/gpu_loop.py --minutes 8 --out demo/card --outcome recommendation.toml

The first call records games of the built-in player on all cores, converts them on all cores, and sweeps six sizes over
five budgets, four decades; `OUT/sweep/runs.csv` grows as rows are done. When the time is up it stops, and what was
finished counts; called again it goes on. With --outcome the recommended run is trained and played, for its row in
`OUT/outcome.csv`. Without a GPU everything is tiny, to show that it runs.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

GRACE = 15.0
"""Seconds kept for a command to save what it has when the time is up."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How large the loop is."""

    steps: int
    """Steps of the built-in player."""
    budgets: tuple[float, ...]
    """Of the sweep (FLOPs)."""
    sizes: int
    """Model sizes of each budget."""
    centre: str
    """A size that is believed to be the best at a budget."""
    episodes: int
    """Games that each checkpoint plays."""
    steps_a_game: int
    """Actions after which a game is cut off."""


CARD = Scale(
    steps=2_500_000, budgets=(1e10, 1e11, 1e12, 1e13, 1e14), sizes=6, centre="6e5@1e14", episodes=32, steps_a_game=2_000
)
TINY = Scale(steps=4_000, budgets=(1e9, 4e9), sizes=2, centre="1e4@4e9", episodes=2, steps_a_game=50)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--out", type=Path, default=Path("demo/card"))
    parser.add_argument("--outcome", type=Path, help="what `forecast recommend --out` wrote: train and play it")
    options = parser.parse_args()
    scale = CARD if torch.cuda.is_available() else TINY
    out, end = options.out, time.monotonic() + 60 * options.minutes
    out.mkdir(parents=True, exist_ok=True)
    games, shards, plan = out / "games", out / "shards", out / "plan.toml"
    play = ["--episodes", scale.episodes, "--max-steps", scale.steps_a_game]
    commands: list[tuple[Path | None, list[object]]] = [
        (games, ["collect", games, "--steps", scale.steps]),
        (shards, ["shard", games, shards, "--holdout", 0.1]),
    ]
    if options.outcome:
        last = out / "last.toml"
        commands += [
            (last, ["configure", options.outcome, "--data", shards, *play, "--out", last]),
            (None, ["bc", last, "--out", out / "last", "--table", out / "outcome.csv"]),
        ]
    else:
        budgets = ",".join(f"{budget:g}" for budget in scale.budgets)
        sizes = ["--sizes", scale.sizes, "--spacing", 1.6, "--centre", scale.centre, "--separate"]
        grid = ["--flops", budgets, *sizes, "--data", shards]
        commands += [
            (plan, ["plan", *grid, *play, "--out", plan]),
            (None, ["sweep", plan, "--out", out / "sweep"]),
        ]
    for made, command in commands:
        if made is None or not made.exists():
            run(command, end)
    table = out / ("outcome.csv" if options.outcome else "sweep/runs.csv")
    print(f"{table}: {max(len(table.read_text().splitlines()) - 1, 0)} rows.")


def run(command: list[object], end: float) -> None:
    """A command of `training`; interrupted, as by Ctrl-C, when the time is up. Exits where it fails."""
    words = [str(word) for word in command]
    print("$ training " + " ".join(words), flush=True)
    begun = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "training.cli", *words], start_new_session=True)
    try:
        code = process.wait(max(end - begun - GRACE, 1.0))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        print("  The time is up. What was finished counts; call this again to go on.", flush=True)
        raise SystemExit(0) from None
    print(f"  {time.monotonic() - begun:.0f} s", flush=True)
    if code:
        raise SystemExit(code)


if __name__ == "__main__":
    main()
