"""Behavioural cloning: the loop, top to bottom."""

import contextlib
import time
from pathlib import Path
from typing import Any

from training.batches.training import training_batches
from training.config.cloning import CloningConfig
from training.errors import ConfigError
from training.games.tasks import task_of
from training.interrupts import InterruptedRunError, stop_on_signals
from training.learn.distributed import Place, place
from training.learn.learner import Learner, check_finite
from training.learn.measure import measure
from training.learn.monitor import Monitor, matrix_rate
from training.learn.rows import row_of, told
from training.learn.run_folder import claim, resumed
from training.learn.run_table import append_row, check_table
from training.learn.schedule import learning_rate
from training.policies.arithmetic import autocast, precision, to_device
from training.policies.family import PolicySpec, spec_of
from training.policies.flops import check_cost, flops_per_sample
from training.policies.losses import cloning_loss
from training.shards.reader import Shards

SAVE_EVERY = 300.0
"""Seconds between two checkpoints that no budget asks for."""


def train(config: CloningConfig, *, out: Path, table: Path, wandb: bool = False, patience: float = 0.0) -> None:
    """Train a policy, or go on with the run in `out`; a row of `table` and a checkpoint at each of `config.budgets`.

    Started again after any interruption it ends with the same weights, on as many CPU threads bit for bit. Under
    torchrun the processes share each batch. patience: seconds to wait for another process that trains in `out`. Raises
    ConfigError for what cannot be trained, InterruptedRunError after a signal.
    """
    checkpoints = out / "checkpoints"
    with place() as here, stop_on_signals() as stop, contextlib.ExitStack() as held:
        shards = Shards(config.data)
        spec = checked_spec(config, shards)
        held.enter_context(claim(config, out, here, patience))
        check_table(table)
        learner = Learner.begin(config, spec, here, checkpoints)
        policy = here.wrap(learner.policy)
        batches = training_batches(
            shards,
            batch_size=config.batch_size,
            unroll_length=config.unroll_length,
            seed=config.seed,
            rank=here.rank,
            world=here.world,
        )
        dtype = precision(config, here.device)
        peak = here.world * matrix_rate(here.device, dtype)
        stops, saved = {config.updates_within(budget) for budget in config.budgets}, time.monotonic()
        monitor = Monitor(config, out, start=learner.update, peak=peak, quiet=not here.leads, wandb=wandb)
        with batches, monitor:
            batches.seek(learner.update)
            for sentence in (*learner.passed_over, *resumed(config, out, learner.update, learner.measured)):
                monitor.say(sentence)
            while True:
                if learner.update in stops and learner.measured < learner.update:
                    if here.leads:
                        values = measure(config, learner.policy, shards, dtype, stop, monitor.measuring)
                        row = _row(config, spec, shards, learner.update, here)
                        append_row(table, {**row, **values, "train_loss": learner.loss, **monitor.speed})
                        monitor.measured(learner.update, {**row, **values})
                        monitor.say(told(row, values))
                    learner.measured = learner.update
                    learner.save(checkpoints, keep=True)
                if learner.update >= config.updates:
                    break

                batch = to_device(next(batches), here.device)
                with autocast(here.device, dtype):
                    logits, memory = policy(batch, learner.memory)
                learner.memory = tuple(part.detach() for part in memory)
                total, count = cloning_loss(logits, batch["action"], batch["mask"])
                count = here.sum(count).clamp(min=1)
                # DDP takes the mean of the processes' gradients; the loss is the mean over all their frames.
                rate = learning_rate(config, learner.update)
                norm = learner.step(total * (here.world / count), rate)
                learner.update += 1

                # Asking the other processes makes them wait, so several ask seldom.
                due, asking = learner.update in stops, here.world == 1 or learner.update % 16 == 0
                stopping = asking and here.any(stop.raised)
                if due or stopping or (asking and here.any(monitor.due)):
                    learner.loss = float(here.sum(total.detach()) / count)
                    check_finite(learner.loss, float(norm), learner.update, checkpoints)
                    monitor.training(learner.update, learner.loss, rate)
                if due or stopping or (asking and here.any(time.monotonic() - saved > SAVE_EVERY)):
                    learner.save(checkpoints, keep=False)  # before it is measured, which takes time too
                    saved = time.monotonic()
                if stopping:
                    raise InterruptedRunError(
                        f"stopped after update {learner.update} of {config.updates}, which is saved; start the same "
                        "command again to go on."
                    )


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
    available = shards.samples
    if config.samples > config.max_epochs * available:
        raise ConfigError(
            f"the budget takes {config.samples:,} samples, but {config.data} has {available:,} to learn from: "
            f"{config.samples / available:.1f} passes where max_epochs = {config.max_epochs:g}; record more games, "
            "lower flops, or raise max_epochs."
        )
    return spec


def _row(config: CloningConfig, spec: PolicySpec, shards: Shards, update: int, here: Place) -> dict[str, Any]:
    """Columns of the run table that say what was trained, with what and where."""
    samples = update * config.samples_per_update
    return {
        **row_of(config, spec, update, flops_per_sample(spec, config.unroll_length), here),
        "unique_samples": min(samples, shards.samples),
        "data": shards.identity,
    }
