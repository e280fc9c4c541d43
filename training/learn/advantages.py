"""How good an action was: advantages and value targets from rewards, by TorchRL's functional forms.

Time runs along the last axis; all arrays are [B, T]. `done`: the game ended with this action, by its rules
(`terminated`) or because it was cut off. `next_value` is the value of the frame that followed the action in its own
game: where a game was cut off, of the last frame it reached. A termination has no value after it; a cut-off has.
"""

from torch import Tensor
from torchrl.objectives.value.functional import generalized_advantage_estimate, vtrace_advantage_estimate


def generalised_advantage(
    reward: Tensor, value: Tensor, next_value: Tensor, done: Tensor, terminated: Tensor, discount: float, decay: float
) -> tuple[Tensor, Tensor]:
    """Advantages and value targets (Schulman et al. 2016, arXiv 1506.02438); decay: its lambda."""
    value, next_value, reward, done, terminated = (
        x.unsqueeze(-1) for x in (value, next_value, reward, done, terminated)
    )
    advantage, target = generalized_advantage_estimate(discount, decay, value, next_value, reward, done, terminated)
    return advantage.squeeze(-1), target.squeeze(-1)


def vtrace(
    log_prob: Tensor,
    behaviour: Tensor,
    reward: Tensor,
    value: Tensor,
    next_value: Tensor,
    done: Tensor,
    terminated: Tensor,
    discount: float,
) -> tuple[Tensor, Tensor]:
    """V-trace's advantages and value targets (Espeholt et al. 2018, arXiv 1802.01561), ratios cut at 1.

    log_prob, behaviour: log probability of the action under the policy that learns and the one that acted.
    """
    log_prob, behaviour, value, next_value, reward, done, terminated = (
        x.unsqueeze(-1) for x in (log_prob, behaviour, value, next_value, reward, done, terminated)
    )
    advantage, target = vtrace_advantage_estimate(
        discount, log_prob, behaviour, value, next_value, reward, done, terminated
    )
    return advantage.squeeze(-1), target.squeeze(-1)
