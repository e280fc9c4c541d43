"""Whether reinforcement learning learns: PPO on NetHackScore from nothing, against keys pressed at random.

    python benchmarks/rl_learning.py [--frames 200000] [--seeds 0 1 2] [--games 100] [--rules 5]

Trains an LSTM policy of about 2e4 parameters for each seed in a temporary folder, with games cut off after 1,000
actions, and plays the same games with keys at random and with each policy as it has become. Prints mean scores with
their standard errors over games, the difference to random in standard errors of it, and the same for the mean over
seeds, with its error over all games and over seeds. About seven minutes a seed on two quiet cores. `--rules` are those
of `training configure`, for games side by side and batches.
"""

import argparse
import csv
import functools
import math
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from training.config.reinforcement import ReinforcementConfig
from training.design.cloning import RULES
from training.design.reinforcement import configure
from training.games.tasks import task_of
from training.learn.rl import train
from training.play.evaluate import RandomPolicy, evaluate

ACTIONS_A_GAME = 1_000
PARAMS = 2.1e4


def run_of(frames: int, seed: int, games: int, rules: int) -> ReinforcementConfig:
    """The run that plays so many frames, by the rules of `training configure`."""
    made = functools.partial(
        configure, env="nethack", task="NetHackScore", params=PARAMS, episodes=games, episode_steps=ACTIONS_A_GAME,
        seed=seed, rules=rules,
    )  # fmt: skip
    return made(flops=(frames + 0.5) * made(flops=1e18).flops_per_sample)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=200_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--games", type=int, default=100)
    parser.add_argument("--rules", type=int, default=RULES[-1])
    given = parser.parse_args()
    torch.set_num_threads(min(2, torch.get_num_threads()))
    run = run_of(given.frames, 0, given.games, given.rules)
    print(f"{run.envs} games in {run.groups} groups, gradients of {run.batch_size} × {run.unroll_length} frames")
    task = task_of(run.env, run.task, 0, run.episode_steps)
    found = []
    for seed in given.seeds:
        random = evaluate(RandomPolicy(task.actions), task, given.games, seed)
        assert random.standard_error is not None
        begun = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            table = Path(folder) / "runs.csv"
            train(run_of(given.frames, seed, given.games, given.rules), out=Path(folder) / "run", table=table)
            with table.open() as file:
                last = list(csv.DictReader(file))[-1]
        mean, error = float(last["return_mean"]), float(last["return_se"])
        gain, apart = mean - random.mean, math.hypot(error, random.standard_error)
        found.append((gain, apart))
        print(
            f"seed {seed}: {int(last['params']):,} parameters, {int(last['samples']):,} frames, "
            f"{float(last['flops']):.3g} FLOPs, {time.perf_counter() - begun:.0f} s with {given.games} games at the "
            "end\n"
            f"  keys at random {random.mean:.2f} ± {random.standard_error:.2f}, after PPO {mean:.2f} ± {error:.2f}: "
            f"{gain:+.2f}, which is {gain / apart:.1f} standard errors of the difference",
            flush=True,
        )
    if len(found) > 1:
        gains, errors = np.array(found).T
        mean, of_games = gains.mean(), math.sqrt((errors**2).sum()) / len(gains)
        of_seeds = float(gains.std(ddof=1)) / math.sqrt(len(gains))
        print(
            f"over {len(gains)} seeds {mean:+.2f}: {mean / of_games:.1f} standard errors over games (± {of_games:.2f}) "
            f"and {mean / of_seeds:.1f} over seeds (± {of_seeds:.2f})"
        )


if __name__ == "__main__":
    main()
