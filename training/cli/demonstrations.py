"""The commands that make demonstrations: `training collect` and `training shard`."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from training.cli.options import EnvOpt, JsonOpt, SeedOpt, TaskOpt, WorkersOpt
from training.cli.terminal import progress, say, show
from training.config.base import ENVS, default_task
from training.config.checks import one_of
from training.errors import ConfigError

_UNROLL = 16  # frames at a time of each game while the player's loss is measured
PlayerOpt = Annotated[str, typer.Option(help="bot, which comes with this, random, or a run or checkpoint.")]


def collect(
    folder: Annotated[Path, typer.Argument(help="Folder for the games, in NLD-AA's layout.", metavar="FOLDER")],
    env: EnvOpt = "nethack",
    task: TaskOpt = None,
    steps: Annotated[int | None, typer.Option(help="Number of actions to record.")] = None,
    games: Annotated[int | None, typer.Option(help="Number of games to record, in place of --steps.")] = None,
    player: PlayerOpt = "bot",
    max_steps: Annotated[int | None, typer.Option(help="Actions after which a game is ended.")] = None,
    workers: WorkersOpt = None,
    seed: SeedOpt = 0,
    append: Annotated[bool, typer.Option("--append", help="Go on in a folder that holds games.")] = False,
    as_json: JsonOpt = False,
) -> None:
    """Record an expert's games: NetHack's in NLD-AA's layout, Atari's as shards."""
    one_of("--env", env, ENVS)
    if env == "atari":
        if games is None or steps is not None or append:
            raise ConfigError(
                "Atari games are recorded whole into a new folder; give --games, not --steps or --append."
            )
        summary = _collect_atari(folder, task, player, games, max_steps, workers, seed, as_json)
        show(summary, as_json, str(folder))
        return
    from training.record.nethack.recorder import collect as record

    asked = f"{games or 0:,} games" if steps is None else f"{steps:,} steps"
    chosen = player if player in ("bot", "random") else _loaded(player, env).policy
    with progress(as_json, "recording", f"Recording {asked} of NetHack, played by {player}.") as bar:
        summary = record(
            folder,
            task=task or default_task(env, "bc"),
            steps=steps,
            games=games,
            player=chosen,
            max_episode_steps=100_000 if max_steps is None else max_steps,
            workers=workers,
            seed=seed,
            append=append,
            progress=bar,
        )
    show(dataclasses.asdict(summary), as_json, str(folder))


def shard(
    source: Annotated[Path, typer.Argument(help="Games in NLD-AA's layout.", metavar="GAMES")],
    folder: Annotated[Path, typer.Argument(help="New folder for the shards.", metavar="SHARDS")],
    holdout: Annotated[float, typer.Option(help="Share of the games held out, to measure the loss on.")] = 0.05,
    expert: Annotated[
        Path | None, typer.Option(help="The run or checkpoint that played: its own loss bounds that of clones.")
    ] = None,
    workers: WorkersOpt = None,
    seed: SeedOpt = 0,
    as_json: JsonOpt = False,
) -> None:
    """Turn recorded games into shards, once, which load several times faster."""
    from training.record.nethack.convert import convert

    played = None if expert is None else _loaded(str(expert), "nethack", "--expert must be").policy
    with progress(as_json, "converting", f"Converting the games in {source}.") as bar:
        shards = convert(
            source,
            folder,
            holdout=holdout,
            seed=seed,
            workers=workers,
            progress=lambda done, total, frames: bar(done, total) if bar else None,
            report=say,
        )
    if played is not None:
        shards = _with_expert_loss(shards, played)
    summary = {
        "env": shards.env,
        "games": len(shards.train) + len(shards.heldout),
        "held_out_games": len(shards.heldout),
        "samples": shards.samples,
        "left_out": len(shards.left_out),
        **_expert(shards),
        "bytes": shards.bytes,
        "identity": shards.identity,
    }
    show(summary, as_json, str(folder))


def _collect_atari(
    folder: Path,
    task: str | None,
    player: str,
    games: int,
    max_steps: int | None,
    workers: int | None,
    seed: int,
    quiet: bool,
) -> dict[str, Any]:
    from training.games.atari import AtariTask
    from training.games.tasks import task_of
    from training.play.evaluate import RandomPolicy
    from training.record.atari import collect as record
    from training.record.experts import expert

    if player == "random":
        known: Any = task_of("atari", task or default_task("atari", "bc"), 0, max_steps or 0)
        policy: Any = RandomPolicy(known.actions)
    else:
        built_in = player == "bot"
        loaded = _loaded(
            str(expert(AtariTask(game=task or default_task("atari", "bc")))) if built_in else player, "atari"
        )
        known = task_of("atari", task or loaded.task, loaded.spec.actions, max_steps or 0)
        policy = loaded.policy
    with progress(quiet, "recording", f"Recording {games:,} games of {known.game}, played by {player}.") as bar:
        shards, played = record(
            folder,
            policy,
            known,
            games=games,
            source=player,
            seed=seed,
            threads=workers,
            progress=bar,
            report=say,
        )
    shards = _with_expert_loss(shards, policy)
    return {
        "games": games,
        "samples": shards.samples,
        "mean_score": played.mean,
        "standard_error": played.standard_error,
        "cut_off": played.cut_off,
        **_expert(shards),
        "bytes": shards.bytes,
        "identity": shards.identity,
    }


def _with_expert_loss(shards: Any, policy: Any) -> Any:
    """The shards, which know how well the policy that played predicts itself."""
    from training.learn.measure import heldout_loss
    from training.shards.writer import keep_expert_loss

    say("Measuring the player's own loss on the held-out games, below which no clone comes.")
    return keep_expert_loss(shards, heldout_loss(policy, shards, batch_size=16, unroll_length=_UNROLL).loss)


def _expert(shards: Any) -> dict[str, float]:
    return {} if shards.expert_loss is None else {"expert_loss": shards.expert_loss}


def _loaded(player: str, env: str, must: str = "--player must be bot, random, or") -> Any:
    from training.policies.loaded import load_policy

    if not Path(player).exists():
        raise ConfigError(f"{must} a run or checkpoint, and there is no {player}.")
    loaded = load_policy(Path(player))
    if loaded.spec.env != env:
        plays = loaded.spec.env
        raise ConfigError(f"{player} plays {plays}, not {env}; give --env {plays}, or another player.")
    return loaded
