"""The `training` command."""

import dataclasses
import json
import shlex
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer

from training.cli import demonstrations as collecting
from training.cli import sweeps as sweeping
from training.cli.options import (
    ConfigArg,
    ForceOpt,
    InitOpt,
    JsonOpt,
    KlOpt,
    RunOptions,
    SeedOpt,
    TaskOpt,
    WorkersOpt,
    check_new,
    checked_env,
    numbers,
    takes_run_options,
    write,
)
from training.cli.terminal import out, progress, say, show, show_rows
from training.config import default_task
from training.config.base import to_toml
from training.config.cloning import CloningConfig
from training.config.read import read_config
from training.config.reinforcement import ReinforcementConfig
from training.errors import ConfigError, TrainingError
from training.interrupts import InterruptedRunError

app = typer.Typer(
    name="training",
    help="Make the training runs that forecasts learn from.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_INTERRUPTED = 130  # the shell's code for a program that Ctrl-C ended

# Every command imports what it needs when it runs: torch takes seconds, and --help should not.

app.command(epilog="Example: training collect games --steps 200000")(collecting.collect)
app.command(epilog="Example: training shard games shards")(collecting.shard)
app.command(epilog="Example: training plan --flops 1e11,4e11,1.6e12 --data shards --out plan.toml")(sweeping.plan)
app.command(epilog="Example: training sweep plan.toml --out sweep")(sweeping.sweep)


@app.command(epilog="Example: training configure --params 1e6 --flops 1e15 --data shards --out run.toml")
@takes_run_options
def configure(
    options: RunOptions,
    recommendation: Annotated[
        Path | None, typer.Argument(help="Take params and flops from what `forecast recommend` wrote.")
    ] = None,
    env: Annotated[str | None, typer.Option(help="nethack or atari; that of --data unless given.")] = None,
    params: Annotated[float | None, typer.Option(help="Model parameters.")] = None,
    flops: Annotated[float | None, typer.Option(help="Training compute.")] = None,
    init: InitOpt = None,
    kl: KlOpt = None,
    checkpoints: Annotated[str, typer.Option(help="Further budgets (FLOPs) to measure at, with commas.")] = "",
    batch_size: Annotated[int | None, typer.Option(help="Sequences an update.")] = None,
    unroll_length: Annotated[int | None, typer.Option(help="Frames a sequence.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak step size.")] = None,
    rules: Annotated[int | None, typer.Option(help="bc: those that the plan of the sweep names.")] = None,
    max_epochs: Annotated[float | None, typer.Option(help="bc: passes over the demonstrations to accept.")] = None,
    heldout_frames: Annotated[
        int | None, typer.Option(help="bc: held-out frames to measure the loss on; those of the runs compared with.")
    ] = None,
    seed: SeedOpt = 0,
    file: Annotated[Path | None, typer.Option("--out", help="Write here in place of stdout.")] = None,
    force: ForceOpt = False,
) -> None:
    """Print the run of a size on a budget: width, samples, batch, step size, and hours on this machine."""
    from training.design import cloning, reinforcement
    from training.design.recommendation import recommended
    from training.design.throughput import remarks

    check_new(file, force)
    of_command = {
        "env": env,
        "batch_size": batch_size,
        "unroll_length": unroll_length,
        "learning_rate": learning_rate,
        "rules": rules,
        "max_epochs": max_epochs,
        "heldout_frames": heldout_frames,
        "kl": kl,
        "init": init,
    }
    choices = {**options.fields(), **{name: value for name, value in of_command.items() if value is not None}}
    choices |= {"seed": seed, "checkpoints": numbers("--checkpoints", checkpoints)}
    algorithm = options.algorithm
    others = ("init", "kl") if algorithm == "bc" else ("data", "rules", "max_epochs", "heldout_frames")
    foreign = [k for k in others if k in choices]
    if foreign:
        raise ConfigError(f"a run with algorithm {algorithm} takes no --{foreign[0].replace('_', '-')}; leave it out.")
    if recommendation is not None:
        if params is not None or flops is not None:
            raise ConfigError("a recommendation settles params and flops; leave out --params and --flops.")
        if algorithm != "bc":
            raise ConfigError("a recommendation describes a cloning run; give --params and --flops for others.")
        run = recommended(recommendation, choices, say)
    elif algorithm != "bc" and flops is not None:
        run = reinforcement.configure(algorithm=algorithm, params=params, flops=flops, **choices)
    elif params is None or flops is None:
        raise ConfigError("give --params and --flops, or the recommendation.toml that `forecast recommend` wrote.")
    else:
        run = cloning.configure(params=params, flops=flops, **choices)
    text = (remarks(run) if isinstance(run, CloningConfig) else "") + to_toml(run)
    if file is None:
        typer.echo(text, nl=False)
        return
    write(file, text)
    command = "bc" if algorithm == "bc" else "rl"
    out.print(
        f"{file}: {run.params:,} parameters, {run.samples:,} samples, {run.flops:.3g} FLOPs; "
        f"`training {command} {file}`"
    )


@app.command(epilog="Example: training flops run.toml")
def flops(
    config: ConfigArg,
    nominal: Annotated[bool, typer.Option("--nominal", help="Count as the published Atari runs did.")] = False,
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


@app.command(epilog="Example: training check run.toml")
def check(config: ConfigArg, as_json: JsonOpt = False) -> None:
    """Check a run config and show the run it describes."""
    run = read_config(config)
    derived = ("samples_per_update", "updates", "flops_per_sample", "budgets", "identity")
    show({**dataclasses.asdict(run), **{name: getattr(run, name) for name in derived}}, as_json, str(config))


FolderOpt = Annotated[Path | None, typer.Option("--out", help="Folder of the run; beside --table unless given.")]
TableOpt = Annotated[Path, typer.Option(help="Run table that gets a row a checkpoint.")]
WandbOpt = Annotated[bool, typer.Option("--wandb", help="Log to Weights & Biases too.")]


@app.command(epilog="Example: training bc run.toml --out runs/first --table runs.csv")
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
    else:
        run = dataclasses.replace(_cloning(config), **choices)
    if not run.data:
        raise ConfigError(f"{config} names no demonstrations; give --data SHARDS, a folder made by `training shard`.")
    train(run, out=folder or table.parent / "runs" / run.name, table=table, wandb=wandb)


@app.command(epilog="Example: training rl run.toml --table runs.csv")
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
    if given := {name: value for name, value in (("init", init), ("kl", kl)) if value is not None}:
        from training.design.reinforcement import going_on

        run = going_on(run, **given)
    train(run, out=folder or table.parent / "runs" / run.name, table=table, wandb=wandb)


@app.command(epilog="Example: training evaluate runs/first --episodes 30")
def evaluate(
    checkpoint: Annotated[str, typer.Argument(help="A checkpoint, the folder of a run, or random.")],
    episodes: Annotated[int, typer.Option(help="Games to play.")] = 30,
    env: Annotated[str, typer.Option(help="Of random play: nethack or atari.")] = "nethack",
    task: TaskOpt = None,
    max_steps: Annotated[int | None, typer.Option(help="Actions after which a game is cut off.")] = None,
    greedy: Annotated[bool, typer.Option("--greedy", help="The likeliest action in place of a drawn one.")] = False,
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
        known = task_of(checked_env(env), task or default_task(env, "bc"), 0, max_steps or 0)
        policy: Any = RandomPolicy(known.actions)
    else:
        loaded = load_policy(Path(checkpoint))
        policy = loaded.policy
        known = task_of(loaded.spec.env, task or loaded.task, loaded.spec.actions, max_steps or 0)
    with progress(as_json, "playing") as bar:
        played = play(policy, known, episodes, seed, workers=workers, greedy=greedy, progress=bar)
    told = {
        "episodes": episodes,
        "return_mean": played.mean,
        "return_se": played.standard_error,
        "cut_off": played.cut_off,
        "crashed": int(played.crashed.sum()),
        "mean_length": float(played.lengths.mean()),
    }
    show(told, as_json, checkpoint)


@app.command(epilog="Example: training export runs/first --out player")
def export(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint, or the folder of a run.")],
    folder: Annotated[Path, typer.Option("--out", help="A new folder for the policy alone.")],
) -> None:
    """Write a policy without what its training needs: to share, to record games with, to start from."""
    from training.policies.loaded import export_policy

    export_policy(checkpoint, folder)
    out.print(f"{folder}: `training evaluate {folder}` plays with it, `--init {folder}` starts from it.")


def main() -> None:
    """Run the command: exit code 2 and one sentence for what the user can mend, 1 and a traceback for a bug of ours."""
    try:
        app()
    except SystemExit as done:
        if done.code == _INTERRUPTED:  # typer's answer to Ctrl-C
            say("training: interrupted; start the same command again.")
        raise
    except (TrainingError, OSError) as error:
        say(f"training: {error}")
        raise SystemExit(2) from None
    except InterruptedRunError as error:
        say(f"training: {error}")
        raise SystemExit(_INTERRUPTED) from None
    except Exception:
        traceback.print_exc()
        say(
            "training: this is a bug of ours, not of your input. Please report it to the authors of game-scaling with "
            f"the traceback above and this command: {shlex.join(['training', *sys.argv[1:]])}"
        )
        raise SystemExit(1) from None


def _cloning(path: Path) -> CloningConfig:
    run = read_config(path)
    if not isinstance(run, CloningConfig):
        raise ConfigError(f"{path}: algorithm = {run.algorithm!r} does not clone; write algorithm = 'bc'.")
    return run
