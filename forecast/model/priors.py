"""The parameters of the model and their priors.

n% to m% are 90% intervals:

- level: the loss at the reference, within a third of the frontier loss observed there.
- floor: share of the reference loss that no compute removes, logit-normal around 18%; 2.5% to 66%.
- share: part of the removable loss that is due to model size, logit-normal around 1/2; 16% to 84%.
- alpha, beta: exponents of the two terms at the reference, log-normal around 0.5; 0.22 to 1.14.
- interaction: log-normal around 1; 0.5 to 1.9.
- params_drift, samples_drift: standard deviation of the change of log exponent over a factor of ten of scale,
  log-normal around 0.25; 0.11 to 0.57.
- start: no loss of the law lies above it. Up to 18% above the loss of an untrained policy where that is given, else up
  to twice the best loss of the smallest budget, where the frontier begins (half-normal in log, 0.1 or 0.4).
- noise: relative scatter of a checkpoint at the reference, log-normal around 0.5%; 0.1% to 2.6%. noise_growth:
  half-normal, scale 1 (at 1, noise is proportional to the loss's rise). dof: 2 + log-normal around 5.
- memory: log samples over which a run's noise persists, log-normal around 0.37; 0.16 to 0.84, a factor of 1.2 to 2.3.
- return_level: log return at the reference, standard deviation 1 around what was observed there. elasticity: log-normal
  around 2.5; 0.8 to 7.9, its log drifting by a standard deviation around 0.7 over a factor of two of loss: returns that
  have just left those of random play rise faster later. return_size: standard deviation 0.15 per factor e of size.
- return_floor: standard deviation 0.5 around the returns of the worst losses. ceiling: the expert's return where known,
  else a half-normal distance above the best log return, scale 2.5: 1.2 to 130 times it. A lower ceiling forecasts
  saturation where there is none: with scale 1 returns were forecast a fifth too low in back-tests of six tables.
- return_spread: of log return, log-normal around 20%; 5% to 75%. episode_cv: standard deviation of one episode over the
  mean, log-normal around 1, used where a row has episodes but no return_se.

In a table without losses share, interaction, drifts, dof, memory and episode_cv as above, and

- level: log return at the reference, standard deviation 1 around what was observed there.
- ceiling: the highest return where known; the odds of the share of it that the reference reaches then have the same
  standard deviation of 1. Else that share is logit-normal around 12%; 1% to 61%. Saturation must come from the rows: a
  prior with a lower ceiling forecasts it where there is none (a third too little at ten times the compute, on planted
  tables without a ceiling).
- random play: log return, standard deviation 0.7 around the lowest tenth of the rows.
- alpha, beta: log-normal around 0.5; 0.13 to 1.9, wider than for losses because few have been measured.
- noise: spread between seeds of the return at the reference, log-normal around 30%; 9% to 95%: seeds of reinforcement
  learning differ by tens of percent (Agarwal et al., 2021). noise_growth: half-normal, scale 0.3, since returns span
  more than losses do.

With several groups floor, share, alpha, beta, noise and spread of returns are partially pooled: a common centre with
the prior above and a log-normal spread between groups (around 0.3 of log exponent, 0.5 to 0.7 of the others). The
drifts, the memory, the growth of the noise, its tails and the interaction are common to all groups.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax import Array

from forecast.model.data import Data, Spec
from forecast.model.laws import Knots, LossLaw, ReturnLaw

SCALE_KNOTS = Knots(spacing=float(np.log(10)), below=4, above=3)
"""Of the drifting exponents: one a factor of ten in size or samples."""
SKILL_KNOTS = Knots(spacing=0.7, below=3, above=3)
"""Of the drifting elasticity: one a factor of two in loss."""
GROUP_MARK = "@"
"""Between the name of a site and the index of its group."""


class Scales(NamedTuple):
    """Priors that differ between laws of losses and of returns."""

    exponents: float
    """Standard deviation of log exponents."""
    noise: float
    """Median of the noise."""
    noise_sd: float
    """Standard deviation of the log of the noise."""
    noise_growth: float
    """Scale of the growth of the noise."""


OF_LOSSES = Scales(exponents=0.5, noise=0.005, noise_sd=1.0, noise_growth=1.0)
OF_RETURNS = Scales(exponents=0.8, noise=0.3, noise_sd=0.7, noise_growth=0.3)


class Parameters(NamedTuple):
    """Every parameter of the model; of laws the group axis is the first."""

    law: LossLaw
    """The law of losses, or of returns in a table without losses."""
    noise: dict[str, Array]
    """The noise around it."""
    return_law: ReturnLaw | None
    """The return given the loss, None where it is not modelled."""
    return_noise: dict[str, Array]
    """The noise around it, empty where it is not modelled."""


def sample_parameters(spec: Spec, data: Data) -> Parameters:
    """Draw every parameter from its prior."""
    groups, scales = spec.groups, OF_LOSSES if spec.losses else OF_RETURNS
    floor = jax.nn.sigmoid(_pooled("floor_logit", groups, -1.5, 1.3, between=0.5)) if spec.losses else None
    share = jax.nn.sigmoid(_pooled("share_logit", groups, 0.0, 1.0, between=0.5))
    log_alpha = _pooled("log_alpha", groups, np.log(0.5), scales.exponents, between=0.3)
    log_beta = _pooled("log_beta", groups, np.log(0.5), scales.exponents, between=0.3)
    if floor is None:
        level, floor = _level_below_ceiling(groups, data)
    else:
        level = data.level + _per_group("level_shift", groups, dist.Normal(0, 0.2))
    free = spec.law in ("interaction", "drifting")
    g = _draw("interaction", dist.LogNormal(0.0, 0.4)) if free else jnp.ones(())
    start = _sample_start(spec, data) if spec.law in ("saturating", "drifting") else None

    def exponents(name: str, log_exponent: Array) -> Array:
        drifts = spec.law == "drifting"
        return _drifting(name, 0.25, log_exponent, SCALE_KNOTS) if drifts else jnp.exp(log_exponent)[:, None]

    law = LossLaw(
        level=level,
        floor=floor,
        share=share,
        params_exponents=exponents("params_drift", log_alpha),
        samples_exponents=exponents("samples_drift", log_beta),
        interaction=jnp.broadcast_to(g, (groups,)),
        start=start,
    )
    noise = {
        "noise": jnp.exp(_pooled("log_noise", groups, np.log(scales.noise), scales.noise_sd, between=0.5)),
        "noise_growth": _draw("noise_growth", dist.HalfNormal(scales.noise_growth)),
        "dof": 2 + _draw("dof_above_2", dist.LogNormal(np.log(5.0), 0.8)),
    }
    if spec.trajectories:
        noise["memory"] = _draw("memory", dist.LogNormal(-1.0, 0.5))
    if not spec.losses:
        noise["episode_cv"] = _draw("episode_cv", dist.LogNormal(0.0, 0.5))
    if not (spec.returns and spec.losses):
        return Parameters(law, noise, None, {})
    return_noise = {
        "spread": jnp.exp(_pooled("log_return_spread", groups, np.log(0.2), 0.8, between=0.5)),
        "dof": 2 + _draw("return_dof_above_2", dist.LogNormal(np.log(5.0), 0.8)),
        "episode_cv": _draw("return_episode_cv", dist.LogNormal(0.0, 0.5)),
    }
    return Parameters(law, noise, _sample_return_law(spec, data), return_noise)


def parameters_of(spec: Spec, data: Data, values: Mapping[str, Any]) -> Parameters:
    """The parameters at these values of the sites."""
    with numpyro.handlers.substitute(data=dict(values)), numpyro.handlers.seed(rng_seed=0):
        return sample_parameters(spec, data)


def _level_below_ceiling(groups: int, data: Data) -> tuple[Array, Array]:
    """Level and floor of minus the log return, which falls at most to minus the log of the highest return."""
    floor_logit = _pooled("floor_logit", groups, -2.0, 1.5, between=0.5)
    shift = _per_group("level_shift", groups, dist.Normal(0, 1.0))
    # Where the ceiling is known, the shift acts on the odds of the share reached, so that no return exceeds it.
    expected = jnp.exp(jnp.minimum(data.return_level - data.ceiling, np.log(0.95)))
    floor = jax.nn.sigmoid(jnp.where(data.ceiling_known > 0, jax.scipy.special.logit(expected) + shift, floor_logit))
    level = jnp.where(data.ceiling_known > 0, -data.ceiling - jnp.log(floor), -data.return_level - shift)
    return level, floor


def _sample_start(spec: Spec, data: Data) -> Array:
    """Log loss of an untrained policy, or minus the log return of random play."""
    if not spec.losses:
        return -data.return_floor + _per_group("start_shift", spec.groups, dist.Normal(0, 0.7))
    above = _per_group("start_above", spec.groups, dist.HalfNormal(1.0))
    return data.start + above * jnp.where(data.start_known > 0, 0.1, 0.4)


def _draw(name: str, distribution: dist.Distribution) -> Array:
    """`numpyro.sample` with the type of what it returns."""
    return cast(Array, numpyro.sample(name, distribution))


def _per_group(name: str, groups: int, distribution: dist.Distribution) -> Array:
    """An independent draw a group, [G, ...]; a site each, so that the sampler adapts to each group by itself."""
    return jnp.stack([_draw(f"{name}{GROUP_MARK}{k}", distribution) for k in range(groups)])


def _pooled(name: str, groups: int, centre: float, sd: float, *, between: float) -> Array:
    """One value a group, [G]: Normal(centre, sd) for one group, else spread by about `between` around such a centre."""
    spread: Array | float = sd
    middle: Array | float = centre
    if groups > 1:
        middle = _draw(f"{name}_centre", dist.Normal(centre, sd))
        spread = _draw(f"{name}_spread", dist.LogNormal(np.log(between), 0.5))
    return _per_group(name, groups, dist.Normal(middle, spread))


def _drifting(name: str, middle: float, log_rate: Array, knots: Knots) -> Array:
    """Rates at the knots, [G, K], whose log is a random walk that starts at log_rate [G] in knot 0."""
    sd = _draw(name, dist.LogNormal(np.log(middle), 0.5))
    walk = dist.Normal(0, sd).expand([knots.count - 1]).to_event(1)
    steps = _per_group(f"{name}_steps", log_rate.shape[0], walk)
    return jnp.exp(log_rate[:, None] + knots.walk(steps))


def _sample_return_law(spec: Spec, data: Data) -> ReturnLaw:
    groups = spec.groups
    log_elasticity = _per_group("return_elasticity_log", groups, dist.Normal(np.log(2.5), 0.7))
    headroom = _per_group("return_headroom", groups, dist.HalfNormal(2.5))
    return ReturnLaw(
        level=data.return_level + _per_group("return_level_shift", groups, dist.Normal(0, 1.0)),
        elasticity=_drifting("return_drift", 0.7, log_elasticity, SKILL_KNOTS),
        size=_per_group("return_size", groups, dist.Normal(0, 0.15)),
        floor=data.return_floor + _per_group("return_floor_shift", groups, dist.Normal(0, 0.5)),
        ceiling=data.ceiling + jnp.where(data.ceiling_known > 0, 0.0, headroom),
    )
