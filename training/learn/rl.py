"""Reinforcement learning: an actor-critic loop, top to bottom, with PPO or V-trace."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.config.reinforcement import ReinforcementConfig
from training.errors import ConfigError
from training.games.tasks import Task, task_of, vector_of
from training.interrupts import stop_on_signals
from training.learn.advantages import generalised_advantage, vtrace
from training.learn.distributed import place
from training.learn.learner import Learner
from training.learn.loop import Loop, loop_of
from training.learn.measure import measured_return
from training.learn.rollout import Rollout
from training.learn.rollouts import Rollouts
from training.learn.runs.rows import row_of
from training.learn.schedule import learning_rate
from training.policies.arithmetic import autocast, to_device
from training.policies.family import PolicySpec, spec_of
from training.policies.flops import check_cost, reinforcement_flops
from training.policies.loaded import load_policy
from training.policies.networks.critic import Critic


def train(
    config: ReinforcementConfig,
    *,
    out: Path,
    table: Path,
    wandb: bool = False,
    patience: float = 0.0,
    hurry: bool = False,
) -> None:
    """Train a policy by playing, or go on with the run in `out`; a row of `table` and a checkpoint at each budget.

    The same config ends with the same weights, on as many CPU threads bit for bit. A run that was interrupted goes on
    from its last checkpoint with new games, because a game cannot be saved: its weights are then others, as good.
    patience: seconds to wait for another process that trains in `out`. hurry: Ctrl-C ends this process within a second;
    an update that takes longer is not saved then. Raises a TrainingError for what cannot be
    trained and for what fails, InterruptedRunError after a signal.
    """
    with place() as here, stop_on_signals(hurry=hurry) as stop, contextlib.ExitStack() as held:
        if here.world > 1:
            raise ConfigError("reinforcement learning takes one process; start it without torchrun.")
        begun = load_policy(Path(config.init)) if config.init else None
        task = task_of(config.env, config.task, begun.spec.actions if begun else 0, config.episode_steps)
        spec = checked_spec(config, task.actions, begun.spec if begun else None)
        loop = held.enter_context(
            loop_of(config, spec, here, stop, out=out, table=table, critic=True, wandb=wandb, patience=patience)
        )
        learner = loop.learner
        assert learner.critic is not None
        if begun and learner.update == 0:
            learner.policy.load_state_dict(begun.policy.state_dict())
        # A run that goes on plays other games than those it has played already.
        seeds = np.random.SeedSequence((config.seed, learner.update)).generate_state(3)
        shuffle = torch.Generator().manual_seed(int(seeds[0]))
        count, cores = config.envs // config.groups, torch.get_num_threads()
        vectors = [
            held.enter_context(vector_of(task, count=count, workers=cores, seed=seed))
            for seed in group_seeds(int(seeds[1]), config.groups)
        ]
        rollouts = Rollouts(
            vectors, config, learner.policy, learner.critic, here.device, loop.dtype, int(seeds[2]), stop,
            begun.policy.to(here.device) if begun and config.kl else None, loop.monitor.compiled,
        )  # fmt: skip
        while True:
            if loop.row_due:
                loop.add_row(_row(config, spec, task, loop))
            if learner.update >= config.updates:
                break

            rate = learning_rate(config, learner.update)
            more = learner.update + 1 < config.updates
            # torch.compile shares the process with no other thread that computes.
            with rollouts.next(more=more, beside=learner.learning.ready) as rollout:
                if rollout is None:
                    loop.stop_here()
                means = learn(learner, rollout, config, rate, shuffle, loop.dtype, rollouts.halfway)

            loop.finish_update()
            loop.monitor.played(rollout.results, rollout.waited)
            loop.report(means.pop("loss"), means["norm"], rate, means)
            loop.save_if_due()


def group_seeds(seed: int, groups: int) -> list[int]:
    """Of the games of each group; one group has the seed itself."""
    return [seed] if groups == 1 else np.random.SeedSequence(seed).generate_state(groups).tolist()


def learn(
    learner: Learner,
    rollout: Rollout,
    config: ReinforcementConfig,
    rate: float,
    shuffle: torch.Generator,
    dtype: torch.dtype,
    halfway: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Pass `epochs` times over a rollout; means over its batches of the loss and what it is made of.

    halfway: called when half of the batches are learned from.
    """
    critic = learner.critic
    assert critic is not None
    ppo = config.algorithm == "ppo"
    if ppo:
        advantage, target = generalised_advantage(
            rollout.reward, rollout.value, rollout.next_value, rollout.done, rollout.terminated,
            config.discount, config.gae_lambda,
        )  # fmt: skip
        critic.follow(target)
    else:
        advantage = target = torch.zeros_like(rollout.reward)
    sums: dict[str, Tensor] = {}
    targets = []
    count = config.epochs * config.samples_per_update // (config.batch_size * config.unroll_length)
    for number, batch in enumerate(minibatches(rollout, advantage, target, config, shuffle, learner.here.device)):
        if number == (count + 1) // 2:
            halfway()
        with autocast(learner.here.device, dtype):
            features, _ = learner.learning.features(batch.frames, batch.memory)
            log_probs = learner.policy.policy(features).float().log_softmax(-1)
            value = critic(features)
        log_prob = log_probs.gather(-1, batch.action[..., None]).squeeze(-1)
        if ppo:
            gain, wanted = batch.advantage, batch.target
        else:
            gain, wanted = _traced(critic, value, log_prob, batch, config.discount)
            targets.append(wanted)
        gain = (gain - gain.mean()) / (gain.std() + 1e-8)
        acting = ppo_loss(log_prob, batch.log_prob, gain, config.ratio_clip) if ppo else -(gain * log_prob).mean()
        critic_loss = 0.5 * (value - critic.normalise(wanted)).square().mean()
        entropy = -(log_probs.exp() * log_probs).sum(-1).mean()
        loss = acting + config.value_cost * critic_loss - config.entropy * entropy
        parts = {"policy": acting, "critic": critic_loss, "entropy": entropy}
        if batch.imitated is not None:
            parts["kl"] = (batch.imitated.exp() * (batch.imitated - log_probs)).sum(-1).mean()
            loss = loss + config.kl * parts["kl"]
        norm = learner.step(loss, rate)
        for name, part in {"loss": loss, "norm": norm, **parts}.items():
            sums[name] = sums.get(name, torch.zeros((), device=norm.device)) + part.detach()
    if targets:
        critic.follow(torch.cat([t.flatten() for t in targets]))
    # Read at once, after every update: the next rollout must not be played with weights that are no numbers.
    totals = torch.stack(list(sums.values())).tolist()
    return {name: total / count for name, total in zip(sums, totals, strict=True)}


