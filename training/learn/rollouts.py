"""Playing to learn: rollouts of many games by the policy as it stands, with all that learning from them needs."""

import contextlib
import copy
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.config.reinforcement import ReinforcementConfig
from training.games.vector import GameResult, Transition, Vector
from training.policies.arithmetic import autocast, to_device
from training.policies.family import remembering
from training.policies.networks.atari_cnn import as_read
from training.policies.networks.critic import Critic
from training.policies.policy import FamilyPolicy, Policy


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """T frames of each of B games; tensors [B, T, ...] unless said otherwise."""

    frames: Mapping[str, Tensor]
    """What the policy saw: the environment's fields, `start` and `previous`."""
    action: Tensor
    """What was chosen."""
    log_prob: Tensor
    """Of the action, when it was chosen (nats)."""
    value: Tensor
    """Of the frame, in units of reward."""
    next_value: Tensor
    """Of the frame that followed in the same game, in units of reward; of a game cut off, its last."""
    reward: Tensor
    """Of the action, cut to `reward_clip` where the run asks for it."""
    done: Tensor
    """The game ended with the action, by its rules or cut off; or, with `life_loss`, a life was lost."""
    terminated: Tensor
    """The same, but for games cut off."""
    memory: tuple[Tensor, ...]
    """Before each sequence of `unroll_length` frames: [B, T / unroll_length, ...]."""
    imitated: Tensor | None
    """Log probabilities (nats) [B, T, actions] of the policy to stay like."""
    results: tuple[GameResult, ...]
    """Games that ended."""
    waited: float
    """Seconds spent waiting for environments."""


