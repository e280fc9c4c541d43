"""Whether reinforcement learning learns: PPO on NetHackScore from nothing, against keys pressed at random.

    python benchmarks/rl_learning.py [--frames 200000] [--seed 0]

Trains an LSTM policy of about 2e4 parameters in a temporary folder, about five minutes on one quiet core, with games
cut off after 1,000 actions, and plays the same 30 games with keys at random and with the policy as it has become.
Prints both mean scores with their standard errors, and the difference in standard errors of it. One seed is one draw:
the difference holds for the weights that came, not for what PPO does on average.
"""

import argparse
import csv
import dataclasses
import math
import tempfile
import time
from pathlib import Path

import torch

from training.config import ReinforcementConfig
from training.configure_rl import configure
from training.evaluate import RandomPolicy, evaluate
from training.measure import task_of
from training.rl import train

GAMES = 30
ACTIONS_A_GAME = 1_000
PARAMS, LEARNING_RATE = 2.1e4, 1e-3


def run_of(frames: int, seed: int) -> ReinforcementConfig:
    """The run that plays so many frames."""
    run = configure(
        env="nethack", task="NetHackScore", params=PARAMS, flops=1e18, learning_rate=LEARNING_RATE, episodes=GAMES,
        episode_steps=ACTIONS_A_GAME, seed=seed,
    )  # fmt: skip
    return dataclasses.replace(run, samples=frames, flops=frames * run.flops_per_sample)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    run = run_of(given.frames, given.seed)
    task = task_of(run.env, run.task, 0, run.episode_steps)
    before = evaluate(RandomPolicy(task.actions), task, GAMES, run.seed)
    assert before.standard_error is not None
    print(f"keys at random: {before.mean:.2f} ± {before.standard_error:.2f} over {GAMES} games", flush=True)
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "runs.csv"
        train(run, out=Path(folder) / "run", table=table)
        with table.open() as file:
            last = list(csv.DictReader(file))[-1]
    seconds = time.perf_counter() - begun
    mean, error = float(last["return_mean"]), float(last["return_se"])
    apart = math.hypot(error, before.standard_error)
    print(
        f"{int(last['params']):,} parameters, {int(last['samples']):,} frames, {float(last['flops']):.3g} FLOPs, "
        f"{seconds:.0f} s with {GAMES} games at the end\n"
        f"keys at random {before.mean:.2f} ± {before.standard_error:.2f}, after PPO {mean:.2f} ± {error:.2f}: "
        f"{mean - before.mean:+.2f}, which is {(mean - before.mean) / apart:.1f} standard errors of the difference"
    )


if __name__ == "__main__":
    main()
