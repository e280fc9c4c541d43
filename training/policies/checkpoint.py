"""Checkpoints: what a run needs to go on as if nothing had happened, saved whole or not at all.

A checkpoint is a folder of safetensors files and a `state.json`, which holds their hashes and is written last; the
folder gets its name when everything is on the disk. One that is damaged is passed over for the one before it. Nothing
is ever unpickled.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from training.errors import ConfigError, DataError, MachineError
from training.files import write_atomically
from training.schema import content_hash, misfit, read_json

_NAME = re.compile(r"update-(\d{10})")
_FILE = re.compile(r"\w+")
_STATE = "state.json"
_SEAL = "seal"


class State(TypedDict):
    """What `state.json` says, the schema of every version; further keys are free."""

    update: int
    """How many updates were done."""
    sha256: dict[str, str]
    """Hash of each file of tensors, by its name without .safetensors."""
    seal: NotRequired[str]
    """Hash of all the rest; of a version that wrote one."""
    keep: NotRequired[bool]
    """Never remove the checkpoint."""
    policy: NotRequired[dict[str, object] | None]
    """Fields of a PolicySpec."""
    task: NotRequired[str]
    """What the policy was trained for, as a config names it."""
    measured: NotRequired[int]
    """The last update whose row is written."""
    loss: NotRequired[float | None]
    """Of the last batch that was looked at (nats a frame)."""
    speed: NotRequired[dict[str, float]]
    """How fast it trained, as columns of the run table."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What is saved of a run, or of a policy alone."""

    update: int
    """How many updates were done."""
    tensors: Mapping[str, Mapping[str, Tensor]]
    """File -> name -> tensor, on the CPU."""
    state: Mapping[str, Any]
    """Numbers and text that JSON holds: of `State` what a run writes."""


def save_checkpoint(folder: Path, checkpoint: Checkpoint, *, keep: int = 2) -> Path:
    """Write a checkpoint below `folder`, and remove all but the newest `keep` that are not pinned by `state["keep"]`.

    No other process may write there meanwhile: what one that was killed has left half written goes too. Raises
    MachineError if the disk does not take it; the checkpoints before it are then untouched.
    """
    final = folder / f"update-{checkpoint.update:010d}"
    beside = folder / f".{final.name}.{os.getpid()}"
    try:
        for half in folder.glob(".update-*"):
            shutil.rmtree(half, ignore_errors=True)
        beside.mkdir(parents=True)
        _write_all(beside, checkpoint)
        if final.exists():
            shutil.rmtree(final)
        os.replace(beside, final)
    except OSError as error:
        shutil.rmtree(beside, ignore_errors=True)
        raise _not_written(final, error) from None
    unpinned = [path for path in _newest_first(folder) if not _is_pinned(path)]
    for path in unpinned[keep:]:
        shutil.rmtree(path, ignore_errors=True)
    return final


def pin_checkpoint(folder: Path, update: int, changes: Mapping[str, Any]) -> None:
    """Never remove the checkpoint of this update below `folder`; changes: of its state. Its tensors are not written
    again, so that neither a full disk nor a kill can cost it.

    Raises MachineError if the disk does not take it; the checkpoint is then as it was.
    """
    path = folder / f"update-{update:010d}"
    try:
        _write_state(path, {**_read_state(path), **changes, "keep": True})
    except OSError as error:
        raise _not_written(path, error) from None


