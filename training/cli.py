"""The `training` command."""

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from training.config import ConfigError, RunConfig, from_recommendation, read_config, to_toml

main = typer.Typer(
    name="training",
    help="Make the training runs that forecasts learn from.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_DEFAULTS = {field.name: field.default for field in dataclasses.fields(RunConfig)}


@main.callback()
def _root() -> None:
    """Make the training runs that forecasts learn from."""


@main.command()
def check(
    config: Annotated[Path, typer.Argument(help="A run config in TOML.", metavar="CONFIG.toml")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Check a run config and show the run it describes."""
    with _one_sentence():
        run = read_config(config)
    shown = _described(run)
    if as_json:
        typer.echo(json.dumps(shown, indent=2))
        return
    table = Table("setting", "value", title=str(config))
    for key, value in shown.items():
        table.add_row(key, f"{value:,}" if isinstance(value, int) and key != "seed" else str(value))
    Console().print(table)


@main.command("from-recommendation")
def make_config(
    recommendation: Annotated[Path, typer.Argument(help="Written by `forecast`.", metavar="RECOMMENDATION.toml")],
    out: Annotated[Path, typer.Option(help="Where to write the run config.")],
    env: Annotated[str, typer.Option(help="nethack or atari.")] = str(_DEFAULTS["env"]),
    task: Annotated[str, typer.Option(help="NetHack character or Atari game.")] = str(_DEFAULTS["task"]),
    core: Annotated[str, typer.Option(help="lstm or transformer (nethack), cnn (atari).")] = str(_DEFAULTS["core"]),
    seed: Annotated[int, typer.Option(help="Seed of the run.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Write the run config that a recommendation recommends."""
    with _one_sentence():
        # A cnn sees single frames; everything else about a run is settled by editing the file.
        unroll_length = 1 if core == "cnn" else _DEFAULTS["unroll_length"]
        run = from_recommendation(recommendation, env=env, task=task, core=core, seed=seed, unroll_length=unroll_length)
        if out.exists() and not force:
            raise ConfigError(f"{out} already exists; pass --force to overwrite it, or choose another --out.")
        try:
            out.write_text(to_toml(run), encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{out}: the file cannot be written ({error.strerror}); choose another --out.") from None
    typer.echo(
        f"{out}: {run.params:,} params, {run.samples:,} samples, {run.flops:.3g} FLOPs; try `training check {out}`"
    )


@contextmanager
def _one_sentence() -> Iterator[None]:
    """Turn a ConfigError into its sentence on stderr and exit code 2."""
    try:
        yield
    except ConfigError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None


def _described(run: RunConfig) -> dict[str, str | int | float]:
    derived = ("samples_per_update", "updates", "flops_per_sample")
    return {**dataclasses.asdict(run), **{name: getattr(run, name) for name in derived}}
