"""From what the model samples to the parameters of its laws and its noise: formulas without any randomness."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from forecast.model.data import Data, Spec
from forecast.model.laws import Knots, LossLaw, ReturnLaw, library

if TYPE_CHECKING:
    from jax import Array
else:
    Array = Any  # jax takes half a second to import

SCALE_KNOTS = Knots(spacing=float(np.log(10)), below=4, above=3)
"""Of the drifting exponents: one a factor of ten in size or samples."""
SKILL_KNOTS = Knots(spacing=0.7, below=3, above=3)
"""Of the drifting elasticity: one a factor of two in loss."""
GROUP_MARK = "@"
"""Between the name of a site and the index of its group."""


class Parameters(NamedTuple):
    """Every parameter of the model; of laws the group axis is the first, after that of the draws if there are any."""

    law: LossLaw
    """The law of losses, or of returns in a table without losses."""
    noise: dict[str, Array]
    """The noise around it."""
    return_law: ReturnLaw | None
    """The return given the loss, None where it is not modelled."""
    return_noise: dict[str, Array]
    """The noise around it, empty where it is not modelled."""


def parameters_of_draws(spec: Spec, data: Data, draws: Mapping[str, np.ndarray]) -> Parameters:
    """The parameters of every draw, arrays [S, ...] with the chains joined, from site -> [chain, draw, ...]."""
    with np.errstate(all="ignore"):
        return parameters_of(spec, data, {k: v.reshape((-1, *v.shape[2:])) for k, v in draws.items()})


def parameters_of(spec: Spec, data: Data, values: Mapping[str, Any]) -> Parameters:
    """The parameters at these values of the sites, numpy's or jax's, which may have one more axis in front."""
    xp = library(*values.values())

    def by_group(name: str) -> Any:
        """The values of a site of every group, [..., G]."""
        return xp.stack([values[f"{name}{GROUP_MARK}{k}"] for k in range(spec.groups)], axis=-1)

    def drifting(name: str, log_rate: Any, knots: Knots) -> Any:
        """Rates at the knots, [..., G, K], whose log walks from log_rate [..., G] in knot 0."""
        steps = [values[f"{name}_steps{GROUP_MARK}{k}"] for k in range(spec.groups)]
        return xp.exp(log_rate[..., None] + knots.walk(xp.stack(steps, axis=-2)))

    def exponents(name: str, log_exponent: Any) -> Any:
        if spec.law == "drifting":
            return drifting(name, log_exponent, SCALE_KNOTS)
        return xp.exp(log_exponent)[..., None]

    if spec.losses:
        floor, level = _level_above_expert(spec, data, by_group("floor_logit"), by_group("level_shift"))
    else:
        level, floor = _level_below_ceiling(data, by_group("floor_logit"), by_group("level_shift"))
    free = spec.law in ("interaction", "drifting")
    law = LossLaw(
        level=level,
        floor=floor,
        share=_sigmoid(by_group("share_logit")),
        params_exponents=exponents("params_drift", by_group("log_alpha")),
        samples_exponents=exponents("samples_drift", by_group("log_beta")),
        interaction=xp.broadcast_to(values["interaction"][..., None], level.shape) if free else xp.ones(level.shape),
        start=None,
    )
    if spec.law in ("saturating", "drifting"):
        # Log loss of an untrained policy, or minus the log return of random play.
        if spec.losses:
            law = law._replace(start=data.start + by_group("start_above") * xp.where(data.start_known > 0, 0.1, 0.4))
        else:
            law = law._replace(start=-data.return_floor + by_group("start_shift"))
    if spec.repeats:
        law = law._replace(repeats=xp.broadcast_to(values["repeats"][..., None], level.shape))
    noise = {
        "noise": xp.exp(by_group("log_noise")),
        "noise_growth": values["noise_growth"],
        "dof": 2 + values["dof_above_2"],
    }
    if spec.trajectories:
        noise["memory"] = values["memory"]
    if not spec.losses:
        noise["episode_cv"] = values["episode_cv"]
    if not (spec.returns and spec.losses):
        return Parameters(law, noise, None, {})
    return_noise = {
        "spread": xp.exp(by_group("log_return_spread")),
        "dof": 2 + values["return_dof_above_2"],
        "episode_cv": values["return_episode_cv"],
    }
    return_law = ReturnLaw(
        level=data.return_level + by_group("return_level_shift"),
        elasticity=drifting("return_drift", by_group("return_elasticity_log"), SKILL_KNOTS),
        size=by_group("return_size"),
        floor=data.return_floor + by_group("return_floor_shift"),
        ceiling=data.ceiling + xp.where(data.ceiling_known > 0, 0.0, by_group("return_headroom")),
    )
    return Parameters(law, noise, return_law, return_noise)


def _level_above_expert(spec: Spec, data: Data, floor_logit: Any, shift: Any) -> tuple[Any, Any]:
    """Floor and level of the log loss, which falls at most to that of the demonstrator."""
    xp = library(floor_logit)
    floor, level = _sigmoid(floor_logit), data.level + shift
    if not spec.experts:
        return floor, level
    # Where it is known, the shift acts on the odds of its share, so that no level lies below it.
    expected = xp.exp(xp.minimum(data.expert - data.level, np.log(0.99)))
    share = _sigmoid(xp.log(expected / (1 - expected)) - shift / (1 - expected))
    known = data.expert_known > 0
    return xp.where(known, share, floor), xp.where(known, data.expert - xp.log(share), level)


def _level_below_ceiling(data: Data, floor_logit: Any, shift: Any) -> tuple[Any, Any]:
    """Level and floor of minus the log return, which falls at most to minus the log of the highest return."""
    xp = library(floor_logit)
    # Where the ceiling is known, the shift acts on the odds of the share reached, so that no return exceeds it.
    expected = xp.exp(xp.minimum(data.return_level - data.ceiling, np.log(0.95)))
    known = data.ceiling_known > 0
    floor = _sigmoid(xp.where(known, xp.log(expected / (1 - expected)) + shift, floor_logit))
    return xp.where(known, -data.ceiling - xp.log(floor), -data.return_level - shift), floor


def _sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x))."""
    if library(x) is np:
        return 1 / (1 + np.exp(-x))
    from jax.nn import sigmoid  # whose gradient is exact where exp(-x) overflows

    return sigmoid(x)
