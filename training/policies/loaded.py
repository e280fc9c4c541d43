"""A trained policy alone: read from a checkpoint or a run, and written without what trains it."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.errors import ConfigError, DataError
from training.policies.checkpoint import Checkpoint, export_checkpoint, latest_checkpoint, load_checkpoint
from training.policies.family import PolicySpec, build
from training.policies.policy import FamilyPolicy, Policy


@dataclass(frozen=True, kw_only=True)
class LoadedPolicy:
    """A trained policy, and what it was trained for."""

    policy: FamilyPolicy
    """In evaluation mode, on the CPU."""
    spec: PolicySpec
    """What it is, up to its weights."""
    task: str
    """The task that it was trained for, as a config names it."""


def load_policy(path: Path) -> LoadedPolicy:
    """The policy of a checkpoint, or of the newest whole one of a run.

    Raises DataError where there is none, or one of another kind than this version builds.
    """
    checkpoint = _checkpoint_at(path)
    spec, task = _spec_in(checkpoint.state, path), checkpoint.state.get("task")
    if not isinstance(task, str):
        raise DataError(f"{path}: the checkpoint does not say which task its policy plays; use another.")
    weights = checkpoint.tensors.get("policy", {})
    with torch.device("meta"):
        check_weights(build(spec), weights, path)  # before one is built that may not fit into the memory
    policy = build(spec)
    load_weights(policy, weights, path)
    return LoadedPolicy(policy=policy.eval(), spec=spec, task=task)


def load_weights(module: Policy | nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Give a module the weights of a checkpoint. Raises DataError, naming `path`, where they are those of another."""
    check_weights(module, weights, path)
    module.load_state_dict(weights)


def check_weights(module: Policy | nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Raise DataError, naming `path`, where these are not the weights of such a module."""
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    stored = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    for name in sorted(wanted.keys() | stored.keys()):
        if wanted.get(name) != stored.get(name):
            raise DataError(
                f"{path}: the checkpoint holds another kind of policy ({name} is {_shape(stored.get(name))} there, "
                f"{_shape(wanted.get(name))} here); use another."
            )


def export_policy(path: Path, out: Path) -> None:
    """Write the policy alone, without what training it needs, as a checkpoint in the new folder `out`.

    Raises DataError where `path` holds no policy, ConfigError where `out` exists, MachineError where it cannot be made.
    """
    load_policy(path)
    checkpoint = _checkpoint_at(path)
    state = {name: checkpoint.state[name] for name in ("policy", "task")}
    tensors = {"policy": checkpoint.tensors["policy"]}
    export_checkpoint(out, Checkpoint(update=checkpoint.update, tensors=tensors, state=state))


def _checkpoint_at(path: Path) -> Checkpoint:
    """A checkpoint, or the newest whole one of a run."""
    checkpoint, passed_over = latest_checkpoint(path / "checkpoints" if (path / "checkpoints").is_dir() else path)
    if checkpoint is None and passed_over:
        raise DataError(passed_over[0])
    return checkpoint or load_checkpoint(path)


def _spec_in(state: Mapping[str, Any], path: Path) -> PolicySpec:
    """The policy that a checkpoint's state describes."""
    stored = state.get("policy")
    fields = {field.name: field for field in dataclasses.fields(PolicySpec)}
    needed = {name for name, field in fields.items() if field.default is dataclasses.MISSING}
    if not isinstance(stored, dict) or not needed <= stored.keys() <= fields.keys():
        raise DataError(f"{path}: the checkpoint does not say which policy it holds; use another.")
    for name, value in stored.items():
        if type(value) is not fields[name].type:
            raise DataError(f"{path}: the checkpoint's policy has {name} = {value!r}; use another.")
    try:
        return PolicySpec(**stored)
    except ConfigError as error:
        raise DataError(f"{path}: the checkpoint holds a policy that does not exist ({error}); use another.") from None


def _shape(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else str(list(shape))
