"""How good a policy is: its loss on games it has not learned from, and the games it plays."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from training.batches.heldout import heldout
from training.config.base import TrainingConfig
from training.config.cloning import CloningConfig
from training.errors import ConfigError
from training.games.atari import AtariTask
from training.games.nethack.game import NetHackTask
from training.interrupts import InterruptedRunError, StopFlag
from training.play.evaluate import evaluate
from training.shards.reader import Shards

Tell = Callable[[str, int, int], None]
"""Is told what is being measured, how much of it is done, and how much there is."""
_MEASURED_UNROLL = 16  # a cnn learns from single frames but is measured on longer batches, which are faster
FULL_ACTIONS = 18
"""Of an Atari console; a game's minimal set has fewer, unless it uses them all."""


@dataclass(frozen=True, kw_only=True)
class HeldoutLoss:
    """Mean loss of the expert's actions over held-out games (nats a frame), and what it was taken over."""

    loss: float
    loss_se: float | None
    """Over games; None where there is one."""
    games: int
    frames: int


def precision(config: TrainingConfig, device: torch.device) -> torch.dtype:
    """The arithmetic of a run on this device."""
    able = device.type == "cuda" and torch.cuda.is_bf16_supported()
    wanted = {"auto": able, "bfloat16": True, "float32": False}[config.precision]
    return torch.bfloat16 if wanted else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """A context in which matrix products are of this type."""
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def cloning_loss(logits: Tensor, action: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy (nats) of the expert's actions summed over the frames in the mask, and their number.

    logits [B, T, A], action and mask [B, T].
    """
    each = F.cross_entropy(logits.flatten(0, 1).float(), action.flatten(), reduction="none")
    return (each * mask.flatten()).sum(), mask.sum().to(torch.float32)


@torch.inference_mode()
def heldout_loss(
    policy: Any,
    shards: Shards,
    *,
    batch_size: int,
    unroll_length: int,
    frames: int | None = None,
    dtype: torch.dtype = torch.float32,
    stop: StopFlag | None = None,
    tell: Tell = lambda what, done, total: None,
) -> HeldoutLoss:
    """The loss over every held-out frame once, or over about `frames` of them.

    Frames of a game are not independent, so the error is that of a ratio of sums over G games: with s and n a game's
    summed loss and frames, sqrt(G/(G-1) · sum (s - loss·n)²) / sum n.
    """
    device = next(policy.parameters()).device
    if not shards.heldout:
        raise ConfigError(f"{shards.path}: no game is held out; make the shards again with a share held out.")
    sums, counts = np.zeros(len(shards.heldout)), np.zeros(len(shards.heldout))
    was_training = policy.training
    policy.eval()
    memory = None
    read, asked = 0, sum(game.frames for game in shards.heldout)
    asked = asked if frames is None else min(asked, frames)
    for arrays in heldout(shards, batch_size=batch_size, unroll_length=unroll_length, frames=frames):
        _check_stop(stop)
        batch = to_device(arrays, device)
        if memory is None:
            memory = policy.initial_state(len(arrays["start"]), device)
        with autocast(device, dtype):
            logits, memory = policy(batch, memory)
        each = F.cross_entropy(logits.flatten(0, 1).float(), batch["action"].flatten(), reduction="none")
        mask, game = arrays["mask"].ravel(), arrays["game"].ravel()
        sums += np.bincount(game[mask], each.double().cpu().numpy()[mask], minlength=sums.size)
        counts += np.bincount(game[mask], minlength=counts.size)
        read += int((game >= 0).sum())
        tell("held-out loss", min(read, asked), asked)
    policy.train(was_training)
    sums, counts = sums[counts > 0], counts[counts > 0]
    if not counts.size:
        raise ConfigError(f"{shards.path}: no held-out frame has an action to learn; record more games.")
    loss, n = sums.sum() / counts.sum(), counts.size
    squares = ((sums - loss * counts) ** 2).sum()
    error = math.sqrt(n / (n - 1) * squares) / float(counts.sum()) if n > 1 else None
    return HeldoutLoss(loss=float(loss), loss_se=error, games=n, frames=int(counts.sum()))


def measure(
    config: CloningConfig,
    policy: Any,
    shards: Shards,
    dtype: torch.dtype,
    stop: StopFlag | None = None,
    tell: Tell = lambda what, done, total: None,
) -> dict[str, Any]:
    """Columns of the run table that say how good the policy is: held-out loss, and returns where they are asked for.

    Raises InterruptedRunError when `stop` is raised meanwhile.
    """
    found = heldout_loss(
        policy,
        shards,
        batch_size=config.batch_size,
        unroll_length=max(config.unroll_length, _MEASURED_UNROLL),
        frames=config.heldout_frames or None,
        dtype=dtype,
        stop=stop,
        tell=tell,
    )
    values = {
        "loss": found.loss,
        "loss_se": found.loss_se,
        "heldout_games": found.games,
        "heldout_frames": found.frames,
    }
    if config.episodes:
        task = task_of(config.env, config.task, policy.actions, config.episode_steps)
        values |= measured_return(config, policy, task, stop, tell)
    return values


def measured_return(
    config: TrainingConfig,
    policy: Any,
    task: NetHackTask | AtariTask,
    stop: StopFlag | None = None,
    tell: Tell = lambda what, done, total: None,
) -> dict[str, Any]:
    """Columns of the run table that say how well the policy plays; raises InterruptedRunError as `measure` does."""

    def watched(done: int, total: int) -> None:
        _check_stop(stop)
        tell("playing", done, total)

    device = next(policy.parameters()).device
    cores = torch.get_num_threads()
    played = evaluate(policy, task, config.episodes, config.seed, workers=cores, device=device, progress=watched)
    return {"return_mean": played.mean, "return_se": played.standard_error, "episodes": config.episodes}


def _check_stop(stop: StopFlag | None) -> None:
    if stop is not None and stop.raised:
        raise InterruptedRunError("stopped while the policy was measured; start the same command again to go on.")


def task_of(env: str, task: str, actions: int, episode_steps: int = 0) -> NetHackTask | AtariTask:
    """What `task` names, for a policy with so many actions; games are cut off at episode_steps, 0 for its own limit."""
    limit: dict[str, Any] = {"max_steps": episode_steps} if episode_steps else {}
    if env == "nethack":
        return NetHackTask.of(task, **limit)
    return AtariTask(game=task, full_actions=actions == FULL_ACTIONS, **limit)


def to_device(arrays: Mapping[str, np.ndarray], device: torch.device) -> dict[str, Tensor]:
    """A batch as tensors; `start` stays on the host, where the LSTM asks for it without waiting for the GPU."""
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
    if device.type != "cuda":
        return tensors
    return {
        name: tensor if name == "start" else tensor.pin_memory().to(device, non_blocking=True)
        for name, tensor in tensors.items()
    }
