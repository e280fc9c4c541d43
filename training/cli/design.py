"""The commands that design a run: `training configure`, `flops` and `check`."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from training.cli.options import (
    ConfigArg,
    ForceOpt,
    InitOpt,
    JsonOpt,
    KlOpt,
    RunOptions,
    SeedOpt,
    check_new,
    numbers,
    takes_run_options,
    write,
)
from training.cli.terminal import out, say, show, show_rows
from training.config.base import to_toml
from training.config.cloning import CloningConfig
from training.config.read import read_config
from training.config.reinforcement import ReinforcementConfig
from training.errors import ConfigError

if TYPE_CHECKING:
    from training.shards.reader import Shards


@takes_run_options
def configure(
    options: RunOptions,
    recommendation: Annotated[
        Path | None, typer.Argument(help="Take params and flops from what `forecast recommend` wrote.")
    ] = None,
    env: Annotated[str | None, typer.Option(help="nethack or atari; that of --data unless given.")] = None,
    params: Annotated[float | None, typer.Option(help="Model parameters.")] = None,
    flops: Annotated[float | None, typer.Option(help="Training compute (FLOPs).")] = None,
    init: InitOpt = None,
    kl: KlOpt = None,
    checkpoints: Annotated[str, typer.Option(help="Further budgets (FLOPs) to measure at, with commas.")] = "",
    batch_size: Annotated[int | None, typer.Option(help="Sequences per gradient step.")] = None,
    unroll_length: Annotated[int | None, typer.Option(help="Frames per sequence.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak step size.")] = None,
    rules: Annotated[
        int | None, typer.Option(help="Version of the rules for widths, batch and step size, as in the sweep's plan.")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="What the rules are for, cpu or cuda, as in the sweep's plan; this machine."),
    ] = None,
    max_epochs: Annotated[float | None, typer.Option(help="bc: most passes over the demonstrations.")] = None,
    heldout_frames: Annotated[
        int | None, typer.Option(help="bc: held-out frames to measure the loss on; as in the runs it is compared with.")
    ] = None,
    seed: SeedOpt = 0,
    file: Annotated[Path | None, typer.Option("--out", help="Write here in place of stdout.")] = None,
    force: ForceOpt = False,
) -> None:
    """Print the run of a size on a budget: width, samples, batch, step size, and hours on this machine."""
    from training.design.throughput import LIMIT, remarks
    from training.shards.reader import Shards

    check_new(file, force)
    of_command = {
        "env": env,
        "batch_size": batch_size,
        "unroll_length": unroll_length,
        "learning_rate": learning_rate,
        "rules": rules,
        "device": device,
        "max_epochs": max_epochs,
        "heldout_frames": heldout_frames,
        "kl": kl,
        "init": init,
    }
    choices = {**options.fields(), **{name: value for name, value in of_command.items() if value is not None}}
    choices |= {"seed": seed, "checkpoints": numbers("--checkpoints", checkpoints)}
    algorithm = options.algorithm
    shards = Shards(options.data) if options.data and algorithm == "bc" else None
    run = _design(algorithm, recommendation, params, flops, choices, shards)
    if isinstance(run, CloningConfig) and shards is not None:
        run.check_passes(shards.samples, options.data)
    text = to_toml(run)
    if isinstance(run, CloningConfig):
        say(f"Measuring how fast this machine trains, at most {LIMIT:.0f} s.")
        text = remarks(run, shards) + text
    if file is None:
        typer.echo(text, nl=False)
        return
    write(file, text)
    command = "bc" if algorithm == "bc" else "rl"
    out.print(
        f"{file}: {run.params:,} parameters, {run.samples:,} samples, {run.flops:.3g} FLOPs; "
        f"`training {command} {file}`"
    )


def _design(
    algorithm: str,
    recommendation: Path | None,
    params: float | None,
    flops: float | None,
    choices: dict[str, Any],
    shards: "Shards | None",
) -> CloningConfig | ReinforcementConfig:
    """The run that the options describe. shards: the demonstrations in `data`, open already.

    Raises ConfigError for options that do not go together, or for a size or a budget that is missing.
    """
    from training.design import cloning, reinforcement
    from training.design.recommendation import recommended

    others = ("init", "kl") if algorithm == "bc" else ("data", "max_epochs", "heldout_frames")
    foreign = [k for k in others if k in choices]
    if foreign:
        raise ConfigError(f"a run with algorithm {algorithm} takes no --{foreign[0].replace('_', '-')}; leave it out.")
    if recommendation is not None:
        if params is not None or flops is not None:
            raise ConfigError("a recommendation settles params and flops; leave out --params and --flops.")
        return recommended(recommendation, choices, say, shards, algorithm=algorithm)
    if algorithm != "bc" and flops is not None:
        return reinforcement.configure(algorithm=algorithm, params=params, flops=flops, **choices)
    if params is None or flops is None:
        raise ConfigError("give --params and --flops, or the recommendation.toml that `forecast recommend` wrote.")
    return cloning.configure(params=params, flops=flops, shards=shards, **choices)


def flops(
    config: ConfigArg,
    nominal: Annotated[bool, typer.Option("--nominal", help="Count FLOPs as the published Atari runs did.")] = False,
    as_json: JsonOpt = False,
) -> None:
    """Print the exact cost of a sample by layer, forward and backward; of a frame that is played too."""
    from training.design.cloning import spec_in
    from training.policies.flops import layer_costs, reinforcement_flops

    run = read_config(config)
    spec = spec_in(run)
    costs = layer_costs(spec, run.unroll_length, nominal)
    rows = [{**dataclasses.asdict(c), "flops": c.forward + c.backward} for c in costs]
    total = {"name": "all", **{k: sum(r[k] for r in rows) for k in ("params", "forward", "backward", "flops")}}
    played = reinforcement_flops(spec, run) if isinstance(run, ReinforcementConfig) else None
    if as_json:
        typer.echo(json.dumps({"layers": rows, "total": total, "played": played}, indent=2))
        return
    show_rows([*rows, total], f"{run.core}, width {spec.width}: FLOPs a sample")
    if isinstance(run, ReinforcementConfig):
        out.print(f"A frame of this run, acting, {run.epochs} times learning and the critic: {played:,.0f} FLOPs")


def check(config: ConfigArg, as_json: JsonOpt = False) -> None:
    """Check a run config and show the run it describes."""
    run = read_config(config)
    derived = ("samples_per_update", "updates", "flops_per_sample", "budgets", "identity")
    show({**dataclasses.asdict(run), **{name: getattr(run, name) for name in derived}}, as_json, str(config))
