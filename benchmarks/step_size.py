"""What the rules of `training configure` for step size and batch give away: the same run with others beside it.

    python benchmarks/step_size.py SHARDS [--out demo/step-size] [--cells 2e4@3.2e11 8e4@3.2e12] [--times 0.5 1 2 4]

A cell is a size and a budget. Each is trained with the step size and the batch of the rule, and with those times each
of --times and --batches, on the same demonstrations with the same seed; runs go side by side, a core each. What is
there already is not made again. Printed is each held-out loss (nats), the step size that a parabola through the least
and its neighbours puts at the least (log by log), and what the rule gives away beside the best that was tried.
"""

import argparse
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from training.config import RunConfig
from training.configure import configure
from training.jobs import ThisMachine
from training.sweep import Sweep

CELLS = ("2e4@3.2e11", "8e4@3.2e11", "8e4@3.2e12", "3.2e5@3.2e12")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards")
    parser.add_argument("--out", type=Path, default=Path("demo/step-size"))
    parser.add_argument("--cells", nargs="+", default=CELLS, help="sizes at budgets")
    parser.add_argument("--times", type=float, nargs="+", default=(0.5, 1, 2, 4), help="the rule's step size")
    parser.add_argument("--batches", type=float, nargs="+", default=(1,), help="times the rule's batch")
    parser.add_argument("--heldout-frames", type=int, default=50_000)
    given = parser.parse_args()
    rules = [ruled(cell, given.shards, given.heldout_frames) for cell in given.cells]
    runs = [beside(rule, step, batch) for rule in rules for batch in given.batches for step in given.times]
    sweep = Sweep.of(sorted(runs, key=lambda run: run.flops), given.out, say=print)
    sweep.go(ThisMachine(len(os.sched_getaffinity(0))))
    table = pd.read_csv(given.out / "runs.csv").set_index("config")
    for rule in rules:
        report(rule, {(b, s): table.loc[beside(rule, s, b).identity] for b in given.batches for s in given.times})


def ruled(cell: str, shards: str, heldout_frames: int) -> RunConfig:
    """The run of `size@budget` by the rules."""
    params, flops = map(float, cell.split("@"))
    return configure(params=params, flops=flops, data=shards, heldout_frames=heldout_frames)


def beside(rule: RunConfig, step: float, batch: float) -> RunConfig:
    """The same run with its step size and batch times these."""
    return replace(
        rule,
        learning_rate=float(f"{rule.learning_rate * step:.3g}"),
        batch_size=max(1, round(rule.batch_size * batch)),
    )


def report(rule: RunConfig, rows: dict[tuple[float, float], pd.Series]) -> None:
    """The losses of a cell by (batch, step), where they are least, and what the rule gives away."""
    print(f"\n{rule.params:,} parameters, {rule.flops:.3g} FLOPs, {rule.samples:,} samples")
    for batch in dict.fromkeys(batch for batch, _ in rows):
        of_batch = [row for (times, _), row in rows.items() if times == batch]
        steps, losses = ([row[name] for row in of_batch] for name in ("learning_rate", "loss"))
        told = "  ".join(f"{step:.2g}: {loss:.4f}" for step, loss in zip(steps, losses, strict=True))
        shape = f"batch {of_batch[0]['batch_size']} x {rule.unroll_length}, {of_batch[0]['update']:,} updates"
        print(f"  {shape}: {told}, least near {least(steps, losses)}")
    if (1, 1) in rows:
        own, lowest = rows[1, 1], min(row["loss"] for row in rows.values())
        given_away = f"{own['loss'] / lowest - 1:.1%}"
        print(f"  the rule, {own['learning_rate']:g}: {given_away} (standard error over games {own['loss_se']:.3f})")


def least(steps: Sequence[float], losses: Sequence[float]) -> str:
    """Where the parabola through the least and its neighbours has its minimum."""
    x, y = np.log(steps), np.log(losses)
    i = int(np.argmin(y))
    if not 0 < i < len(x) - 1:
        return f"{steps[i]:.2g}, at the edge"
    curve, slope, _ = np.polyfit(x[i - 1 : i + 2], y[i - 1 : i + 2], 2)
    return f"{math.exp(-slope / (2 * curve)):.2g}"


if __name__ == "__main__":
    main()
