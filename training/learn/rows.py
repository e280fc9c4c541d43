"""What runs of every kind write down: whose folder it is, what a row of the run table says, what is told of it."""

import contextlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from training.config.base import TrainingConfig, to_toml
from training.config.read import read_config
from training.errors import ConfigError
from training.files import locked, write_atomically
from training.learn.distributed import Place
from training.learn.provenance import code_version, processor
from training.policies.family import PolicySpec, count_params

_SETTINGS = ("algorithm", "env", "task", "core", "batch_size", "unroll_length", "learning_rate", "schedule")
_COST_SLACK = 0.01  # digits of a TOML file, not another policy


@contextlib.contextmanager
def claim(config: TrainingConfig, out: Path, here: Place, patience: float = 0.0) -> Iterator[None]:
    """Make `out` the folder of this run, and of this process while the block runs.

    patience: seconds to wait for another process that trains it. Raises ConfigError if it is that of another run, is
    being trained all the while, or cannot be written.
    """
    if config.batch_size % here.world:
        raise ConfigError(f"batch_size = {config.batch_size} cannot be shared by {here.world} processes evenly.")
    path = out / "config.toml"
    if path.exists() and read_config(path) != config:
        raise ConfigError(f"{out} holds a run with another config; choose another --out.")
    here.wait()
    with contextlib.ExitStack() as held:
        if here.leads:
            try:
                out.mkdir(parents=True, exist_ok=True)
                held.enter_context(locked(out / ".lock", patience))
                write_atomically(path, to_toml(config).encode())
            except BlockingIOError:
                raise ConfigError(f"{out} is being trained by another process; wait for it, or end it.") from None
            except OSError as error:
                raise ConfigError(
                    f"{out}: the folder cannot be written ({error.strerror}); choose another --out."
                ) from None
        yield


def resumed(config: TrainingConfig, out: Path, update: int, measured: int) -> tuple[str, ...]:
    """A sentence where a run does not begin at its beginning; measured: the last update that has its row."""
    if measured >= config.updates:
        return (f"{out} was trained to its last budget before; its rows are in the table that was given then.",)
    return (f"{out} goes on after update {update:,} of {config.updates:,}.",) if update else ()


def check_cost(config: TrainingConfig, cost: float) -> None:
    """Raise ConfigError where the budget over the samples is not the cost of a sample (FLOPs), to a hundredth."""
    if abs(config.flops_per_sample / cost - 1) > _COST_SLACK:
        raise ConfigError(
            f"flops = {config.flops:.4g} over samples = {config.samples} makes {config.flops_per_sample:.4g} a sample, "
            f"but this policy costs {cost:.4g}; write samples = {config.flops / cost:.0f}, or use `training configure`."
        )


def row_of(config: TrainingConfig, spec: PolicySpec, update: int, cost: float, here: Place) -> dict[str, Any]:
    """Columns of the run table that say what was trained and where. cost: FLOPs a sample."""
    samples = update * config.samples_per_update
    cuda = here.device.type == "cuda"
    return {
        "group": config.row_group,
        "run": config.name,
        "params": count_params(spec),
        "samples": samples,
        "flops": samples * cost,
        "seed": config.seed,
        "update": update,
        **{name: getattr(config, name) for name in _SETTINGS},
        "width": spec.width,
        "config": config.identity,
        "hardware": torch.cuda.get_device_name(here.device) if cuda else processor(),
        "processes": here.world,
        "code": code_version(),
    }


def failure_row(config: TrainingConfig, reason: str) -> dict[str, Any]:
    """A row of the run table that says why a run failed; it has no update, samples or results."""
    return {
        "group": config.row_group,
        "run": config.name,
        "params": config.params,
        "samples": None,
        "flops": None,
        "seed": config.seed,
        "update": None,
        **{name: getattr(config, name) for name in _SETTINGS},
        "config": config.identity,
        "code": code_version(),
        "state": "failed",
        "reason": reason,
    }


def told(row: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    """A checkpoint in a sentence."""
    parts = []
    if "loss" in values:
        parts.append(f"held-out loss {values['loss']:.4f}{_plus_minus(values['loss_se'], '.4f')}")
    if "return_mean" in values:
        error = _plus_minus(values["return_se"], ".2g")
        parts.append(f"return {values['return_mean']:.4g}{error} over {values['episodes']} games")
    return f"{row['params']:,} parameters at {row['flops']:.3g} FLOPs: {', '.join(parts)}"


def check_finite(loss: float, norm: float, update: int, checkpoints: Path) -> None:
    """Raise ConfigError where training went astray."""
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise ConfigError(
            f"the loss or its gradient is no number any more at update {update}; the last good checkpoint is in "
            f"{checkpoints}. Lower learning_rate or clip, and choose another --out."
        )


def _plus_minus(error: float | None, digits: str) -> str:
    return "" if error is None else f" ± {error:{digits}}"
