"""Atari policies: three convolutions, and what is made of them.

Without a hidden layer as in the paper (Tuyls et al., arXiv 2307.09423); with one as the field has it (Mnih et al.,
2015, "Human-level control through deep reinforcement learning", Nature 518).
"""

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

FRAMES, SIDE = 4, 84
KERNELS, STRIDES, SIDES = (8, 4, 3), (4, 2, 1), (20, 9, 7)
"""Kernel, stride and side of the output of each convolution."""
_HIDDEN, _FEWEST_CHANNELS = 16, 8
"""Hidden units for each channel of the first convolution, as 512 for 32 in the published network; and its fewest
channels, with which small networks vary in their hidden units alone."""


def channels(width: int) -> tuple[int, int, int, int]:
    """Channels before and after each convolution."""
    return FRAMES, width, 2 * width, 2 * width


def channels_for(hidden: int) -> int:
    """Channels of the first convolution of a network with so many hidden units."""
    return max(_FEWEST_CHANNELS, round(hidden / _HIDDEN))


def room_for_pixels(shape: Sequence[int], device: torch.device) -> Tensor:
    """An empty uint8 tensor [..., 4, 84, 84] whose stacked frames lie beside each other, as the convolutions read them.

    Filled once, it spares each pass over the same frames a reordering.
    """
    *frames, stack, rows, columns = shape
    return torch.empty((*frames, rows, columns, stack), dtype=torch.uint8, device=device).movedim(-1, -3)


class AtariCnn(nn.Module):
    """Frames to logits; w, 2w and 2w channels."""

    def __init__(self, width: int, actions: int, *, hidden: int = 0):
        """Fresh weights.

        width: w.
        actions: to choose from.
        hidden: units of a layer between the last convolution and the head, and orthogonal weights (Engstrom et al.,
            2020, arXiv 2005.12729). With 0 nothing is between them, no nonlinearity either.
        """
        super().__init__()
        self.actions = actions
        sizes = channels(width)
        self.convs = nn.ModuleList(
            nn.Conv2d(i, o, kernel, stride)
            for i, o, kernel, stride in zip(sizes[:-1], sizes[1:], KERNELS, STRIDES, strict=True)
        )
        seen = sizes[-1] * SIDES[-1] ** 2
        self.hidden = nn.Linear(seen, hidden) if hidden else None
        self.policy = nn.Linear(hidden or seen, actions)
        if hidden:
            self._init_orthogonal()
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _init_orthogonal(self) -> None:
        """Small in the head, so that the first actions are drawn evenly."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.orthogonal_(layer.weight, 0.01 if layer is self.policy else 2**0.5)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def initial_state(self, batch_size: int, device: torch.device | str | None = None) -> tuple[Tensor, ...]:
        """Nothing: the policy has no memory."""
        return ()

    def forward(self, batch: Mapping[str, Tensor], state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Logits [B, T, actions] of `pixels` [B, T, 4, 84, 84] and the empty state."""
        x, state = self.features(batch, state)
        return self.policy(x).float(), state

    def features(self, batch: Mapping[str, Tensor], state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """What the head sees [B, T, features], of `pixels` scaled to 0..1, and the empty state."""
        pixels = batch["pixels"]
        x = pixels.flatten(0, 1).float().contiguous(memory_format=torch.channels_last)
        first, second, third = cast("list[nn.Conv2d]", list(self.convs))
        x = F.conv2d(x, first.weight / 255, first.bias, first.stride)  # the weights are fewer than the pixels
        x = third(F.relu(second(F.relu(x, inplace=True)), inplace=True)).flatten(1)
        if self.hidden is not None:
            x = F.relu(self.hidden(F.relu(x, inplace=True)), inplace=True)
        return x.unflatten(0, pixels.shape[:2]), state
