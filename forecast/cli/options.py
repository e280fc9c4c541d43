"""Arguments and options that several commands share."""

import functools
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import forecast
from forecast.cli import terminal
from forecast.cli.devices import PEAK_FLOPS, budget
from forecast.errors import ForecastError
from forecast.model import LAWS

if TYPE_CHECKING:
    import pandas as pd

RunsArg = Annotated[str, typer.Argument(help="A CSV or Parquet run table, a bundled name, or a saved posterior (.nc).")]
JsonOpt = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
GroupOpt = Annotated[str | None, typer.Option(help="Which group (game, algorithm), where the table has several.")]
FlopsOpt = Annotated[float | None, typer.Option(help="The budget in FLOPs, for example 1e19.")]
HoursOpt = Annotated[float | None, typer.Option(help="The budget as device hours, with --device and --mfu.")]
DeviceOpt = Annotated[str, typer.Option(help=f"One of {', '.join(PEAK_FLOPS)}.")]
MfuOpt = Annotated[float, typer.Option(help="Share of the device's peak rate that training reaches.")]


ColumnsOpt = Annotated[Path | None, typer.Option(help="TOML file with [columns]: what --column takes, a line each.")]
ColumnOpt = Annotated[
    list[str] | None,
    typer.Option(
        help="NAME=COLUMN, NAME=ARITHMETIC over columns (flops=6*params*samples), or COLUMN= to leave it out."
    ),
]


KNOWN = ("expert_return", "expert_loss", "start_loss")
"""Options of what is known of a group beside its rows."""


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """Options of every command that fits."""

    columns: ColumnsOpt = None
    column: ColumnOpt = None
    law: Annotated[str, typer.Option(help=f"One of {', '.join(LAWS)}.")] = "drifting"
    expert_return: Annotated[
        float | None,
        typer.Option(help="Demonstrator's mean return: imitation saturates. Without losses, the highest return."),
    ] = None
    expert_loss: Annotated[
        float | None, typer.Option(help="Loss of the demonstrator's own policy on its games: no clone goes below it.")
    ] = None
    start_loss: Annotated[
        float | None, typer.Option(help="Loss of an untrained policy, for --law saturating or drifting.")
    ] = None
    chains: Annotated[int, typer.Option(help="Chains of NUTS, in turn with a narrow and a wide view.")] = 4
    draws: Annotated[int, typer.Option(help="Draws a chain, in hundreds.")] = 1000
    max_draws: Annotated[
        int | None, typer.Option(help="Draws are doubled up to here until the chains converge; 4 times --draws.")
    ] = None
    warmup: Annotated[int, typer.Option(help="Warm-up a chain, in hundreds.")] = 1000
    seed: Annotated[int, typer.Option(help="Same seed, same forecast.")] = 0

    def read(self, source: str | Path, *, to_fit: bool = True) -> "forecast.Runs":
        """The run table, through the column mapping; to_fit as in `forecast.read_runs`."""
        mapping = forecast.read_columns(self.columns) if self.columns else {}
        for item in self.column or []:
            name, equals, spec = item.partition("=")
            if not equals or not name:
                raise ForecastError(f"--column {item!r} is not NAME=COLUMN; write for example --column loss=val/loss.")
            mapping[name.strip()] = spec.strip()
        return forecast.read_runs(str(source), columns=mapping, to_fit=to_fit)

    def fit(self, runs: "forecast.Runs", *, quiet: bool) -> "forecast.Posterior":
        """The posterior, with a progress bar unless quiet."""
        of_model = {k: getattr(self, k) for k in ("law", *KNOWN, *self.of_sampler)}
        takes = "about a minute" if len(runs.groups) == 1 else "several minutes"
        announced = f"Fitting {len(runs.table):,} rows; on two cores this takes {takes}."
        with terminal.progress(quiet, "sampling", announced) as report:
            return forecast.fit(runs, progress=report, **of_model)

    def compare(self, runs: "forecast.Runs", *, quiet: bool) -> "pd.DataFrame":
        """The comparison of the laws, with a progress bar unless quiet."""
        announced = f"Comparing {len(LAWS)} laws; on two cores this takes about a minute for each."
        with terminal.progress(quiet, "sampling", announced) as report:
            return forecast.compare(runs, progress=report, **self.of_sampler)

    def posterior(
        self, source: str, *, quiet: bool, check: "Callable[[forecast.Runs], object]"
    ) -> "forecast.Posterior":
        """A saved posterior, or that of a run table; check: raises ForecastError for what cannot be asked of it."""
        opened = self.open(source)
        if isinstance(opened, forecast.Runs):
            check(opened)
            return self.fit(opened, quiet=quiet)
        check(opened.runs)
        return opened

    def open(self, source: str) -> "forecast.Runs | forecast.Posterior":
        """A saved posterior, or a run table."""
        if Path(source).suffix != ".nc":
            return self.read(source)
        changed = [f.name for f in fields(self) if getattr(self, f.name) != f.default]
        if changed:
            names = ", ".join("--" + name.replace("_", "-") for name in changed)
            raise ForecastError(
                f"{source} is a saved posterior, which {names} cannot change; leave it out or fit again."
            )
        return forecast.load_posterior(source)

    @property
    def of_sampler(self) -> dict[str, Any]:
        """What concerns NUTS alone."""
        return {k: getattr(self, k) for k in ("chains", "draws", "max_draws", "warmup", "seed")}


def takes_fit_options(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command with a parameter `options` take every field of FitOptions as an option of its own."""
    of_fit = inspect.signature(FitOptions).parameters

    @functools.wraps(command)
    def wrapper(**arguments: Any) -> None:
        command(options=FitOptions(**{k: arguments.pop(k) for k in of_fit}), **arguments)

    own = [p for p in inspect.signature(command).parameters.values() if p.name != "options"]
    shown = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + list(of_fit.values())
    wrapper.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in shown}
    return wrapper


def spendable(flops: float | None, gpu_hours: float | None, device: str, mfu: float) -> float | None:
    """The budget in FLOPs, or None where none was given. Raises ForecastError when it was given twice."""
    if flops is not None and gpu_hours is not None:
        raise ForecastError("give the budget once, as --flops or as --gpu-hours.")
    return budget(gpu_hours, device, mfu) if gpu_hours is not None else flops


def check_file(*places: Path | None) -> None:
    """Refuse files that cannot be written, before anything is computed for them."""
    for place in places:
        if place is None or (place.exists() and not place.is_file() and not place.is_dir()):  # such as /dev/stdout
            continue
        if place.is_dir():
            raise ForecastError(f"{place} is a folder; give a file.")
        if not place.parent.is_dir():
            raise ForecastError(f"the folder {place.parent} does not exist; create it first.")
        _check_writable(place.parent)


def check_folder(place: Path | None) -> None:
    """Refuse a folder that is none, or cannot be made; its parents are made with it."""
    if place is None:
        return
    there = next(folder for folder in (place, *place.absolute().parents) if folder.exists())
    if not there.is_dir():
        raise ForecastError(f"{there} is a file; give a folder.")
    _check_writable(there)


def _check_writable(folder: Path) -> None:
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ForecastError(f"nothing can be written into the folder {folder}; give another one.")
