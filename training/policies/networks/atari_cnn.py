"""The paper's Atari policy: three convolutions and a linear head (Tuyls et al., arXiv 2307.09423)."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

FRAMES, SIDE = 4, 84
KERNELS, STRIDES, SIDES = (8, 4, 3), (4, 2, 1), (20, 9, 7)
"""Kernel, stride and side of the output of each convolution."""


def channels(width: int) -> tuple[int, int, int, int]:
    """Channels before and after each convolution."""
    return FRAMES, width, 2 * width, 2 * width


class AtariCnn(nn.Module):
    """Frames to logits; w, 2w and 2w channels. As published, nothing follows the last convolution but the head."""

    def __init__(self, width: int, actions: int):
        super().__init__()
        self.actions = actions
        sizes = channels(width)
        self.convs = nn.ModuleList(
            nn.Conv2d(i, o, kernel, stride)
            for i, o, kernel, stride in zip(sizes[:-1], sizes[1:], KERNELS, STRIDES, strict=True)
        )
        self.policy = nn.Linear(sizes[-1] * SIDES[-1] ** 2, actions)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def initial_state(self, batch_size: int, device: torch.device | str | None = None) -> tuple[Tensor, ...]:
        """Nothing: the policy has no memory."""
        return ()

    def forward(self, batch: Mapping[str, Tensor], state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Logits [B, T, actions] of `pixels` [B, T, 4, 84, 84] and the empty state."""
        x, state = self.features(batch, state)
        return self.policy(x).float(), state

    def features(self, batch: Mapping[str, Tensor], state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """What the head sees [B, T, 98 · width], of `pixels` scaled to 0..1, and the empty state."""
        pixels = batch["pixels"]
        x = pixels.flatten(0, 1).float().contiguous(memory_format=torch.channels_last)
        first, second, third = cast("list[nn.Conv2d]", list(self.convs))
        x = F.conv2d(x, first.weight / 255, first.bias, first.stride)  # the weights are fewer than the pixels
        x = third(F.relu(second(F.relu(x, inplace=True)), inplace=True))
        return x.flatten(1).unflatten(0, pixels.shape[:2]), state
