"""The loop closed on two CPU cores: record an expert, sweep, forecast, train the recommendation, score the forecast.

    python benchmarks/demo.py --out demo/loop [--report reports/nethack-bot]
    python benchmarks/demo.py --atari Pong Breakout --out demo/atari [--report reports/atari-clones]

Runs the commands a user would type and prints each with its seconds: the games of a player that comes with the package,
of NetHack or of Atari, become shards; a sweep of small policies over small budgets becomes a run table, whose forecast
for a larger budget is frozen before the recommended run is made, played and held against it. The report shows both.
What is there already is not made again; a run that was stopped goes on. The report, the tables and the frozen forecasts
go to --report.
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

NETHACK_STEPS, ATARI_GAMES = 600_000, 600


@dataclass(frozen=True, kw_only=True)
class Clones:
    """Of one player: where they are made, and how."""

    folder: Path
    game: str = ""
    """Of Atari; none is NetHack."""
    budgets: Sequence[float] = (5e10, 1.4e11, 3.7e11, 1e12)
    ahead: float = 10.0
    """The recommended run's budget over the largest of these."""
    grid: Sequence[object] = ("--sizes", 5, "--separate")
    play: Sequence[object] = ("--max-steps", 1_000)
    episodes: int = 10
    """Played for each row of the table."""
    last_episodes: int = 30
    """Played with the recommended run."""

    @property
    def frozen(self) -> Path:
        """The forecast, before its run."""
        return self.folder / "recommendation.toml"

    def record(self) -> None:
        """The player's games, as shards."""
        shards, games = self.folder / "shards", self.folder / "games"
        if shards.exists():
            return
        if self.game:
            run("training", "collect", shards, "--env", "atari", "--task", self.game, "--games", ATARI_GAMES)
            return
        if not games.exists():
            run("training", "collect", games, "--steps", NETHACK_STEPS)
        run("training", "shard", games, shards, "--holdout", 0.1)

    def sweep(self, out: Path) -> None:
        """A row of the run table for each size and budget."""
        plan, env = self.folder / "plan.toml", ("--env", "atari", "--task", self.game) if self.game else ()
        if not plan.exists():
            budgets = ",".join(f"{budget:g}" for budget in self.budgets)
            given = ("--flops", budgets, "--data", self.folder / "shards", "--episodes", self.episodes)
            run("training", "plan", *env, *given, *self.grid, *self.play, "--out", plan)
        run("training", "sweep", plan, "--out", out)

    def forecast(self, table: Path) -> None:
        """Frozen before the run that it is about is made."""
        group = ("--group", self.game) if self.game else ()
        if not self.frozen.exists():
            given = ("--flops", f"{self.ahead * self.budgets[-1]:g}", *self.limit())
            run("forecast", "recommend", table, *group, *given, "--out", self.frozen)

    def limit(self) -> Sequence[object]:
        """Samples that there are, where runs see them more than once."""
        return ("--unique-samples", Shards(self.folder / "shards").samples) if self.game else ()

    def last(self, outcome: Path) -> None:
        """The recommended run, and how the forecast did."""
        config = self.folder / "last.toml"
        if not config.exists():
            given = ("--data", self.folder / "shards", "--episodes", self.last_episodes, *self.play)
            env = ("--env", "atari", "--task", self.game) if self.game else ()
            run("training", "configure", self.frozen, *env, *given, "--out", config)
        run("training", "bc", config, "--out", self.folder / "last", "--table", outcome)
        run("forecast", "score", self.frozen, "--runs", outcome, "--out", self.folder / "score.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--atari", nargs="+", default=[], metavar="GAME")
    parser.add_argument("--out", type=Path, default=Path("demo/loop"))
    parser.add_argument("--report", type=Path, help="OUT/report unless given")
    arguments = parser.parse_args()
    out, report = arguments.out, arguments.report or arguments.out / "report"
    out.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    all_clones = [
        Clones(
            folder=out / game,
            game=game,
            budgets=(6.25e10, 2.5e11, 1e12, 4e12),
            ahead=5.0,
            grid=("--sizes", 4, "--centre", "2e4@1e12", "--max-epochs", 20),
            play=(),
            episodes=20,
            last_episodes=50,
        )
        for game in arguments.atari
    ] or [Clones(folder=out)]
    sweep, outcome = out / "sweep", out / "outcome.csv"
    for clones in all_clones:
        clones.folder.mkdir(exist_ok=True)
        clones.record()
        clones.sweep(sweep)
    for clones in all_clones:
        clones.forecast(sweep / "runs.csv")
    for clones in all_clones:
        clones.last(outcome)
    # The report is made from copies beside it, so that what it says of its sources holds where it is read.
    report.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(sweep / "runs.csv", report / "runs.csv")
    shutil.copyfile(outcome, report / "outcome.csv")
    scored: list[object] = []
    for clones in all_clones:
        end = f"-{clones.game}" if clones.game else ""
        shutil.copyfile(clones.frozen, report / f"frozen{end}.toml")
        shutil.copyfile(clones.folder / "plan.toml", report / f"plan{end}.toml")
        scored += ["--scored", report / f"frozen{end}.toml"]
    scored += ["--outcome", report / "outcome.csv"]
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
