"""How well and how fast the built-in NetHack expert plays, beside a player that presses keys at random.

    python benchmarks/expert.py --games 30

Games are recorded as `training collect` records them, into a folder that is thrown away. By default they are those of
seed 2000, on which the expert was not tuned. The time includes the game, the recording and the start of the processes.
"""

import argparse
import resource
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from training.record.nethack.folder import read_list
from training.record.nethack.recorder import Summary, collect


def measure(player: str, options: argparse.Namespace, limit: int) -> None:
    """Record and report a player's games."""
    with tempfile.TemporaryDirectory() as out:
        used = cpu_seconds()
        summary = collect(
            out,
            task=options.task,
            games=options.games,
            player=player,
            workers=options.processes,
            seed=options.seed,
            max_episode_steps=limit,
        )
        report(player, read_list(Path(out)), summary, cpu_seconds() - used)


def cpu_seconds() -> float:
    """Processor time of all child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def report(player: str, games: list[dict], summary: Summary, seconds: float) -> None:
    scores = np.array([game["score"] for game in games])
    error = f" ± {summary.standard_error:.0f}" if summary.standard_error is not None else ""
    print(
        f"{player}: mean score {summary.mean_score:.0f}{error}, median {np.median(scores):.0f}, "
        f"{scores.min()} to {scores.max()}, over {summary.games} games"
    )
    print(
        f"  {summary.steps / summary.games:.0f} steps a game, "
        f"{summary.bytes_per_step:.1f} bytes a step, {summary.steps / seconds:,.0f} steps per second of one core, "
        f"{summary.steps_per_second:,.0f} by the clock with all processes"
    )
    ends = Counter(f"cut off: {game['cut_off']}" if game["cut_off"] else game["death"] for game in games)
    print("  ended: " + "; ".join(f"{end} × {count}" if count > 1 else end for end, count in ends.most_common()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", type=int, default=30)
    parser.add_argument("--seed", type=int, default=2000)
    parser.add_argument("--task", default="mon-hum-neu-mal", help="role-race-alignment-gender, or @")
    parser.add_argument(
        "--limit", type=int, default=100_000, help="actions after which a game is cut off; random: 5,000"
    )
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    measure("bot", options, options.limit)
    measure("random", options, min(options.limit, 5_000))


if __name__ == "__main__":
    main()
