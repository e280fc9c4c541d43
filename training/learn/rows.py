"""What runs of every kind write down: a row of the run table, and the row as a sentence."""

from collections.abc import Mapping
from typing import Any

import torch

from training.config.base import TrainingConfig
from training.learn.distributed import Place
from training.learn.provenance import code_version, processor
from training.policies.family import PolicySpec, count_params

_SETTINGS = ("algorithm", "env", "task", "core", "batch_size", "unroll_length", "learning_rate", "schedule")


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


def _plus_minus(error: float | None, digits: str) -> str:
    return "" if error is None else f" ± {error:{digits}}"
