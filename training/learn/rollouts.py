"""Playing to learn: many games by the policy as it stands, one rollout after the other."""

import contextlib
import copy
import functools
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.config.reinforcement import ReinforcementConfig
from training.games.vector import Transition, Vector
from training.interrupts import StopFlag
from training.learn.rollout import Recording, Rollout
from training.policies.arithmetic import autocast, to_device
from training.policies.compiled import Tell
from training.policies.family import remembering
from training.policies.networks.critic import Critic
from training.policies.policy import FamilyPolicy, Policy
from training.policies.recorded import Look, RecordedLook, acts_recorded


@dataclass(kw_only=True)
class _Group:
    """Games that step together, as far as they have come."""

    vector: Vector
    """The games."""
    rows: slice
    """Their rows in a rollout."""
    frame: Transition
    """What they show."""
    previous: np.ndarray
    """Action before the frame, int64 [games]."""
    memory: tuple[Tensor, ...]
    """Of the policy, before the frame."""
    other: tuple[Tensor, ...]
    """Of the policy that looks on."""
    chosen: np.ndarray
    """The last actions, int64 [games]."""
    seen: dict[str, Any] = field(default_factory=dict)
    """What the policy has read already and need not read again, see `remembering`."""
    other_seen: dict[str, Any] = field(default_factory=dict)
    """The same of the policy that looks on."""
    recorded: Look | None = None
    """The pass over its frames as a CUDA graph."""


