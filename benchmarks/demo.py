"""The loop closed on two CPU cores: train small runs, forecast a larger one, train it, score the forecast.

    python benchmarks/demo.py --out demo/loop [--report reports/nethack-bot]
    python benchmarks/demo.py --atari Pong Breakout --out demo/atari [--report reports/atari-clones]
    python benchmarks/demo.py --ppo --out demo/ppo [--report reports/nethack-ppo]

Runs the commands a user would type and prints each with its seconds. The games of a player that comes with the package,
of NetHack or of Atari, are recorded and cloned; or, with --ppo, NetHack is learned by playing. A sweep of small
policies over small budgets becomes a run table, whose forecast for a larger budget is frozen before the recommended run
is made, played and held against it. The report shows both. What is there already is not made again; a run that was
stopped goes on. The report, the tables and the frozen forecasts go to --report. The first takes half an hour, the
second an hour, the third four hours.
"""

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from training.shards.reader import Shards

STEPS = 600_000
"""Recorded of NetHack."""
GAMES = {"Pong": 300}
"""Recorded of Atari, where they are long; else 600."""
CORES = {"Pong": ("nature", "8e4")}
"""Of clones, and their expected best size at 1e12 FLOPs, where the published network learns nothing at these budgets;
else that one, and 2e4."""


@dataclass(frozen=True, kw_only=True)
class Loop:
    """Of one game: where its runs are made, and which."""

    folder: Path
    budgets: Sequence[float]
    """Of the sweep (FLOPs)."""
    ahead: float
    """The recommended run's budget over the largest of these."""
    task: Sequence[object]
    """What is learned, as options of `training`."""
    grid: Sequence[object]
    """Sizes and seeds of the sweep, as options of `training plan`."""
    play: Sequence[object]
    """How long games are, as options of `training`."""
    episodes: int
    """Played for each row of the table."""
    last_episodes: int
    """Played with a recommended run."""
    group: Sequence[object] = ()
    """In the run table, as an option of `forecast`."""
    last_seeds: Sequence[int] = (0,)
    """Of the recommended run."""
    passes: Sequence[object] = ()
    """Most over the expert's games in a recommended run, as an option of `training`; the forecast knows of them."""
    record: Sequence[Sequence[object]] = ()
    """The commands that make shards of an expert's games, each with what it makes last; none where there is none."""

    @property
    def frozen(self) -> Path:
        """The forecast, before its run."""
        return self.folder / "recommendation.toml"

    @property
    def shards(self) -> Path:
        """An expert's games."""
        return self.folder / "shards"

    def sweep(self, out: Path) -> None:
        """The expert's games, and a row of the run table for each size and budget."""
        self.folder.mkdir(exist_ok=True)
        for command in self.record:
            if not Path(str(command[-1])).exists():
                run(*command)
        plan, budgets = self.folder / "plan.toml", ",".join(f"{budget:g}" for budget in self.budgets)
        if not plan.exists():
            given = (*self.task, *self.grid, *self.play, "--episodes", self.episodes, "--flops", budgets)
            run("training", "plan", *given, *self._data(), "--out", plan)
        run("training", "sweep", plan, "--out", out)

    def forecast(self, table: Path) -> None:
        """Frozen before the run that it is about is made."""
        seen_again = ("--unique-samples", Shards(self.shards).samples) if self.record else ()
        if not self.frozen.exists():
            budget = f"{self.ahead * self.budgets[-1]:g}"
            run("forecast", "recommend", table, *self.group, "--flops", budget, *seen_again, "--out", self.frozen)

    def last(self, outcome: Path) -> None:
        """The recommended run, and how the forecast did."""
        for seed in self.last_seeds:
            config = self.folder / f"last-{seed}.toml"
            if not config.exists():
                given = (*self.task, *self.play, "--episodes", self.last_episodes, "--seed", seed)
                run("training", "configure", self.frozen, *given, *self._data(), *self.passes, "--out", config)
            loop = "bc" if self.record else "rl"
            run("training", loop, config, "--out", self.folder / f"last-{seed}", "--table", outcome)
        run("forecast", "score", self.frozen, "--runs", outcome, "--out", self.folder / "score.json")

    def _data(self) -> Sequence[object]:
        return ("--data", self.shards) if self.record else ()