def export_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint as the new folder `folder` itself.

    Raises ConfigError where the folder exists, MachineError where it cannot be written.
    """
    try:
        folder.mkdir(parents=True)
        _write_all(folder, checkpoint)
    except FileExistsError:
        raise ConfigError(f"{folder} exists already; choose another --out.") from None
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise MachineError(
            f"{folder}: the checkpoint cannot be written ({error.strerror}); choose another --out."
        ) from None


def load_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint in one folder. Raises DataError, naming the file, if it is missing or damaged."""
    state = _read_state(path)
    tensors = {}
    for name, wanted in state["sha256"].items():
        file = path / f"{name}.safetensors"
        try:
            content = file.read_bytes()
            if hashlib.sha256(content).hexdigest() != wanted:
                raise DataError(f"{file}: the file is damaged (its hash is not the one saved); use another checkpoint.")
            tensors[name] = load(content)
        except OSError as error:
            raise DataError(f"{file}: the file cannot be read ({error.strerror}); use another checkpoint.") from None
        except SafetensorError as error:
            raise DataError(f"{file}: the file is not a safetensors file ({error}); use another checkpoint.") from None
    return Checkpoint(update=state["update"], tensors=tensors, state=state)


def latest_checkpoint(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint below `folder` that is whole, and a sentence for each damaged one passed over."""
    passed_over = []
    for path in _newest_first(folder):
        try:
            return load_checkpoint(path), passed_over
        except DataError as error:
            passed_over.append(str(error))
    return None, passed_over


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state by parameter index and name, as safetensors takes it."""
    state = optimizer.state_dict()["state"]
    return {f"{i}.{name}": torch.as_tensor(value) for i, entry in state.items() for name, value in entry.items()}


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave. Raises ValueError for the state of an Adam over other parameters."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    wanted = {f"{i}.exp_avg{end}": p.shape for i, p in enumerate(parameters) for end in ("", "_sq")}
    wanted |= {f"{i}.step": torch.Size() for i in range(len(parameters))}
    if {key: value.shape for key, value in tensors.items()} != wanted:
        raise ValueError("the optimizer's state is that of other parameters")
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        parameter = parameters[int(index)]
        if value.shape == parameter.shape:
            # Laid out in memory as the parameter is: fused optimizers pair elements by where they lie.
            value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _write_all(folder: Path, checkpoint: Checkpoint) -> None:
    """Files of tensors, then the state that vouches for them."""
    hashes = {}
    for name, tensors in checkpoint.tensors.items():
        content = save({key: t.detach().contiguous().cpu().clone() for key, t in tensors.items()})
        hashes[name] = hashlib.sha256(content).hexdigest()
        write_atomically(folder / f"{name}.safetensors", content)
    _write_state(folder, {**checkpoint.state, "update": checkpoint.update, "sha256": hashes})


def _not_written(path: Path, error: OSError) -> MachineError:
    return MachineError(
        f"{path}: the checkpoint cannot be written ({error.strerror}); make room and start the same command again: it "
        "goes on from the last one that was."
    )


def _newest_first(folder: Path) -> list[Path]:
    return sorted((p for p in folder.glob("update-*") if _NAME.fullmatch(p.name)), reverse=True)


def _write_state(path: Path, state: Mapping[str, Any]) -> None:
    write_atomically(path / _STATE, json.dumps({**state, _SEAL: content_hash(state, _SEAL)}, indent=1))


def _read_state(path: Path) -> State:
    """The state of the checkpoint in one folder. Raises DataError if it is missing, damaged or of another form."""
    try:
        state = read_json(path / _STATE)
    except OSError as error:
        raise DataError(
            f"{path}: there is no checkpoint here ({_STATE}: {error.strerror}); give the folder of a run, or one of "
            "its checkpoints, update-…."
        ) from None
    except ValueError as error:
        raise _damaged(path, error) from None
    if wrong := misfit(state, State):
        raise _damaged(path, wrong)
    if state.get(_SEAL) not in (None, content_hash(state, _SEAL)):
        raise _damaged(path, "it is not what its seal says")
    if not all(_FILE.fullmatch(name) for name in state["sha256"]):
        raise _damaged(path, "it names files that no checkpoint has")
    return state


def _damaged(path: Path, reason: object) -> DataError:
    return DataError(f"{path / _STATE}: the file is damaged ({reason}); use another checkpoint.")


def _is_pinned(path: Path) -> bool:
    try:
        return _read_state(path).get("keep", False)
    except DataError:
        return False
