"""Players of Atari games, learned from nothing in a given time, and how well they play.

    python benchmarks/atari_experts.py Pong Breakout [--minutes 120] [--seeds 0 1] [--params 2.4e5] [--out experts]
    python benchmarks/atari_experts.py Pong --init training/record/shipped/pong [...]

For each seed and game PPO learns by the rules of `training configure`, on as many frames as this machine learns from in
the time given, which a short run tells; then the policy plays 100 games. `--out` keeps, by game and seed: `run`, the
training, which goes on where it was when the command is given again; `runs.csv`, its table, with the return at every
tenth of its budget; and `player`, the policy alone, as `training collect shards --player` takes it, with `card.json`:
what was trained, how long, and how it plays. What is finished is written at once. Prints a line for each, then the best
of each game. With the defaults eight hours on two cores: two of each run. With `--init` a run goes on from a player,
with half of the step size that the rules have for a new one; frames, FLOPs and hours of its card are of both.
"""

import argparse
import functools
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from training.config.base import to_toml
from training.config.read import read_config
from training.config.reinforcement import ReinforcementConfig
from training.design.reinforcement import configure
from training.games.tasks import task_of
from training.learn.rl import train
from training.play.evaluate import evaluate
from training.policies.loaded import export_policy, load_policy

_PROBED = 12
"""Updates of the run that tells how fast the machine is; in the first and the last only one of two things goes on."""
_APART = 6
"""Updates between two measurements, at least."""
_POINTS = 10
"""Budgets at which a run is measured, at most."""


def run_of(game: str, seed: int, params: float, seconds: float, init: str) -> ReinforcementConfig:
    """The run that fills the time on this machine; init: folder of a player to go on from, empty for none."""
    made = functools.partial(configure, env="atari", task=game, params=params, seed=seed)
    if init:
        half = made(flops=1e18).learning_rate / 2
        made = functools.partial(made, params=None, init=init, learning_rate=half)
    whole = made(flops=1e18)
    short = made(flops=(_PROBED + 0.5) * whole.samples_per_update * whole.flops_per_sample, episodes=1)
    with tempfile.TemporaryDirectory() as folder:
        train(short, out=Path(folder) / "run", table=Path(folder) / "runs.csv")
        speed = pd.read_csv(Path(folder) / "runs.csv")["frames_per_second"].iloc[-1]
    flops = speed * seconds * whole.flops_per_sample
    points = max(1, min(_POINTS, made(flops=flops).updates // _APART))  # games cost more than a few updates
    return made(flops=flops, checkpoints=tuple(flops * i / points for i in range(1, points)), episodes=5)


def learned(folder: Path, run: ReinforcementConfig, games: int, command: str) -> dict[str, Any]:
    """Train a run in its folder, or what is left of it, play, and write its player and its card; the card.

    command: for the card, that makes such a player.
    """
    clock = folder / "seconds.txt"
    if not (folder / "player").exists():
        earlier = float(clock.read_text()) if clock.exists() else 0.0
        begun = time.monotonic()
        try:
            train(run, out=folder / "run", table=folder / "runs.csv")
        finally:
            clock.write_text(f"{earlier + time.monotonic() - begun:.0f}")
        export_policy(folder / "run", folder / "player")
        (folder / "player" / "run.toml").write_text(to_toml(run))
    player = load_policy(folder / "player")
    task = task_of(run.env, run.task, player.spec.actions, run.episode_steps)
    played = evaluate(player.policy, task, games, seed=1_000_000 + run.seed)
    weights = (folder / "player" / "policy.safetensors").stat().st_size
    first = Path(run.init) / "card.json"
    before = json.loads(first.read_text()) if run.init and first.exists() else {}
    spent = {
        "frames": run.updates * run.samples_per_update, "flops": run.flops,
        "hours": round(float(clock.read_text()) / 3600, 2),
    }  # fmt: skip
    card = {
        "game": run.task, "seed": run.seed, "params": run.params,
        **{name: value + before.get(name, 0) for name, value in spent.items()},
        "cores": os.cpu_count(), "threads": torch.get_num_threads(),
        "return_mean": played.mean, "return_se": played.standard_error, "episodes": games,
        "actions_a_game": run.episode_steps, "bytes": weights, "command": command,
        **({"goes_on_from": before} if before else {}),
    }  # fmt: skip
    (folder / "player" / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    return card


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("game", nargs="+")
    parser.add_argument("--minutes", type=float, default=120.0, help="of training, of each")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--params", type=float, default=2.4e5)
    parser.add_argument("--init", default="", metavar="FOLDER", help="a player of the game to go on from")
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path("experts"))
    given = parser.parse_args()
    cards = []
    for seed in given.seeds:
        for game in given.game:
            folder = given.out / f"{game}-{seed}"
            folder.mkdir(parents=True, exist_ok=True)
            config = folder / "run.toml"
            if not config.exists():
                config.write_text(to_toml(run_of(game, seed, given.params, 60 * given.minutes, given.init)))
            run = read_config(config)
            assert isinstance(run, ReinforcementConfig)
            command = f"{game} --minutes {given.minutes:g} --seeds {seed} --params {given.params:g}"
            command = f"python benchmarks/atari_experts.py {command}" + (f" --init {given.init}" if given.init else "")
            cards.append(card := learned(folder, run, given.episodes, command))
            print(
                f"{game}, seed {seed}: {card['return_mean']:.1f} ± {card['return_se']:.1f} over {given.episodes} games "
                f"after {card['frames']:,} frames and {card['hours']} h, {card['threads']} threads on {card['cores']} "
                f"cores; {card['bytes'] / 1e6:.2f} MB",
                flush=True,
            )
    for game in given.game:
        best = max((card for card in cards if card["game"] == game), key=lambda card: card["return_mean"])
        folder = given.out / f"{game}-{best['seed']}"
        print(f"{game}: the best is seed {best['seed']}, {folder / 'player'}")


if __name__ == "__main__":
    main()
