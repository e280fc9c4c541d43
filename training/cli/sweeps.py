"""The commands that make many runs: `training plan` and `training sweep`."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.live import Live
from rich.table import Table

from training.cli.options import (
    EnvOpt,
    ForceOpt,
    RunOptions,
    check_new,
    numbers,
    takes_run_options,
    write,
)
from training.cli.terminal import err, out, progress, say
from training.config.base import ENVS, TrainingConfig, default_task
from training.config.checks import one_of
from training.config.cloning import CloningConfig
from training.durations import duration
from training.errors import ConfigError

_SHOWN = 30  # rows of the live table
_LINES = 10.0  # seconds between two lines about all runs, where there is no terminal
FAILED = 1
"""Exit code of a sweep some of whose runs failed."""


@takes_run_options
def plan(
    options: RunOptions,
    flops: Annotated[str, typer.Option(help="Budgets (FLOPs), with commas.")],
    env: EnvOpt = "nethack",
    sizes: Annotated[int, typer.Option(help="Model sizes for each budget.")] = 5,
    spacing: Annotated[float, typer.Option(help="Ratio of neighbouring sizes.")] = 2.0,
    centre: Annotated[str, typer.Option(help="Expected best size at a budget, as 1e6@1e16.")] = "",
    seeds: Annotated[int, typer.Option(help="Runs of each size and budget.")] = 1,
    separate: Annotated[bool, typer.Option("--separate", help="Train each size anew for each budget.")] = False,
    max_epochs: Annotated[float | None, typer.Option(help="bc: most passes over the demonstrations.")] = None,
    parallel: Annotated[int | None, typer.Option(help="Runs side by side, for the estimate of hours.", min=1)] = None,
    file: Annotated[Path | None, typer.Option("--out", help="Write the plan here in place of stdout.")] = None,
    force: ForceOpt = False,
) -> None:
    """Propose a grid of runs, sizes around the expected optimum of each budget, and say what it costs."""
    from training.design.cloning import actions_of
    from training.design.plan import propose, to_toml
    from training.games.tasks import task_of
    from training.shards.reader import Shards

    check_new(file, force)
    one_of("--env", env, ENVS)
    run = {"env": env, "algorithm": options.algorithm, **options.fields()}
    if max_epochs is not None:
        run["max_epochs"] = max_epochs
    played = task_of(env, options.task or default_task(env, options.algorithm), 0)
    shards = Shards(options.data) if options.data else None
    proposed = propose(
        numbers("--flops", flops),
        sizes=sizes,
        spacing=spacing,
        seeds=seeds,
        separate=separate,
        centre=_centre(centre),
        run=run,
        actions=actions_of(env, shards) if options.algorithm == "bc" else played.actions,
    )
    runs = proposed.spread(shards)
    _check_passes(runs, shards)
    text = _remarks(runs, parallel or _cores(), shards) + to_toml(proposed)
    if file is None:
        typer.echo(text, nl=False)
        return
    write(file, text)
    for line in text.splitlines():
        if line.startswith("#"):
            out.print(line.removeprefix("# "))
    out.print(f"{file}: `training sweep {file}`")


def sweep(
    file: Annotated[Path, typer.Argument(help="A plan, as `training plan` writes it.", metavar="PLAN.toml")],
    folder: Annotated[Path | None, typer.Option("--out", help="Folder of the sweep; named after the plan.")] = None,
    data: Annotated[str | None, typer.Option(help="Folder of shards, in place of the plan's.")] = None,
    on: Annotated[str, typer.Option(help="local or ray.")] = "local",
    parallel: Annotated[
        int | None, typer.Option(help="local: most runs at a time; one per core unless given.", min=1)
    ] = None,
    by_rate: Annotated[
        bool | None,
        typer.Option(
            help="local: find by measured rates how many runs share a GPU, as far as its memory holds them; on a GPU "
            "unless given."
        ),
    ] = None,
    address: Annotated[str, typer.Option(help="ray: address of the cluster.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="Cores of each run.", min=1)] = None,
    gpu_share: Annotated[
        float | None, typer.Option(help="ray: share of a GPU for each run; from its memory unless given.")
    ] = None,
    retries: Annotated[
        int, typer.Option(help="Times that a run whose process died or whose machine failed is started again.", min=0)
    ] = 2,
) -> None:
    """Make the runs of a plan, each once; started again, it goes on where it was."""
    import torch

    from training.design.memory import FILLED, run_memory
    from training.design.plan import read_plan
    from training.sweeps.sweep import Sweep

    if on not in ("local", "ray"):
        raise ConfigError(f"--on must be local or ray, got {on!r}.")
    planned = read_plan(file, **({} if data is None else {"data": data}))
    if planned.kind is CloningConfig and not planned.run.get("data"):
        raise ConfigError(f'{file} names no demonstrations; give --data SHARDS, or write data = "…" in [run].')
    if gpu_share is not None and not 0 < gpu_share <= 1:
        raise ConfigError(f"--gpu-share must be above 0 and at most 1, got {gpu_share:g}.")
    gpus = [FILLED * torch.cuda.get_device_properties(i).total_memory for i in range(torch.cuda.device_count())]
    cores = _cores()
    side_by_side = parallel or cores
    sweep = Sweep.of(
        planned.runs,
        folder or Path(file.stem),
        threads=threads or (1 if on == "ray" else max(1, cores // side_by_side)),
        memory=run_memory if gpus and on == "local" else lambda config: 0.0,
        retries=retries,
        say=say,
    )
    rated = bool(gpus) if by_rate is None else by_rate
    executor = _executor(on, side_by_side, gpus, rated, address, retries, gpu_share)
    before = sweep.count("finished")
    if before:
        say(f"{before} of {len(sweep.runs)} runs are finished already.")
    with _watching(sweep) as watch:
        sweep.go(executor, watch)
    failed = sweep.count("failed")
    table = sweep.folder / "runs.csv"
    summary = f"{table}: {sweep.count('finished')} of {len(sweep.runs)} runs finished"
    out.print(f"{summary}, {failed} failed; their rows say why." if failed else f"{summary}; `forecast report {table}`")
    if failed:
        raise SystemExit(FAILED)


def _executor(
    on: str, parallel: int, gpus: list[float], by_rate: bool, address: str, retries: int, gpu_share: float | None
) -> Any:
    if on == "local":
        from training.sweeps.jobs import ThisMachine

        return ThisMachine(parallel, gpus, by_rate=by_rate, say=say)
    from training.sweeps.ray import Cluster

    return Cluster(address, retries=retries, gpu_share=gpu_share)


def _remarks(runs: tuple[TrainingConfig, ...], parallel: int, shards: Any) -> str:
    """Comments for the top of a plan: cost by run, in all, and hours from a rate measured now."""
    from training.design.throughput import LIMIT, Speeds

    speeds = Speeds(limit=LIMIT, threads=max(1, _cores() // parallel))
    rates: dict[tuple[int, int, int], float] = {}  # runs of one shape have one rate
    seconds, beyond = {}, False
    say(f"Measuring how fast this machine trains {len(runs)} runs, about {LIMIT:.0f} s at most.")
    with progress(False, "measuring") as watch:
        for number, run in enumerate(runs, 1):
            shape = run.params, run.batch_size, run.unroll_length
            if shape not in rates:
                speed = speeds.of(run, shards)
                rates[shape], beyond = speed.flops_per_second, beyond or speed.measured is None
            seconds[run] = run.flops / rates[shape]
            if watch:
                watch(number, len(runs))
    lines = [
        f"# {run.params:>13,} parameters, {run.samples:>15,} samples, {run.flops:.3g} FLOPs"
        f"{_rows(run)}: {duration(seconds[run])}"
        for run in runs
    ]
    flops, whole = sum(run.flops for run in runs), sum(seconds.values())
    longest = max(max(seconds.values()), whole / parallel)
    lines.append(
        f"# {len(runs)} trainings, {sum(len(run.budgets) for run in runs)} rows, {flops:.3g} FLOPs: "
        f"{'more than' if beyond else 'about'} {duration(longest)} on this machine, {parallel} at a time, at rates "
        "measured just now or carried over from those; games played to measure come on top"
    )
    return "\n".join(lines) + "\n"


def _check_passes(runs: tuple[TrainingConfig, ...], shards: Any) -> None:
    """Raise ConfigError where trainings would see their demonstrations too often, which `bc` refuses."""
    if shards is None:
        return
    available = shards.samples
    short = [run for run in runs if isinstance(run, CloningConfig) and run.samples > run.max_epochs * available]
    if short:
        most = max(run.samples for run in short)
        raise ConfigError(
            f"{len(short)} of {len(runs)} trainings need up to {most:,} samples, {most / available:,.1f} passes over "
            f"the {available:,} in {shards.path}, and at most {short[0].max_epochs:g} are accepted; record more games, "
            "lower --flops, or raise --max-epochs."
        )


def _rows(run: TrainingConfig) -> str:
    return f", rows at {len(run.budgets)} budgets" if run.checkpoints else ""


@contextmanager
def _watching(sweep: Any) -> Iterator[Callable[[], None]]:
    """A live table where somebody watches; elsewhere a line for each run that ends, and how far all are."""
    if err.is_terminal:
        with Live(console=err, refresh_per_second=2, transient=True) as live:
            yield lambda: live.update(_picture(sweep))
        return
    states = {run.job.config.name: run.state for run in sweep.runs}
    begun = shown = time.monotonic()
    before = _flops_done(sweep)

    def watch() -> None:
        nonlocal shown
        elapsed = time.monotonic() - begun
        if begun + elapsed - shown >= max(_LINES, elapsed / 30):  # of a long sweep not too many
            shown = begun + elapsed
            say(_how_far(sweep, before, elapsed))
        for run in sweep.runs:
            name, state = run.job.config.name, run.state
            if states[name] != state:
                states[name] = state
                if state != "failed":  # the sweep says why
                    say(f"{name}: {state}{' again' if state == 'running' and run.starts > 1 else ''}")

    yield watch


def _how_far(sweep: Any, before: float, elapsed: float) -> str:
    """The sweep in a line; before: FLOPs that were done when this driver began, `elapsed` seconds ago."""
    done, whole = _flops_done(sweep), sum(run.job.config.flops for run in sweep.runs if run.state != "failed")
    counts = ", ".join(f"{sweep.count(state)} {state}" for state in ("finished", "running", "waiting"))
    left = f"; about {duration((whole - done) * elapsed / (done - before))} left" if done > before else ""
    return f"{counts} after {duration(elapsed)}: {done / whole if whole else 1:.0%} of the FLOPs{left}"


def _flops_done(sweep: Any) -> float:
    """FLOPs of what is trained."""
    total = 0.0
    for run in sweep.runs:
        p = run.progress if run.state == "running" else {}
        share = 1.0 if run.state == "finished" else p["update"] / p["updates"] if p.get("updates") else 0.0
        total += share * run.job.config.flops
    return total


def _picture(sweep: Any) -> Table:
    """The runs: what runs now, then what waits, then what is done, as far as they fit."""
    table = Table(box=SIMPLE_HEAD)
    for name in ("run", "budget", "state", "done", "loss or return", "FLOP/s", "left"):
        table.add_column(name, justify="left" if name in ("run", "state") else "right", no_wrap=True)
    order = {"running": 0, "failed": 1, "waiting": 2, "finished": 3}
    shown = sorted(sweep.runs, key=lambda run: order[run.state])
    for run in shown[:_SHOWN]:
        p = run.progress if run.state == "running" else {}
        share = f"{p['update'] / p['updates']:.0%}" if p.get("updates") else ""
        value = next((f"{name} {p[name]:.4g}" for name in ("return", "loss") if name in p), "")
        speed = f"{p['flops_per_second']:.2g}" if p.get("flops_per_second") else ""
        left = duration(p["seconds_left"]) if "seconds_left" in p else ""
        state = p.get("doing", run.state) if run.state == "running" else run.state
        table.add_row(run.job.config.name, f"{run.job.config.flops:.2g}", state, share, value, speed, left)
    states = ("finished", "running", "waiting", "failed")
    table.caption = ", ".join(f"{sweep.count(state)} {state}" for state in states)
    return table


def _centre(text: str) -> tuple[float, float] | None:
    if not text:
        return None
    try:
        size, budget = (float(part) for part in text.split("@"))
    except ValueError:
        size = budget = 0.0
    if not (size > 0 and budget > 0):
        raise ConfigError(f"--centre must be a size at a budget, such as 1e6@1e16, got {text!r}.")
    return size, budget


def _cores() -> int:
    return len(os.sched_getaffinity(0))
