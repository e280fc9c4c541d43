"""The value of a frame: what an actor-critic learns beside its policy."""

import torch
from torch import Tensor, nn

_KEPT = 0.99
"""Share of the running moments that an update leaves in place."""


class Critic(nn.Module):
    """A linear head whose targets have zero mean and unit variance, whatever the size of the rewards.

    Mean and variance of returns are followed over updates, and the head is changed with them so that its predictions
    stay as they were (PopArt, van Hasselt et al. 2016, arXiv 1602.07714).
    """

    moments: Tensor
    """Running mean and mean square of returns, and the weight of all updates in them."""

    def __init__(self, features: int):
        super().__init__()
        self.head = nn.Linear(features, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("moments", torch.zeros(3, dtype=torch.float64))

    def forward(self, features: Tensor) -> Tensor:
        """Normalised values [B, T] of features [B, T, features]."""
        return self.head(features).squeeze(-1).float()

    def value(self, normalised: Tensor) -> Tensor:
        """In units of reward."""
        mean, sd = self._scale()
        return normalised * sd + mean

    def normalise(self, returns: Tensor) -> Tensor:
        """Targets for `forward`, of returns in units of reward."""
        mean, sd = self._scale()
        return (returns - mean) / sd

    @torch.no_grad()
    def follow(self, returns: Tensor) -> None:
        """Take the returns of an update into the running moments."""
        before_mean, before_sd = self._scale()
        x = returns.double()
        new = torch.stack((x.mean(), (x * x).mean(), torch.ones_like(x.mean())))
        self.moments.mul_(_KEPT).add_(new, alpha=1 - _KEPT)
        mean, sd = self._scale()
        self.head.weight.mul_(before_sd / sd)
        self.head.bias.mul_(before_sd).add_(before_mean - mean).div_(sd)

    def _scale(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of returns, where the weights lie: to read them here would make a GPU wait."""
        mean, square, weight = self.moments.unbind()
        mean, square = ((part / weight).masked_fill(weight == 0, start) for part, start in ((mean, 0.0), (square, 1.0)))
        return mean, (square - mean * mean).clamp(min=1e-8).sqrt()
