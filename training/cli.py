"""The `training` command."""

import dataclasses
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from training.config import ConfigError, RunConfig, read_config, read_recommendation, to_toml

app = typer.Typer(
    name="training",
    help="Make the training runs that forecasts learn from.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

JsonOpt = Annotated[bool, typer.Option("--json", help="Print JSON instead of words.")]
SeedOpt = Annotated[int, typer.Option(help="Same seed, same result.")]
EnvOpt = Annotated[str, typer.Option(help="nethack or atari.")]
TaskOpt = Annotated[str | None, typer.Option(help="NetHack character, NetHackScore[:character], or Atari game.")]
ConfigArg = Annotated[Path, typer.Argument(help="A run config in TOML.", metavar="CONFIG.toml")]
WorkersOpt = Annotated[int | None, typer.Option(help="Processes; all cores unless given.")]

# Every command imports what it needs when it runs: torch takes seconds, and --help should not.


@app.command(epilog="Example: training collect games --steps 200000")
def collect(
    folder: Annotated[Path, typer.Argument(help="Where the games go; NLD-AA's layout.", metavar="FOLDER")],
    env: EnvOpt = "nethack",
    task: TaskOpt = None,
    steps: Annotated[int | None, typer.Option(help="Record so many actions.")] = None,
    games: Annotated[int | None, typer.Option(help="Record so many games, in place of --steps.")] = None,
    player: Annotated[str, typer.Option(help="bot (NetHack), random, or a checkpoint of a policy.")] = "bot",
    max_steps: Annotated[int | None, typer.Option(help="Actions after which a game is ended.")] = None,
    workers: WorkersOpt = None,
    seed: SeedOpt = 0,
    append: Annotated[bool, typer.Option("--append", help="Go on in a folder that holds games.")] = False,
    as_json: JsonOpt = False,
) -> None:
    """Record an expert's games: NetHack's in NLD-AA's layout, Atari's as shards."""
    if env == "atari":
        if games is None or steps is not None or append:
            raise ConfigError(
                "Atari games are recorded whole into a new folder; give --games, not --steps or --append."
            )
        _show(_collect_atari(folder, task, player, games, max_steps, workers, seed, as_json), as_json, str(folder))
        return
    from training.nethack.recorder import collect as record

    chosen = player if player in ("bot", "random") else _load(player).policy
    with _progress(as_json, "recording") as bar:
        summary = record(
            folder,
            task=task or _DEFAULTS["task"],
            steps=steps,
            games=games,
            player=chosen,
            max_episode_steps=max_steps or 100_000,
            workers=workers,
            seed=seed,
            append=append,
            progress=bar,
        )
    _show(dataclasses.asdict(summary), as_json, str(folder))


@app.command(epilog="Example: training shard games shards")
def shard(
    source: Annotated[Path, typer.Argument(help="Games in NLD-AA's layout.", metavar="GAMES")],
    folder: Annotated[Path, typer.Argument(help="Where the shards go.", metavar="SHARDS")],
    holdout: Annotated[float, typer.Option(help="Share of the games held out, to measure the loss on.")] = 0.05,
    seed: SeedOpt = 0,
    as_json: JsonOpt = False,
) -> None:
    """Turn recorded games into shards, once, which load several times faster."""
    from training.nethack.demonstrations import convert

    with _progress(as_json, "converting") as bar:
        shards = convert(
            source,
            folder,
            holdout=holdout,
            seed=seed,
            progress=lambda done, total, frames: bar(done, total) if bar else None,
            report=lambda told: err.print(told, markup=False),
        )
    told = {
        "env": shards.env,
        "games": len(shards.train) + len(shards.heldout),
        "held_out_games": len(shards.heldout),
        "samples": shards.samples,
        "left_out": len(shards.left_out),
        "bytes": shards.bytes,
        "identity": shards.identity,
    }
    _show(told, as_json, str(folder))


@app.command(epilog="Example: training configure --params 1e6 --flops 1e15 --data shards --out run.toml")
def configure(
    recommendation: Annotated[
        Path | None, typer.Argument(help="Take params and flops from what `forecast recommend` wrote.")
    ] = None,
    env: EnvOpt = "nethack",
    core: Annotated[str | None, typer.Option(help="lstm or transformer (nethack), cnn (atari).")] = None,
    task: TaskOpt = None,
    params: Annotated[float | None, typer.Option(help="Model parameters.")] = None,
    flops: Annotated[float | None, typer.Option(help="Training compute.")] = None,
    data: Annotated[str, typer.Option(help="Folder of shards.")] = "",
    checkpoints: Annotated[str, typer.Option(help="Further budgets (FLOPs) to measure at, with commas.")] = "",
    episodes: Annotated[int, typer.Option(help="Games to play at each checkpoint.")] = 0,
    batch_size: Annotated[int | None, typer.Option(help="Sequences an update.")] = None,
    unroll_length: Annotated[int | None, typer.Option(help="Frames a sequence.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak step size.")] = None,
    schedule: Annotated[str, typer.Option(help="constant, cosine or wsd.")] = "constant",
    max_epochs: Annotated[float | None, typer.Option(help="Passes over the demonstrations to accept.")] = None,
    seed: SeedOpt = 0,
    file: Annotated[Path | None, typer.Option("--out", help="Write here in place of stdout.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Print the run of a size on a budget: width, samples, batch, step size, and hours on this machine."""
    if file is not None and file.exists() and not force:
        raise ConfigError(f"{file} already exists; pass --force to overwrite it, or choose another --out.")
    given = {
        "core": core,
        "task": task,
        "batch_size": batch_size,
        "unroll_length": unroll_length,
        "learning_rate": learning_rate,
        "max_epochs": max_epochs,
    }
    choices = {k: v for k, v in given.items() if v is not None}
    choices |= {"data": data, "episodes": episodes, "schedule": schedule, "seed": seed, "env": env}
    choices["checkpoints"] = _numbers("--checkpoints", checkpoints)
    if recommendation is not None:
        if params is not None or flops is not None:
            raise ConfigError("a recommendation settles params and flops; leave out --params and --flops.")
        run = _recommended(recommendation, choices)
    elif params is None or flops is None:
        raise ConfigError("give --params and --flops, or the recommendation.toml that `forecast recommend` wrote.")
    else:
        run = _configured(params, flops, choices)
    text = _comments(run) + to_toml(run)
    if file is None:
        typer.echo(text, nl=False)
        return
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{file}: the file cannot be written ({error.strerror}); choose another --out.") from None
    out.print(
        f"{file}: {run.params:,} parameters, {run.samples:,} samples, {run.flops:.3g} FLOPs; `training bc {file}`"
    )


@app.command(epilog="Example: training flops run.toml")
def flops(
    config: ConfigArg,
    nominal: Annotated[bool, typer.Option("--nominal", help="Count as the published Atari runs did.")] = False,
    as_json: JsonOpt = False,
) -> None:
    """Print the exact cost of a sample by layer, forward and backward."""
    from training.flops import layer_costs
    from training.policies import spec_of

    run = read_config(config)
    spec = spec_of(run, _actions(run))
    costs = layer_costs(spec, run.unroll_length, nominal)
    rows = [{**dataclasses.asdict(c), "flops": c.forward + c.backward} for c in costs]
    total = {"name": "all", **{k: sum(r[k] for r in rows) for k in ("params", "forward", "backward", "flops")}}
    if as_json:
        typer.echo(json.dumps({"layers": rows, "total": total}, indent=2))
        return
    table = Table(title=f"{run.core}, width {spec.width}: FLOPs a sample", title_justify="left", box=SIMPLE_HEAD)
    for name in total:
        table.add_column(name, justify="left" if name == "name" else "right")
    for row in [*rows, total]:
        table.add_row(*(f"{v:,.0f}" if isinstance(v, int | float) else str(v) for v in row.values()))
    out.print(table)


@app.command(epilog="Example: training bc run.toml --out runs/first --table runs.csv")
def bc(
    config: Annotated[Path, typer.Argument(help="A run config, or a recommendation.toml.", metavar="CONFIG.toml")],
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder of the run; beside --table unless given.")
    ] = None,
    table: Annotated[Path, typer.Option(help="Run table that gets a row a checkpoint.")] = Path("runs.csv"),
    data: Annotated[str | None, typer.Option(help="Folder of shards, in place of the config's.")] = None,
    wandb: Annotated[bool, typer.Option("--wandb", help="Log to Weights & Biases too.")] = False,
) -> None:
    """Clone recorded experts; started again after an interruption it goes on where it was."""
    from training.bc import train

    choices = {} if data is None else {"data": data}
    if read_recommendation(config) is not None:
        run = _recommended(config, choices)
    else:
        run = dataclasses.replace(read_config(config), **choices)
    if not run.data:
        raise ConfigError(f"{config} names no demonstrations; give --data SHARDS, a folder made by `training shard`.")
    name = f"{run.env}-{run.core}-{run.params:.3g}-{run.identity}"
    train(run, out=folder or table.parent / "runs" / name, table=table, wandb=wandb)


@app.command(epilog="Example: training evaluate runs/first --episodes 30")
def evaluate(
    checkpoint: Annotated[str, typer.Argument(help="A checkpoint, the folder of a run, or random.")],
    episodes: Annotated[int, typer.Option(help="Games to play.")] = 30,
    env: EnvOpt = "nethack",
    task: TaskOpt = None,
    max_steps: Annotated[int | None, typer.Option(help="Actions after which a game is cut off.")] = None,
    greedy: Annotated[bool, typer.Option("--greedy", help="The likeliest action in place of a drawn one.")] = False,
    workers: WorkersOpt = None,
    seed: SeedOpt = 0,
    as_json: JsonOpt = False,
) -> None:
    """Play games with a policy; the mean return with its standard error."""
    from training.evaluate import RandomPolicy
    from training.evaluate import evaluate as play
    from training.measure import task_of

    if checkpoint == "random":
        known = task_of(env, task or _DEFAULTS["task"], 0, max_steps or 0)
        policy: Any = RandomPolicy(known.actions)
    else:
        loaded = _load(checkpoint)
        policy = loaded.policy
        known = task_of(loaded.spec.env, task or loaded.task, loaded.spec.actions, max_steps or 0)
    with _progress(as_json, "playing") as bar:
        played = play(policy, known, episodes, seed, workers=workers, greedy=greedy, progress=bar)
    told = {
        "episodes": episodes,
        "return_mean": played.mean,
        "return_se": played.standard_error,
        "cut_off": played.cut_off,
        "crashed": int(played.crashed.sum()),
    }
    _show({**told, "mean_length": float(played.lengths.mean())}, as_json, checkpoint)


@app.command(epilog="Example: training check run.toml")
def check(config: ConfigArg, as_json: JsonOpt = False) -> None:
    """Check a run config and show the run it describes."""
    run = read_config(config)
    derived = ("samples_per_update", "updates", "flops_per_sample", "budgets", "identity")
    _show({**dataclasses.asdict(run), **{name: getattr(run, name) for name in derived}}, as_json, str(config))


def main() -> None:
    """Run the command; bad input is one plain sentence on stderr and exit code 2."""
    from training.stopping import InterruptedRunError

    try:
        app()
    except (ConfigError, OSError) as error:
        err.print(f"training: {error}", markup=False)
        raise SystemExit(2) from None
    except (InterruptedRunError, KeyboardInterrupt) as error:
        err.print(f"training: {str(error) or 'interrupted.'}", markup=False)
        raise SystemExit(130) from None


_DEFAULTS: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(RunConfig)}


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
    from training.atari.demonstrations import collect as record
    from training.evaluate import RandomPolicy
    from training.measure import task_of

    if player == "bot":
        raise ConfigError("there is no built-in Atari player; give --player CHECKPOINT or random.")
    loaded = None if player == "random" else _load(player)
    known: Any = task_of(
        "atari", task or (loaded.task if loaded else "Breakout"), loaded.spec.actions if loaded else 0, max_steps or 0
    )
    policy = RandomPolicy(known.actions) if loaded is None else loaded.policy
    with _progress(quiet, "recording") as bar:
        shards, played = record(
            folder, policy, known, games=games, source=player, seed=seed, threads=workers, progress=bar,
            report=lambda told: err.print(told, markup=False),
        )  # fmt: skip
    told = {
        "games": games,
        "samples": shards.samples,
        "mean_score": played.mean,
        "standard_error": played.standard_error,
    }
    return {**told, "cut_off": played.cut_off, "bytes": shards.bytes, "identity": shards.identity}


def _configured(params: float, budget: float, choices: dict[str, Any]) -> RunConfig:
    from training.configure import configure as plan

    data = choices.get("data")
    if data:
        from training.shards import Shards

        choices = {**choices, "actions": Shards(data).actions}
    return plan(params=params, flops=budget, **choices)


def _recommended(path: Path, choices: dict[str, Any]) -> RunConfig:
    """The run of a recommendation: its size and its budget; samples follow from the exact cost of our policy."""
    found = read_recommendation(path)
    if found is None:
        raise ConfigError(
            f"{path}: there is no table [recommendation]; write the file with `forecast recommend --out`."
        )
    run = _configured(found.params, found.flops, choices)
    if abs(run.samples / found.samples - 1) > 0.1:
        err.print(
            f"{path} recommends {found.samples:.3g} samples; this policy's cost makes them {run.samples:.3g}.",
            markup=False,
        )
    return run


def _comments(run: RunConfig) -> str:
    from training.configure import frames_per_second
    from training.flops import flops_per_sample
    from training.policies import spec_of

    spec = spec_of(run, _actions(run))
    speed = frames_per_second(spec, run)
    return (
        f"# width {spec.width}, {flops_per_sample(spec, run.unroll_length):.4g} FLOPs a sample, "
        f"{run.updates:,} updates\n"
        f"# about {run.samples / speed / 3600:.3g} hours on this machine, at {speed:,.0f} frames/s measured just now\n"
    )


def _actions(run: RunConfig) -> int:
    from training.configure import ACTIONS

    if not run.data:
        return ACTIONS[run.env]
    from training.shards import Shards

    return Shards(run.data).actions


def _load(checkpoint: str) -> Any:
    from training.learner import load_policy

    return load_policy(Path(checkpoint))


def _numbers(name: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise ConfigError(f"{name} must be numbers with commas between, got {text!r}.") from None


def _show(values: dict[str, Any], as_json: bool, title: str) -> None:
    if as_json:
        typer.echo(json.dumps(values, indent=2))
        return
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, show_header=False)
    for name, value in values.items():
        number = isinstance(value, int) and name != "seed"
        table.add_row(name, f"{value:,}" if number else f"{value:.6g}" if isinstance(value, float) else str(value))
    out.print(table)


@contextmanager
def _progress(quiet: bool, what: str) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on stderr; none where nobody watches."""
    if quiet or not err.is_terminal:
        yield None
        return
    shown = TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*shown, console=err, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


if __name__ == "__main__":
    sys.exit(main())
