"""What the rules of `training configure` for step size and batch give away: the same run with others beside it.

    python benchmarks/rules.py [SHARDS] [--out demo/rules] [--cells 2e4@3.2e11 …] [--times 1 2] [--shapes 8x16 …]

A cell is a size and a budget. Each is trained by the rules, and with their step size times each of --times and batches
of each of --shapes (sequences x frames), on the same demonstrations and seeds; runs go side by side, a core each.
What is there already is not made again. Without SHARDS the built-in player records some. Printed is each held-out loss
(nats), and what the rules give away beside the best that was tried.
"""

import argparse
import os
from dataclasses import replace
from pathlib import Path

import pandas as pd

from games import shards
from training.config.cloning import CloningConfig
from training.design.cloning import RULES, configure
from training.sweeps.jobs import ThisMachine
from training.sweeps.sweep import Sweep

CELLS = ("2e4@3.2e11", "8e4@3.2e11", "2e4@1e12", "8e4@1e12")
OWN = "own"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", nargs="?", help="games of the built-in player unless given")
    parser.add_argument("--out", type=Path, default=Path("demo/rules"))
    parser.add_argument("--cells", nargs="+", default=CELLS, help="sizes at budgets")
    parser.add_argument("--times", type=float, nargs="+", default=(0.5, 1, 2, 4), help="the rules' step size")
    parser.add_argument("--shapes", nargs="+", default=(), help="of a batch, beside the rules'")
    parser.add_argument("--rules", type=int, default=RULES[-1], help="version of the rules")
    parser.add_argument("--seeds", type=int, nargs="+", default=(0,))
    given = parser.parse_args()
    demonstrations = given.shards or str(shards())
    cells = {
        cell: {
            (shape, times): [run_of(cell, demonstrations, shape, times, seed, given.rules) for seed in given.seeds]
            for shape in (OWN, *given.shapes)
            for times in given.times
        }
        for cell in given.cells
    }
    runs = {run.identity: run for of_cell in cells.values() for seeds in of_cell.values() for run in seeds}
    sweep = Sweep.of(sorted(runs.values(), key=lambda run: run.flops), given.out, say=print)
    sweep.go(ThisMachine(len(os.sched_getaffinity(0))))
    table = pd.read_csv(given.out / "runs.csv").set_index("config")
    for cell, of_cell in cells.items():
        report(cell, {key: table.loc[[run.identity for run in seeds]] for key, seeds in of_cell.items()})


def run_of(cell: str, shards: str, shape: str, times: float, seed: int, rules: int) -> CloningConfig:
    """The run of `size@budget` by the rules, but for its step size times this and the shape of its batch."""
    params, flops = map(float, cell.split("@"))
    given = dict(zip(("batch_size", "unroll_length"), map(int, shape.split("x")), strict=True)) if shape != OWN else {}
    own = configure(params=params, flops=flops, data=shards, heldout_frames=50_000, seed=seed, rules=rules, **given)
    return replace(own, learning_rate=float(f"{own.learning_rate * times:.3g}"))


def report(cell: str, rows: dict[tuple[str, float], pd.DataFrame]) -> None:
    """The losses of a cell by shape of the batch and step size, means over seeds, and what the rules give away."""
    print(f"\n{cell}")
    losses = {key: float(of_key["loss"].mean()) for key, of_key in rows.items()}
    for shape in dict.fromkeys(shape for shape, _ in rows):
        of_shape = {times: losses[s, times] for s, times in rows if s == shape}
        one = next(of_key.iloc[0] for (s, _), of_key in rows.items() if s == shape)
        told = "  ".join(f"{times:g}: {loss:.3f}" for times, loss in of_shape.items())
        named = f"{one['batch_size']} x {one['unroll_length']}, {one['samples']:,} samples, {one['update']:,} updates"
        print(f"  {named}, {one['frames_per_second']:,.0f} frames/s; step size times {told}")
    if (OWN, 1) in rows:
        error = float(rows[OWN, 1]["loss_se"].mean())
        print(
            f"  the rules give away {losses[OWN, 1] / min(losses.values()) - 1:.1%} (standard error {error:.3f} nats)"
        )


if __name__ == "__main__":
    main()
