"""What acting hands to learning: frames of many games, and what the policy made of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from training.config.reinforcement import ReinforcementConfig
from training.games.vector import GameResult, Transition
from training.policies.arithmetic import to_device
from training.policies.networks.atari_cnn import room_for_pixels


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


class Recording:
    """A rollout under way: arrays that fill frame by frame, on the device where the policy learns from them."""

    def __init__(
        self, groups: Sequence[slice], config: ReinforcementConfig, device: torch.device, imitated: int = 0
    ) -> None:
        """Nothing is recorded yet.

        groups: rows of each group of games.
        config: the run.
        device: where the policy learns.
        imitated: actions of the policy that looks on; 0 for none.
        """
        self._config, self._device, self._shape = config, device, (groups[-1].stop, config.rollout)
        self.frames: dict[str, Tensor] = {}
        kinds = {"action": torch.int64, "log_prob": torch.float32, "value": torch.float32}
        self.kept = {name: torch.empty(self._shape, dtype=kind, device=device) for name, kind in kinds.items()}
        if imitated:
            self.kept["imitated"] = torch.empty((*self._shape, imitated), device=device)
        self.last = torch.empty(self._shape[0], device=device)
        """Value of the frame after the last."""
        self.memories: dict[int, list[tuple[Tensor, ...]]] = {rows.start: [] for rows in groups}
        """By group, before each sequence."""
        self.lasting: dict[tuple[int, int], float] = {}
        """Values after games that were cut off, by row and time."""
        self._flags = {
            name: np.empty(self._shape, kind)
            for name, kind in (("reward", np.float32), ("done", bool), ("terminated", bool))
        }
        self._results: list[GameResult] = []
        self.waited = 0.0

    def keep(self, rows: slice, t: int, frames: Mapping[str, Tensor], kept: Mapping[str, Tensor]) -> None:
        """Frames of a group's games, and what the policy made of them."""
        if not self.frames:
            self.frames = {name: self._room(name, part) for name, part in frames.items()}
        for parts, arrays in ((frames, self.frames), (kept, self.kept)):
            for name, part in parts.items():
                arrays[name][rows, t] = part

    def earned(self, rows: slice, t: int, frame: Transition) -> None:
        """What the actions of a group's games brought."""
        ended = frame.terminated
        if self._config.life_loss and frame.life_lost is not None:
            ended = ended | frame.life_lost
        self._flags["reward"][rows, t] = frame.reward
        self._flags["terminated"][rows, t] = ended
        self._flags["done"][rows, t] = ended | frame.truncated
        self._results += frame.results

    def rollout(self) -> Rollout:
        """The whole, when every frame is there."""
        value, clip = self.kept["value"], self._config.reward_clip
        next_value = torch.cat((value[:, 1:], self.last[:, None]), 1)
        for place, worth in self.lasting.items():
            next_value[place] = worth
        if clip:
            self._flags["reward"].clip(-clip, clip, out=self._flags["reward"])
        by_group = [[torch.stack(parts, 1) for parts in zip(*each, strict=True)] for each in self.memories.values()]
        return Rollout(
            frames=self.frames,
            next_value=next_value,
            memory=tuple(torch.cat(parts) for parts in zip(*by_group, strict=True)),
            results=tuple(self._results),
            waited=self.waited,
            **{"imitated": None, **self.kept},
            **to_device(self._flags, self._device),
        )

    def _room(self, name: str, part: Tensor) -> Tensor:
        """For all frames of a field; pixels beside each other as the convolutions read them."""
        shape = (*self._shape, *part.shape[1:])
        if name == "pixels":
            return room_for_pixels(shape, part.device)
        return torch.empty(shape, dtype=part.dtype, device=part.device)