class Actor:
    """Plays the games of a vector; the memory of each game goes on from rollout to rollout."""

    def __init__(
        self,
        vector: Vector,
        config: ReinforcementConfig,
        policy: FamilyPolicy,
        critic: Critic,
        device: torch.device,
        dtype: torch.dtype,
        seed: int,
        imitated: Policy | None = None,
    ) -> None:
        """The games begin.

        vector: the games, B of them.
        config: the run.
        policy: what acts.
        critic: predicts the return from what the policy sees.
        device: where both compute.
        dtype: of their matrix products.
        seed: of the choice of actions.
        imitated: another policy, that looks on; None for none.
        """
        self._vector, self._config, self._device, self._dtype = vector, config, device, dtype
        self._policy, self._critic, self._imitated = policy, critic, imitated
        self._generator = torch.Generator(device).manual_seed(seed)
        self._frame = vector.reset()
        self._previous = np.zeros(vector.count, np.int64)
        self._memory: tuple[Tensor, ...] = policy.initial_state(vector.count, device)
        self._other: tuple[Tensor, ...] = imitated.initial_state(vector.count, device) if imitated else ()

    @torch.no_grad()
    def play(self) -> Rollout:
        """`rollout` frames of every game."""
        with contextlib.ExitStack() as held:
            for policy in filter(None, (self._policy, self._imitated)):
                held.enter_context(remembering(policy))
            return self._play()

    def _play(self) -> Rollout:
        config, count = self._config, self._vector.count
        steps, none = config.rollout, torch.empty(0, device=self._device)
        frames = {name: np.empty((count, steps, *x.shape[1:]), x.dtype) for name, x in self._inputs().items()}
        columns = {name: [none] * steps for name in ("action", "log_prob", "value", "imitated")}
        reward, done, terminated = (np.empty((count, steps), kind) for kind in (np.float32, bool, bool))
        lasting: dict[tuple[int, int], float] = {}  # values after games that were cut off
        memory, results, waited = [], [], 0.0
        for t in range(steps):
            if t % config.unroll_length == 0:
                memory.append(self._memory)
            inputs = self._inputs()
            for name, seen in frames.items():
                seen[:, t] = inputs[name]
            batch = self._batch(inputs)
            log_probs, value, self._memory = self._look(batch, self._memory)
            action = torch.multinomial(log_probs.exp(), 1, generator=self._generator)
            chosen = action.squeeze(1).cpu().numpy()
            columns["action"][t], columns["value"][t] = action.squeeze(1), value
            columns["log_prob"][t] = log_probs.gather(1, action).squeeze(1)
            if self._imitated is not None:  # before the games write their next frames over this one
                with autocast(self._device, self._dtype):
                    logits, self._other = self._imitated(batch, self._other)
                columns["imitated"][t] = logits[:, 0].log_softmax(-1)
            begun = time.perf_counter()
            frame = self._vector.step(chosen)
            waited += time.perf_counter() - begun
            ended = frame.terminated
            if config.life_loss and frame.life_lost is not None:
                ended = ended | frame.life_lost
            reward[:, t], terminated[:, t], done[:, t] = frame.reward, ended, ended | frame.truncated
            for slot in np.flatnonzero(frame.truncated).tolist():
                lasting[slot, t] = self._value_after(frame, slot, chosen, float(value[slot]))
            self._previous = np.where(frame.start, 0, chosen)
            self._frame = frame
            results += frame.results
        # The memory is not advanced: the next rollout looks at this frame again, with other weights.
        _, last, _ = self._look(self._batch(self._inputs()), self._memory)
        value = torch.stack(columns["value"], 1)
        next_value = torch.cat((value[:, 1:], last[:, None]), 1)
        for place, worth in lasting.items():
            next_value[place] = worth
        if config.reward_clip:
            reward = reward.clip(-config.reward_clip, config.reward_clip)
        flags = to_device({"reward": reward, "done": done, "terminated": terminated}, self._device)
        tensors = {name: torch.from_numpy(seen) for name, seen in frames.items()}
        if "pixels" in tensors:
            tensors["pixels"] = as_read(tensors["pixels"])
        return Rollout(
            frames=tensors,
            action=torch.stack(columns["action"], 1),
            log_prob=torch.stack(columns["log_prob"], 1),
            value=value,
            next_value=next_value,
            memory=tuple(torch.stack(parts, 1) for parts in zip(*memory, strict=True)),
            imitated=torch.stack(columns["imitated"], 1) if self._imitated is not None else None,
            results=tuple(results),
            waited=waited,
            **flags,
        )

    def _look(
        self, batch: Mapping[str, Tensor], memory: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Log probabilities [B, actions], values [B] and the memory after a batch of single frames."""
        with autocast(self._device, self._dtype):
            features, memory = self._policy.features(batch, memory)
            logits = self._policy.policy(features).float()
            normalised = self._critic(features)
        return logits[:, 0].log_softmax(-1), self._critic.value(normalised)[:, 0], memory

    def _value_after(self, frame: Transition, slot: int, chosen: np.ndarray, before: float) -> float:
        """Value of the last frame of a game cut off; of a game whose process died, of the frame before."""
        last = frame.final.get(slot)
        if last is None:
            return before
        fields = {name: values[None] for name, values in last.items()}
        batch = self._batch({**fields, "start": np.zeros(1, bool), "previous": chosen[slot : slot + 1]})
        return float(self._look(batch, tuple(part[slot : slot + 1] for part in self._memory))[1])

    def _inputs(self) -> dict[str, np.ndarray]:
        """Of the policy for the next action, [B, ...]."""
        return {**self._frame.fields, "start": self._frame.start, "previous": self._previous}

    def _batch(self, inputs: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
        """Batches of single frames, [B, 1, ...]."""
        return to_device({name: values[:, None] for name, values in inputs.items()}, self._device)


class Rollouts:
    """A rollout for each update; with a `lag`, the next is played while one is learned from.

    What plays is then a copy of policy and critic from before that learning. Where torch has one thread of a CPU the
    next one is played afterwards, and is the same; else learning and playing have half of the threads each.
    """

    def __init__(
        self,
        vector: Vector,
        config: ReinforcementConfig,
        policy: FamilyPolicy,
        critic: Critic,
        device: torch.device,
        *rest: Any,
    ) -> None:
        """rest: as of `Actor`."""
        self._lag, self._learning, self._device = config.lag, (policy, critic), device
        self._playing = copy.deepcopy(self._learning) if config.lag else self._learning
        self._actor = Actor(vector, config, *self._playing, device, *rest)
        self._next: Rollout | None = None

    @contextlib.contextmanager
    def next(self, *, more: bool, beside: bool = True) -> Iterator[Rollout]:
        """The next rollout, to learn from in this context.

        more: another will be asked for. beside: with a `lag`, it may be played meanwhile; it is the same afterwards.
        """
        if not self._lag:
            yield self._actor.play()
            return
        threads = torch.get_num_threads()
        half = max(threads // 2, 1)
        torch.set_num_threads(half)
        try:
            rollout, self._next = self._next or self._actor.play(), None
            if not more:
                yield rollout
                return
            for playing, learning in zip(self._playing, self._learning, strict=True):
                playing.load_state_dict(learning.state_dict())
            if not beside or (threads == 1 and self._device.type == "cpu"):
                yield rollout
                self._next = self._actor.play()
                return
            with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(half,)) as pool:
                played = pool.submit(self._actor.play)
                yield rollout
                self._next = played.result()
        finally:
            torch.set_num_threads(threads)
