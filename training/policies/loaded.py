"""A trained policy alone: read from a checkpoint or a run, and written without what trains it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.errors import ConfigError
from training.policies.checkpoint import Checkpoint, export_checkpoint, latest_checkpoint, load_checkpoint
from training.policies.family import PolicySpec, build


@dataclass(frozen=True, kw_only=True)
class LoadedPolicy:
    """A trained policy, in evaluation mode on the CPU, and what it was trained for."""

    policy: Any
    spec: PolicySpec
    task: str


def load_policy(path: Path) -> LoadedPolicy:
    """The policy of a checkpoint, or of the newest whole one of a run.

    Raises ConfigError where there is none.
    """
    found = _found(path)
    try:
        spec = PolicySpec(**found.state["policy"])
        policy: Any = build(spec)
        policy.load_state_dict(found.tensors["policy"])
        return LoadedPolicy(policy=policy.eval(), spec=spec, task=str(found.state["task"]))
    except (KeyError, TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{path}: this checkpoint holds another kind of policy ({reason}); use another.") from None


def export_policy(path: Path, out: Path) -> None:
    """Write the policy alone, without what training it needs, as a checkpoint in the new folder `out`.

    Raises ConfigError where `path` holds no policy or `out` cannot be made.
    """
    load_policy(path)
    found = _found(path)
    state = {name: found.state[name] for name in ("policy", "task")}
    export_checkpoint(out, Checkpoint(update=found.update, tensors={"policy": found.tensors["policy"]}, state=state))


def _found(path: Path) -> Checkpoint:
    """A checkpoint, or the newest whole one of a run."""
    found, passed_over = latest_checkpoint(path / "checkpoints" if (path / "checkpoints").is_dir() else path)
    if found is None and passed_over:
        raise ConfigError(passed_over[0])
    return found or load_checkpoint(path)