def of_bot(folder: Path) -> Loop:
    """NetHack's built-in player, cloned."""
    games, shards = folder / "games", folder / "shards"
    return Loop(
        folder=folder,
        budgets=(5e10, 1.4e11, 3.7e11, 1e12),
        ahead=10,
        task=(),
        grid=("--sizes", 5, "--separate"),
        play=("--max-steps", 1_000),
        episodes=10,
        last_episodes=30,
        record=(
            ("training", "collect", "--steps", STEPS, games),
            ("training", "shard", games, "--holdout", 0.1, shards),
        ),
    )


def of_atari(folder: Path, game: str) -> Loop:
    """A player of an Atari game, cloned."""
    task, (core, size) = ("--env", "atari", "--task", game), CORES.get(game, ("cnn", "2e4"))
    return Loop(
        folder=folder,
        budgets=(6.25e10, 2.5e11, 1e12, 4e12),
        ahead=5,
        task=(*task, "--core", core),
        grid=("--sizes", 4, "--centre", f"{size}@1e12"),
        play=(),
        episodes=10,
        last_episodes=30,
        passes=("--max-epochs", 20),
        group=("--group", game if core == "cnn" else f"{game}-{core}"),
        record=(("training", "collect", *task, "--games", GAMES.get(game, 600), folder / "shards"),),
    )


def of_ppo(folder: Path) -> Loop:
    """NetHack's score, learned by playing."""
    return Loop(
        folder=folder,
        budgets=(3.2e11, 1e12, 3.2e12, 1e13),
        ahead=10,
        task=("--algorithm", "ppo", "--task", "NetHackScore"),
        grid=("--sizes", 4, "--centre", "4e4@1e12", "--seeds", 2),
        play=(),
        episodes=100,
        last_episodes=100,
        last_seeds=(2, 3),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--atari", nargs="+", default=[], metavar="GAME")
    parser.add_argument("--ppo", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("demo/loop"))
    parser.add_argument("--report", type=Path, help="OUT/report unless given")
    arguments = parser.parse_args()
    out, report = arguments.out, arguments.report or arguments.out / "report"
    out.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    whole = {"": of_ppo(out) if arguments.ppo else of_bot(out)}
    loops = {f"-{game}": of_atari(out / game, game) for game in arguments.atari} or whole
    table, outcome = out / "sweep" / "runs.csv", out / "outcome.csv"
    for loop in loops.values():
        loop.sweep(table.parent)
    for loop in loops.values():
        loop.forecast(table)
    for loop in loops.values():
        loop.last(outcome)
    # The report is made from copies beside it, so that what it says of its sources holds where it is read.
    report.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(table, report / "runs.csv")
    shutil.copyfile(outcome, report / "outcome.csv")
    scored: list[object] = []
    for end, loop in loops.items():
        shutil.copyfile(loop.folder / "plan.toml", report / f"plan{end}.toml")
        scored += ["--scored", shutil.copyfile(loop.frozen, report / f"frozen{end}.toml")]
    scored += ["--outcome", report / "outcome.csv"]
    run("forecast", "report", report / "runs.csv", *scored, "--out", report, "--force")
    print(f"{report / 'index.html'}: {(time.perf_counter() - begun) / 60:.1f} minutes in all")


def run(*arguments: object) -> None:
    """A command, as a user would type it."""
    name, *rest = map(str, arguments)
    print(f"$ {name} {' '.join(rest)}", flush=True)
    begun = time.perf_counter()
    done = subprocess.run([str(Path(sys.executable).parent / name), *rest], check=False)
    if done.returncode:
        raise SystemExit(done.returncode)
    print(f"  {time.perf_counter() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
