"""A small sweep of reinforcement learning, and its forecast: PPO on NetHackScore, three sizes over four budgets.

    python benchmarks/rl_sweep.py reports/nethack-ppo

Trains LSTM policies of about 2e4, 4e4 and 8e4 parameters to 3.2e12 FLOPs, measuring at 1e11, 3.2e11, 1e12 and 3.2e12:
the mean score of 20 games, cut off after 1,000 actions (so are those it learns from). One run a size, whose rows are
its checkpoints. Writes FOLDER/runs.csv; runs and checkpoints lie among the system's temporary files, so that a sweep
that was stopped goes on. About half an hour on one core. Then

    forecast report reports/nethack-ppo/runs.csv --out reports/nethack-ppo
"""

import argparse
import tempfile
from pathlib import Path

from training.configure_rl import configure
from training.rl import train

SIZES = (2.1e4, 4e4, 8e4)
BUDGETS = (1e11, 3.2e11, 1e12, 3.2e12)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for params in SIZES:
        run = configure(
            task="NetHackScore", params=params, flops=BUDGETS[-1], checkpoints=BUDGETS[:-1], episodes=20,
            episode_steps=1000, learning_rate=1e-3,
        )  # fmt: skip
        train(run, out=Path(tempfile.gettempdir()) / "rl-sweep" / run.identity, table=folder / "runs.csv")


if __name__ == "__main__":
    main()
