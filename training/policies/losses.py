"""What a policy learns from demonstrations: the cross-entropy of the expert's actions."""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


def frame_losses(logits: Tensor, action: Tensor) -> Tensor:
    """Cross-entropy (nats) of each frame's action [B·T], in full precision; logits [B, T, A], action [B, T]."""
    return F.cross_entropy(logits.flatten(0, 1).float(), action.flatten(), reduction="none")


def cloning_loss(logits: Tensor, action: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy (nats) of the expert's actions summed over the frames in the mask, and their number.

    logits [B, T, A], action and mask [B, T].
    """
    return (frame_losses(logits, action) * mask.flatten()).sum(), mask.sum().to(torch.float32)