def ppo_loss(log_prob: Tensor, behaviour: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """The clipped surrogate of Schulman et al. (2017, arXiv 1707.06347), eq. 7, negated; arrays of one shape."""
    ratio = (log_prob - behaviour).exp()
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage).mean()


def _traced(
    critic: Critic, value: Tensor, log_prob: Tensor, batch: "Minibatch", discount: float
) -> tuple[Tensor, Tensor]:
    """V-trace over each sequence, with the values and the policy as they are now; after a sequence as they were."""
    now = critic.value(value.detach())
    following = torch.cat((now[:, 1:], batch.next_value[:, -1:]), 1)
    following = torch.where(batch.done & ~batch.terminated, batch.next_value, following)
    return vtrace(
        log_prob.detach(), batch.log_prob, batch.reward, now, following, batch.done, batch.terminated, discount
    )


@dataclass(frozen=True, kw_only=True)
class Minibatch:
    """Sequences of a rollout, for one gradient step; tensors [batch_size, unroll_length, ...] unless said otherwise."""

    frames: dict[str, Tensor]
    """What the policy sees."""
    memory: tuple[Tensor, ...]
    """Before each sequence: [batch_size, ...]."""
    action: Tensor
    """What was chosen."""
    log_prob: Tensor
    """Of the action, when it was chosen (nats)."""
    next_value: Tensor
    """Of the frame that followed in the same game, in units of reward."""
    reward: Tensor
    """Of the action, cut to `reward_clip` where the run asks for it."""
    done: Tensor
    """The game ended, by its rules or cut off."""
    terminated: Tensor
    """The game ended by its rules."""
    advantage: Tensor
    """How much more the action brought than was expected, in units of reward; zeros for V-trace."""
    target: Tensor
    """What the value should have been, in units of reward; zeros for V-trace."""
    imitated: Tensor | None
    """Log probabilities (nats) [batch_size, unroll_length, actions] of the policy to stay like."""