class Actor:
    """Plays groups of games: one is acted for while the others step. Each game's memory goes on over rollouts."""

    def __init__(
        self,
        vectors: Sequence[Vector],
        config: ReinforcementConfig,
        policy: FamilyPolicy,
        critic: Critic,
        device: torch.device,
        dtype: torch.dtype,
        seed: int,
        stop: StopFlag,
        imitated: Policy | None = None,
        tell: Tell = lambda sentence, seconds: None,
    ) -> None:
        """The games begin.

        vectors: the games, B of them in all.
        config: the run.
        policy: what acts.
        critic: predicts the return from what the policy sees.
        device: where both compute.
        dtype: of their matrix products.
        seed: of the choice of actions.
        stop: no further frame is played when it is raised.
        imitated: another policy, that looks on; None for none.
        tell: is told what came of recording passes as CUDA graphs.
        """
        self._config, self._device, self._dtype = config, device, dtype
        self._policy, self._critic, self._imitated, self._stop = policy, critic, imitated, stop
        self._generator = torch.Generator(device).manual_seed(seed)
        self._records, self._tell = acts_recorded(config, device), tell
        self._stream = torch.cuda.Stream(device, priority=-1) if self._records else None
        self._groups: list[_Group] = []
        with self._beside():
            for vector in vectors:
                first = self._groups[-1].rows.stop if self._groups else 0
                self._groups.append(
                    _Group(
                        vector=vector,
                        rows=slice(first, first + vector.count),
                        frame=vector.reset(),
                        previous=np.zeros(vector.count, np.int64),
                        memory=policy.initial_state(vector.count, device),
                        other=imitated.initial_state(vector.count, device) if imitated else (),
                        chosen=np.zeros(vector.count, np.int64),
                    )
                )

    @torch.no_grad()
    def play(self) -> Rollout | None:
        """`rollout` frames of every game; None where the run is asked to stop meanwhile."""
        with self._beside():
            return self._play()

    def _play(self) -> Rollout | None:
        config, groups = self._config, self._groups
        for group in groups:  # the weights are others now
            group.seen, group.other_seen = {}, {}
        play = Recording(
            [group.rows for group in groups], config, self._device, self._imitated.actions if self._imitated else 0
        )
        for t in range(config.rollout):
            if self._stop.raised:
                return None
            for group in groups:
                if t > 0:
                    self._receive(play, group, t - 1)
                self._act(play, group, t)
        for group in groups:
            self._receive(play, group, config.rollout - 1)
            # The memory is not advanced: the next rollout looks at this frame again, with other weights.
            play.last[group.rows] = self._look(group, self._batch(_inputs(group)), group.memory)[1]
        return play.rollout()

    @contextlib.contextmanager
    def _beside(self) -> Iterator[None]:
        """Where passes are recorded, they have a stream of their own: in that of learning each would wait for its turn.

        What one stream uses of the other is there, because the host waits at the end: all that is played is done then,
        and learning reads it before it is freed.
        """
        if self._stream is None:
            yield
            return
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            yield
        self._stream.synchronize()

    def _record(self, group: _Group, batch: Mapping[str, Tensor]) -> Look:
        """The pass over a group's frames as a CUDA graph, or as it is where that fails."""
        begun, look = time.perf_counter(), functools.partial(self._look, group)
        try:
            look = RecordedLook(lambda frames, memory: self._look(group, frames, memory, {}), batch, group.memory)
            said = f"playing of {group.vector.count} games is recorded as a CUDA graph."
        except Exception as error:  # of any kind, from the libraries that the policy uses
            reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            said = f"playing cannot be recorded as a CUDA graph ({reason}); it goes on without."
            self._records = False
        self._tell(said, time.perf_counter() - begun)
        return look

    def _act(self, play: Recording, group: _Group, t: int) -> None:
        """Keep what the games of a group show, choose an action for each, and let them step."""
        batch = self._batch(_inputs(group))
        if t % self._config.unroll_length == 0:
            play.memories[group.rows.start].append(group.memory)
        if self._records and group.recorded is None:
            group.recorded = self._record(group, batch)
        look = group.recorded or functools.partial(self._look, group)
        log_probs, value, group.memory = look(batch, group.memory)
        action = torch.multinomial(log_probs.exp(), 1, generator=self._generator)
        kept = {"action": action.squeeze(1), "log_prob": log_probs.gather(1, action).squeeze(1), "value": value}
        if self._imitated is not None:
            with remembering(self._imitated, group.other_seen), autocast(self._device, self._dtype):
                logits, group.other = self._imitated(batch, group.other)
            kept["imitated"] = logits[:, 0].log_softmax(-1)
        play.keep(group.rows, t, {name: part[:, 0] for name, part in batch.items()}, kept)
        group.chosen = action.squeeze(1).cpu().numpy()
        group.vector.send(group.chosen)

    def _receive(self, play: Recording, group: _Group, t: int) -> None:
        """Wait for the games of a group, and keep what their actions earned."""
        begun = time.perf_counter()
        frame = group.vector.receive()
        play.waited += time.perf_counter() - begun
        play.earned(group.rows, t, frame)
        for slot in np.flatnonzero(frame.truncated).tolist():
            play.lasting[group.rows.start + slot, t] = self._value_after(play, group, frame, slot, t)
        group.previous = np.where(frame.start, 0, group.chosen)
        group.frame = frame

    def _look(
        self, group: _Group, batch: Mapping[str, Tensor], memory: tuple[Tensor, ...], seen: dict[str, Any] | None = None
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Log probabilities [games, actions], values [games] and the memory after a batch of single frames."""
        with remembering(self._policy, group.seen if seen is None else seen), autocast(self._device, self._dtype):
            features, memory = self._policy.features(batch, memory)
            logits = self._policy.policy(features).float()
            normalised = self._critic(features)
        return logits[:, 0].log_softmax(-1), self._critic.value(normalised)[:, 0], memory

    def _value_after(self, play: Recording, group: _Group, frame: Transition, slot: int, t: int) -> float:
        """Value of the last frame of a game cut off; of a game whose process died, of the frame before."""
        last = frame.final.get(slot)
        if last is None:
            return float(play.kept["value"][group.rows.start + slot, t])
        fields = {name: values[None] for name, values in last.items()}
        batch = self._batch({**fields, "start": np.zeros(1, bool), "previous": group.chosen[slot : slot + 1]})
        return float(self._look(group, batch, tuple(part[slot : slot + 1] for part in group.memory), {})[1])

    def _batch(self, inputs: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
        """Batches of single frames, [games, 1, ...]."""
        return to_device({name: values[:, None] for name, values in inputs.items()}, self._device)


def _inputs(group: _Group) -> dict[str, np.ndarray]:
    """Of the policy for the next action, [games, ...]."""
    return {**group.frame.fields, "start": group.frame.start, "previous": group.previous}


class Rollouts:
    """A rollout for each update; with a `lag`, the next is played while one is learned from.

    What plays is then a copy of policy and critic from before that learning. Where torch has one thread of a CPU the
    next one is played afterwards, and is the same; else learning and playing have half of the threads each, until
    `halfway`.
    """

    def __init__(
        self,
        vectors: Sequence[Vector],
        config: ReinforcementConfig,
        policy: FamilyPolicy,
        critic: Critic,
        device: torch.device,
        *rest: Any,
    ) -> None:
        """rest: as of `Actor`."""
        self._lag, self._learning, self._device = config.lag, (policy, critic), device
        self._playing = copy.deepcopy(self._learning) if config.lag else self._learning
        self._actor = Actor(vectors, config, *self._playing, device, *rest)
        self._next: Rollout | None = None
        self._played: Future[Rollout | None] | None = None
        self._threads = torch.get_num_threads()

    @contextlib.contextmanager
    def next(self, *, more: bool, beside: bool = True) -> Iterator[Rollout | None]:
        """The next rollout, to learn from in this context; None where the run is asked to stop.

        more: another will be asked for. beside: with a `lag`, it may be played meanwhile; it is the same afterwards.
        """
        if not self._lag:
            yield self._actor.play()
            return
        self._threads = torch.get_num_threads()
        half = max(self._threads // 2, 1)
        torch.set_num_threads(half)
        try:
            rollout, self._next = self._next or self._actor.play(), None
            if rollout is None or not more:
                yield rollout
                return
            for playing, learning in zip(self._playing, self._learning, strict=True):
                playing.load_state_dict(learning.state_dict())
            if not beside or (self._threads == 1 and self._device.type == "cpu"):
                yield rollout
                self._next = self._actor.play()
                return
            with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(half,)) as pool:
                self._played = pool.submit(self._actor.play)
                yield rollout
                self._next = self._played.result()
        finally:
            self._played = None
            torch.set_num_threads(self._threads)

    def halfway(self) -> None:
        """Half of the learning is done: on a CPU the other half begins when playing is done, and has all threads.

        Playing takes about half as long as learning, and its threads would then be idle. All runs do it at the same
        batch, for the number of threads changes how sums are rounded.
        """
        if self._played and self._device.type == "cpu":
            self._played.result()
            torch.set_num_threads(self._threads)
