"""The input of the model: which parts it has, and the rows of a table as arrays."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, Int

if TYPE_CHECKING:
    from jax import Array
else:
    Array = np.ndarray  # as they are encoded; jax's in the model

Rows = Float[Array, " rows"]
Groups = Float[Array, " groups"]


@dataclass(frozen=True, kw_only=True)
class Spec:
    """Which parts the model has; with the shapes of the data it determines what is compiled."""

    law: str
    """One of `forecast.model.LAWS`."""
    groups: int
    """Number of groups."""
    trajectories: bool
    """Whether rows of a run share their noise."""
    returns: bool
    """Whether returns are modelled beside the losses."""
    losses: bool = True
    """Whether losses were measured; if not, the returns follow the law."""
    repeats: bool = False
    """Whether rows saw samples again, so that the table tells what these teach."""
    experts: bool = False
    """Whether the demonstrator's own loss is known of a group."""


class Data(NamedTuple):
    """The rows of a table as arrays, padded to `rows`, and centres of priors by group.

    The rows of a run are adjacent, in order of samples.
    """

    u: Rows
    """log N/N0."""
    v: Rows
    """log D/D0."""
    passes: Rows
    """log(D / distinct samples), 0 where every sample was seen once or it is not known."""
    log_loss: Rows
    """Log of the loss (nats); without losses minus the log of the shifted return."""
    log_loss_se: Rows
    """Its standard error, 0 where unknown."""
    group: Int[Array, " rows"]
    """Index of the group."""
    gap: Rows
    """Log samples since the run's previous checkpoint; 1e6 where there is none."""
    weight: Rows
    """Power of the row's likelihood, 0 for padding."""
    log_return: Rows
    """log(return + offset), 0 where there is no return."""
    return_se: Rows
    """Its standard error, 0 where unknown."""
    episodes: Rows
    """Episodes of the mean return; 0 where `return_se` is known."""
    return_weight: Rows
    """1 where there is a return."""
    level: Groups
    """Centre of the log loss at the reference."""
    start: Groups
    """Centre of the log loss of an untrained policy."""
    start_known: Groups
    """1 where that loss is given."""
    expert: Groups
    """Log of the demonstrator's own loss, below which no loss of the law lies."""
    expert_known: Groups
    """1 where that loss is given."""
    return_level: Groups
    """Centre of the log shifted return at the reference."""
    return_floor: Groups
    """Centre of the lowest log shifted return."""
    ceiling: Groups
    """Centre of the highest log shifted return."""
    ceiling_known: Groups
    """1 where an expert's return is given."""