def minibatches(
    rollout: Rollout,
    advantage: Tensor,
    target: Tensor,
    config: ReinforcementConfig,
    shuffle: torch.Generator,
    device: torch.device,
) -> Iterator[Minibatch]:
    """Every sequence of a rollout once an epoch, in random order; what lies on the host is copied batch by batch."""

    def cut(x: Tensor) -> Tensor:
        return x.unflatten(1, (-1, config.unroll_length)).flatten(0, 1)

    names = "action", "log_prob", "next_value", "reward", "done", "terminated"
    arrays = {name: cut(getattr(rollout, name)) for name in names}
    arrays |= {"advantage": cut(advantage), "target": cut(target)}
    frames = {name: cut(x) for name, x in rollout.frames.items()}
    memory = tuple(part.flatten(0, 1) for part in rollout.memory)
    imitated = None if rollout.imitated is None else cut(rollout.imitated)
    for _ in range(config.epochs):
        order = torch.randperm(len(arrays["action"]), generator=shuffle)
        on_device = to_device({"order": order}, device)["order"]
        for rows, there in zip(*(x.split(config.batch_size) for x in (order, on_device)), strict=True):
            yield Minibatch(
                frames=to_device(
                    {name: _taken(x, rows if x.device.type == "cpu" else there) for name, x in frames.items()}, device
                ),
                memory=tuple(part[there] for part in memory),
                imitated=None if imitated is None else imitated[there],
                **{name: x[there] for name, x in arrays.items()},
            )


def _taken(x: Tensor, rows: Tensor) -> Tensor:
    """x[rows], in the order that x has in memory: copied row by row, where indexing goes element by element."""
    order = sorted(range(x.dim()), key=lambda axis: -x.stride(axis))
    return x.permute(order).index_select(order.index(0), rows).permute([order.index(axis) for axis in range(x.dim())])


def checked_spec(config: ReinforcementConfig, actions: int, begun: PolicySpec | None) -> PolicySpec:
    """The policy of a run, after every check that needs its cost; begun: what it starts from."""
    spec = spec_of(config, actions)
    if begun is not None:
        if (begun.env, begun.core, begun.width) != (spec.env, spec.core, spec.width):
            raise ConfigError(
                f"init = {config.init!r} is a {begun.core} of width {begun.width} in {begun.env}, but this run asks "
                f"for a {spec.core} of width {spec.width} in {spec.env}; set params to that policy's."
            )
        spec = begun
    check_cost(config, reinforcement_flops(spec, config))
    return spec


def _row(config: ReinforcementConfig, spec: PolicySpec, task: Task, loop: Loop) -> dict[str, Any]:
    """The row of a checkpoint: what was trained and where, and how well it plays."""
    learner = loop.learner
    return {
        **row_of(config, spec, learner.update, reinforcement_flops(spec, config), loop.here),
        "loss": None,
        **measured_return(config, learner.policy, task, loop.stop, loop.monitor.measuring),
    }
