"""What is asked of a policy: frames in, logits out, and a memory between."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn


class Policy(Protocol):
    """A torch module that plays and learns from demonstrations."""

    actions: int
    """How many it chooses among."""
    training: bool
    """Whether it is in training mode."""

    def initial_state(self, batch_size: int, device: torch.device | str | None = None) -> tuple[Tensor, ...]:
        """The memory before a game's first frame, tensors [B, ...]; none for a policy without memory."""
        ...

    def __call__(self, batch: Mapping[str, Tensor], state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Logits [B, T, actions] of frames [B, T, ...], and the memory after the last."""
        ...

    def train(self, mode: bool = True) -> Self:
        """Of `torch.nn.Module`, as are the following."""
        ...

    def eval(self) -> Self:
        """Into evaluation mode."""
        ...

    def to(self, device: torch.device | str) -> Self:
        """Onto a device."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """Its weights."""
        ...

    def modules(self) -> Iterator[nn.Module]:
        """Itself and its parts."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Weights and buffers by name."""
        ...

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any:
        """Take what `state_dict` gave."""
        ...


class FamilyPolicy(Policy, Protocol):
    """A policy whose head can be told from what it sees, on which a critic puts another head."""

    @property
    def policy(self) -> nn.Linear:
        """The head: features to logits."""
        ...

    def features(self, batch: Mapping[str, Tensor], state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """What the head sees [B, T, features] of frames [B, T, ...], and the memory after the last."""
        ...
