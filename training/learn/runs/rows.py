"""What runs of every kind write down: a row of the run table, and the row as a sentence."""

from collections.abc import Mapping
from typing import Any

import torch

from training.config.base import TrainingConfig
from training.learn.distributed import Place
from training.learn.runs.provenance import code_version, processor
from training.policies.family import PolicySpec, count_params

_SETTINGS = ("algorithm", "env", "task", "core", "batch_size", "unroll_length", "learning_rate", "schedule")


def row_of(config: TrainingConfig, spec: PolicySpec, update: int, cost: float, here: Place) -> dict[str, Any]:
    """Columns of the run table that say what was trained and where. cost: FLOPs a sample."""
    samples = update * config.samples_per_update
    cuda = here.device.type == "cuda"
    return {
        **_columns(config, params=count_params(spec), samples=samples, flops=samples * cost, update=update),
        "width": spec.width,
        "config": config.identity,
        "hardware": torch.cuda.get_device_name(here.device) if cuda else processor(),
        "processes": here.world,
        "code": code_version(),
    }


def failure_row(config: TrainingConfig, reason: str) -> dict[str, Any]:
    """A row of the run table that says why a run failed; it has no update, samples or results."""
    return {
        **_columns(config, params=config.params, samples=None, flops=None, update=None),
        "config": config.identity,
        "code": code_version(),
        "state": "failed",
        "reason": reason,
    }


def sentence_of(row: Mapping[str, Any]) -> str:
    """The row of a checkpoint as a sentence for the user."""
    parts = []
    if row.get("loss") is not None:
        parts.append(f"held-out loss {row['loss']:.4f}{_plus_minus(row['loss_se'], '.4f')}")
    if "return_mean" in row:
        error = _plus_minus(row["return_se"], ".2g")
        cut = f", {row['games_cut_off']} cut off before their end" if row.get("games_cut_off") else ""
        parts.append(f"return {row['return_mean']:.4g}{error} over {row['episodes']} games{cut}")
    return f"{row['params']:,} parameters at {row['flops']:.3g} FLOPs: {', '.join(parts)}"


def _columns(
    config: TrainingConfig, *, params: int, samples: int | None, flops: float | None, update: int | None
) -> dict[str, Any]:
    """The first columns of every row, in their order."""
    return {
        "group": config.row_group,
        "run": config.name,
        "params": params,
        "samples": samples,
        "flops": flops,
        "seed": config.seed,
        "update": update,
        **{name: getattr(config, name) for name in _SETTINGS},
    }


def _plus_minus(error: float | None, digits: str) -> str:
    return "" if error is None else f" ± {error:{digits}}"
