"""Behavioural cloning: the loop, top to bottom."""

import contextlib
from pathlib import Path
from typing import Any

from training.batches.training import training_batches
from training.config.cloning import CloningConfig
from training.errors import ConfigError
from training.games.tasks import task_of
from training.interrupts import stop_on_signals
from training.learn.distributed import place
from training.learn.loop import Loop, loop_of
from training.learn.measure import measure
from training.learn.prefetch import prefetched
from training.learn.runs.rows import row_of
from training.learn.schedule import learning_rate
from training.policies.arithmetic import autocast
from training.policies.family import PolicySpec, spec_of
from training.policies.flops import check_cost, flops_per_sample
from training.policies.losses import cloning_loss
from training.shards.reader import Shards


def train(
    config: CloningConfig,
    *,
    out: Path,
    table: Path,
    wandb: bool = False,
    patience: float = 0.0,
    hurry: bool = False,
) -> None:
    """Train a policy, or go on with the run in `out`; a row of `table` and a checkpoint at each of `config.budgets`.

    Started again after any interruption it ends with the same weights, on as many CPU threads bit for bit. Under
    torchrun the processes share each batch. patience: seconds to wait for another process that trains in `out`. hurry:
    Ctrl-C ends this process within a second; an update that takes longer is not saved then. Raises a TrainingError for
    what cannot be trained and for what fails, InterruptedRunError after a signal.
    """
    with place() as here, stop_on_signals(hurry=hurry and here.world == 1) as stop, contextlib.ExitStack() as held:
        shards = Shards(config.data)
        spec = checked_spec(config, shards)
        batches = training_batches(
            shards,
            batch_size=config.batch_size,
            unroll_length=config.unroll_length,
            seed=config.seed,
            rank=here.rank,
            world=here.world,
            workers=None if here.device.type == "cuda" else 0,  # a CPU learns slower than one thread decodes
        )
        held.enter_context(batches)
        loop = held.enter_context(
            loop_of(config, spec, here, stop, out=out, table=table, wandb=wandb, patience=patience)
        )
        learner, policy = loop.learner, here.wrap(loop.learner.learning)
        batches.seek(learner.update)
        coming = prefetched(batches, here.device)
        while True:
            if loop.row_due:
                loop.add_row(_row(config, spec, shards, loop) if here.leads else {})
            if learner.update >= config.updates:
                break

            batch = next(coming)
            with autocast(here.device, loop.dtype):
                logits, memory = policy(batch, learner.memory)
            learner.memory = tuple(part.detach() for part in memory)
            total, count = cloning_loss(logits, batch["action"], batch["mask"])
            count = here.sum(count).clamp(min=1)
            # DDP takes the mean of the processes' gradients; the loss is the mean over all their frames.
            rate = learning_rate(config, learner.update)
            norm = learner.step(total * (here.world / count), rate)

            loop.finish_update()
            if loop.report_due():
                loop.report(float(here.sum(total.detach()) / count), float(norm), rate)
            loop.save_if_due()


def checked_spec(config: CloningConfig, shards: Shards) -> PolicySpec:
    """The policy of a run, after every check that needs its cost or its data."""
    if shards.env != config.env:
        raise ConfigError(f"{config.data} holds demonstrations of {shards.env}, but env = {config.env!r}; correct one.")
    game = shards.header["options"].get("game")
    if game is not None and game.replace("_", "") != config.task.replace("_", "").lower():
        raise ConfigError(f"{config.data} holds games of {game}, but task = {config.task!r}; correct one.")
    spec = spec_of(config, shards.actions)
    if config.episodes:
        task = task_of(config.env, config.task, shards.actions, config.episode_steps)
        if task.actions != shards.actions:
            raise ConfigError(
                f"{config.data} has {shards.actions} actions, but task = {config.task!r} is played with "
                f"{task.actions}; correct task, or write episodes = 0."
            )
    check_cost(config, flops_per_sample(spec, config.unroll_length))
    config.check_passes(shards.samples, config.data)
    return spec


def _expert(config: CloningConfig, shards: Shards) -> dict[str, float]:
    """Columns of the run table that say how good the demonstrator is, where that is known."""
    known = {"expert_return": shards.expert_return, "expert_loss": shards.expert_loss}
    if shards.cut_before(config.episode_steps):  # whoever plays longer may earn more
        del known["expert_return"]
    return {name: value for name, value in known.items() if value is not None}


def _row(config: CloningConfig, spec: PolicySpec, shards: Shards, loop: Loop) -> dict[str, Any]:
    """The row of a checkpoint: what was trained, with what and where, and how good it is."""
    learner = loop.learner
    samples = learner.update * config.samples_per_update
    return {
        **row_of(config, spec, learner.update, flops_per_sample(spec, config.unroll_length), loop.here),
        "unique_samples": min(samples, shards.samples),
        "data": shards.identity,
        **measure(config, learner.policy, shards, loop.dtype, loop.stop, loop.monitor.measuring),
        **_expert(config, shards),
        "train_loss": learner.loss,
    }
