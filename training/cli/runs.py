"""The commands that make a run and use what it learned: `training bc`, `rl`, `evaluate` and `export`."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from training.cli.options import (
    ConfigArg,
    InitOpt,
    JsonOpt,
    KlOpt,
    SeedOpt,
    TaskOpt,
    WorkersOpt,
)
from training.cli.terminal import out, progress, say, show
from training.config.base import ENVS, GAME_LIMIT, default_task
from training.config.checks import one_of
from training.config.cloning import CloningConfig
from training.config.read import read_config
from training.errors import ConfigError
from training.learn.runs.outlook import length

FolderOpt = Annotated[Path | None, typer.Option("--out", help="Folder of the run; beside --table unless given.")]
TableOpt = Annotated[Path, typer.Option(help="Run table; each checkpoint adds a row.")]
WandbOpt = Annotated[bool, typer.Option("--wandb", help="Log to Weights & Biases too.")]


def bc(
    config: Annotated[Path, typer.Argument(help="A run config, or a recommendation.toml.", metavar="CONFIG.toml")],
    folder: FolderOpt = None,
    table: TableOpt = Path("runs.csv"),
    data: Annotated[str | None, typer.Option(help="Folder of shards, in place of the config's.")] = None,
    wandb: WandbOpt = False,
) -> None:
    """Clone recorded experts; started again after an interruption it goes on where it was."""
    from training.design.recommendation import read_recommendation, recommended
    from training.learn.bc import train

    choices = {} if data is None else {"data": data}
    if read_recommendation(config) is not None:
        run = recommended(config, choices, say)
        assert isinstance(run, CloningConfig)
    else:
        run = dataclasses.replace(_cloning(config), **choices)
    if not run.data:
        raise ConfigError(f"{config} names no demonstrations; give --data SHARDS, a folder made by `training shard`.")
    train(run, out=folder or table.parent / "runs" / run.name, table=table, wandb=wandb, hurry=True)


def rl(
    config: ConfigArg,
    folder: FolderOpt = None,
    table: TableOpt = Path("runs.csv"),
    init: InitOpt = None,
    kl: KlOpt = None,
    wandb: WandbOpt = False,
) -> None:
    """Learn by playing; started again after an interruption it goes on from its last checkpoint, in new games."""
    from training.learn.rl import train

    run = read_config(config)
    if isinstance(run, CloningConfig):
        raise ConfigError(f"{config}: algorithm = 'bc' clones; use `training bc`, or write algorithm = 'ppo'.")
    if changes := {name: value for name, value in (("init", init), ("kl", kl)) if value is not None}:
        from training.design.reinforcement import going_on

        run = going_on(run, **changes)
    train(run, out=folder or table.parent / "runs" / run.name, table=table, wandb=wandb, hurry=True)


def evaluate(
    checkpoint: Annotated[str, typer.Argument(help="A checkpoint, the folder of a run, or random.")],
    episodes: Annotated[int, typer.Option(help="Games to play.")] = 30,
    env: Annotated[str, typer.Option(help="random: nethack or atari.")] = "nethack",
    task: TaskOpt = None,
    max_steps: Annotated[
        int, typer.Option(help="Actions after which a game is cut off; 0: the environment's own limit.")
    ] = GAME_LIMIT,
    greedy: Annotated[
        bool, typer.Option("--greedy", help="Take the most likely action instead of a sampled one.")
    ] = False,
    workers: WorkersOpt = None,
    seed: SeedOpt = 0,
    as_json: JsonOpt = False,
) -> None:
    """Play games with a policy; the mean return with its standard error."""
    from training.games.tasks import task_of
    from training.play.evaluate import RandomPolicy
    from training.play.evaluate import evaluate as play
    from training.policies.loaded import load_policy

    if checkpoint == "random":
        one_of("--env", env, ENVS)
        known = task_of(env, task or default_task(env, "bc"), 0, max_steps)
        policy: Any = RandomPolicy(known.actions)
    else:
        loaded = load_policy(Path(checkpoint))
        policy = loaded.policy
        known = task_of(loaded.spec.env, task or loaded.task, loaded.spec.actions, max_steps)
    with progress(as_json, "playing", f"Playing {episodes:,} games of {length(max_steps)}.") as bar:
        played = play(policy, known, episodes, seed, workers=workers, greedy=greedy, progress=bar)
    summary = {
        "episodes": episodes,
        "return_mean": played.mean,
        "return_se": played.standard_error,
        "cut_off": played.cut_off,
        "crashed": int(played.crashed.sum()),
        "mean_length": float(played.lengths.mean()),
    }
    show(summary, as_json, checkpoint)


def export(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint, or the folder of a run.")],
    folder: Annotated[Path, typer.Option("--out", help="A new folder for the policy alone.")],
) -> None:
    """Write a policy without what its training needs: to share, to record games with, to start from."""
    from training.policies.loaded import export_policy

    export_policy(checkpoint, folder)
    out.print(f"{folder}: `training evaluate {folder}` plays with it, `--init {folder}` starts from it.")


def _cloning(path: Path) -> CloningConfig:
    run = read_config(path)
    if not isinstance(run, CloningConfig):
        raise ConfigError(f"{path}: algorithm = {run.algorithm!r} does not clone; write algorithm = 'bc'.")
    return run
