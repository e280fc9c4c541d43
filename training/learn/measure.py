"""How good a policy is: its loss on games it has not learned from, and the games it plays."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from training.batches.heldout import heldout
from training.config.base import TrainingConfig
from training.config.cloning import CloningConfig
from training.errors import DataError, DivergedError
from training.games.tasks import Task, task_of
from training.interrupts import InterruptedRunError, StopFlag
from training.play.evaluate import evaluate
from training.policies.arithmetic import autocast, to_device
from training.policies.losses import frame_losses
from training.policies.policy import Policy
from training.shards.reader import Shards

Tell = Callable[[str, int, int, float | None], None]
"""Is told what is being measured, how much of it is done, how much there is, and the seconds that the rest takes at
most, where that is known."""
_MEASURED_UNROLL = 16  # a cnn learns from single frames but is measured on longer batches, which are faster


@dataclass(frozen=True, kw_only=True)
class HeldoutLoss:
    """How well a policy predicts the expert's actions in held-out games."""

    loss: float
    """Mean over frames (nats a frame)."""
    loss_se: float | None
    """Standard error of the mean, over games; None for one game, which shows no spread."""
    games: int
    """Games that it was measured on."""
    frames: int
    """Frames of them that have an action to learn."""

    @property
    def columns(self) -> dict[str, Any]:
        """Of the run table."""
        return {
            "loss": self.loss,
            "loss_se": self.loss_se,
            "heldout_games": self.games,
            "heldout_frames": self.frames,
        }


@torch.inference_mode()
def heldout_loss(
    policy: Policy,
    shards: Shards,
    *,
    batch_size: int,
    unroll_length: int,
    frames: int | None = None,
    dtype: torch.dtype = torch.float32,
    stop: StopFlag | None = None,
    tell: Tell = lambda what, done, total, left: None,
) -> HeldoutLoss:
    """The loss over every held-out frame once, or over about `frames` of them.

    Raises DataError where no game is held out, DivergedError unless the loss is finite.
    """
    device = next((weight.device for weight in policy.parameters()), torch.device("cpu"))
    if not shards.heldout:
        raise DataError(f"{shards.path}: no game is held out; make the shards again with a share held out.")
    sums, counts = np.zeros(len(shards.heldout)), np.zeros(len(shards.heldout))
    was_training = policy.training
    policy.eval()
    memory = None
    read, total = 0, sum(game.frames for game in shards.heldout)
    total = total if frames is None else min(total, frames)
    for arrays in heldout(shards, batch_size=batch_size, unroll_length=unroll_length, frames=frames):
        _check_stop(stop)
        batch = to_device(arrays, device)
        if memory is None:
            memory = policy.initial_state(len(arrays["start"]), device)
        with autocast(device, dtype):
            logits, memory = policy(batch, memory)
        each = frame_losses(logits, batch["action"])
        mask, game = arrays["mask"].ravel(), arrays["game"].ravel()
        sums += np.bincount(game[mask], each.double().cpu().numpy()[mask], minlength=sums.size)
        counts += np.bincount(game[mask], minlength=counts.size)
        read += int((game >= 0).sum())
        tell("held-out loss", min(read, total), total, None)
    policy.train(was_training)
    return _mean_over_games(sums, counts, shards)


def measure(
    config: CloningConfig,
    policy: Policy,
    shards: Shards,
    dtype: torch.dtype,
    stop: StopFlag | None = None,
    tell: Tell = lambda what, done, total, left: None,
) -> dict[str, Any]:
    """Columns of the run table that say how good the policy is: held-out loss, and returns where they are asked for.

    Raises InterruptedRunError when `stop` is raised meanwhile.
    """
    values = heldout_loss(
        policy,
        shards,
        batch_size=config.batch_size,
        unroll_length=max(config.unroll_length, _MEASURED_UNROLL),
        frames=config.heldout_frames or None,
        dtype=dtype,
        stop=stop,
        tell=tell,
    ).columns
    if config.episodes:
        task = task_of(config.env, config.task, policy.actions, config.episode_steps)
        values |= measured_return(config, policy, task, stop, tell)
    return values


def measured_return(
    config: TrainingConfig,
    policy: Policy,
    task: Task,
    stop: StopFlag | None = None,
    tell: Tell = lambda what, done, total, left: None,
) -> dict[str, Any]:
    """Columns of the run table that say how well the policy plays; raises InterruptedRunError as `measure` does.

    A game that was cut off, by a limit or a crash, counts with what it had reached; `games_cut_off` of them were.
    """

    def watched(done: int, total: int, left: float | None) -> None:
        _check_stop(stop)
        tell("playing", done, total, left)

    device = next(policy.parameters()).device
    cores = torch.get_num_threads()
    played = evaluate(policy, task, config.episodes, config.seed, workers=cores, device=device, progress=watched)
    return {
        "return_mean": played.mean,
        "return_se": played.standard_error,
        "episodes": config.episodes,
        "games_cut_off": played.cut_off,
    }


def _mean_over_games(sums: np.ndarray, counts: np.ndarray, shards: Shards) -> HeldoutLoss:
    """The loss of a frame, from each game's summed loss and its number of frames.

    Frames of a game are not independent, so the error is that of a ratio of sums over G games: with s and n a game's
    summed loss and frames, sqrt(G/(G-1) · sum (s - loss·n)²) / sum n.
    """
    sums, counts = sums[counts > 0], counts[counts > 0]
    if not counts.size:
        raise DataError(f"{shards.path}: no held-out frame has an action to learn; record more games.")
    loss, n = sums.sum() / counts.sum(), counts.size
    if not math.isfinite(loss):
        raise DivergedError(
            "the held-out loss is not finite: training diverged; lower learning_rate or clip, and choose another --out."
        )
    squares = ((sums - loss * counts) ** 2).sum()
    error = math.sqrt(n / (n - 1) * squares) / float(counts.sum()) if n > 1 else None
    return HeldoutLoss(loss=float(loss), loss_se=error, games=n, frames=int(counts.sum()))


def _check_stop(stop: StopFlag | None) -> None:
    if stop is not None and stop.raised:
        raise InterruptedRunError("stopped while the policy was measured; start the same command again to go on.")
