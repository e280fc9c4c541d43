"""The parameters of the model and their priors.

n% to m% are 90% intervals:

- level: the loss at the reference, within a third of the frontier loss observed there.
- floor: share of the reference loss that no compute removes, logit-normal around 18%; 2.5% to 66%.
- share: part of the removable loss that is due to model size, logit-normal around 1/2; 16% to 84%.
- alpha, beta: exponents of the two terms at the reference, log-normal around 0.5; 0.22 to 1.14.
- interaction: log-normal around 1; 0.5 to 1.9.
- params_drift, samples_drift: standard deviation of the change of log exponent over a factor of ten of scale,
  log-normal around 0.25; 0.11 to 0.57.
- repeats: passes that all passes after the first are worth at most, log-normal around 15; 4 to 56. Fits to language
  models gave 15 (Muennighoff et al., 2023) and 32 (Prabhudesai et al., 2025); of games none is known. Used without
  rows wherever a table has no repeated samples and a forecast asks for them.
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
drifts, the memory, the growth of the noise, its tails, the interaction and the repeats are common to all groups.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from forecast.model.data import Spec
from forecast.model.parameters import GROUP_MARK, SCALE_KNOTS, SKILL_KNOTS


class Prior(NamedTuple):
    """The prior of a site; its arguments may be values of other sites."""

    family: str
    """Normal, LogNormal or HalfNormal."""
    arguments: tuple[Any, ...]
    """Centre and standard deviation, of the log for LogNormal; or the scale of HalfNormal."""
    count: int | None = None
    """Independent values of the site, None for a scalar."""


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


REPEATS = Prior("LogNormal", (float(np.log(15.0)), 0.8))
"""Of the passes that all passes after the first are worth at most."""


def drawn_sites(spec: Spec, draw: Callable[[str, Prior], Any]) -> dict[str, Any]:
    """Every site that the model samples, by name: what `draw` returns for the name and its prior."""
    values: dict[str, Any] = {}
    scales = OF_LOSSES if spec.losses else OF_RETURNS

    def site(name: str, family: str, *arguments: Any, count: int | None = None) -> Any:
        values[name] = draw(name, Prior(family, arguments, count))
        return values[name]

    def by_group(name: str, family: str, *arguments: Any, count: int | None = None) -> None:
        """An independent draw a group; a site each, so that the sampler adapts to each group by itself."""
        for k in range(spec.groups):
            site(f"{name}{GROUP_MARK}{k}", family, *arguments, count=count)

    def pooled(name: str, centre: float, sd: float, *, between: float) -> None:
        """Normal(centre, sd) for one group; for several, spread by about `between` around such a centre."""
        if spec.groups == 1:
            by_group(name, "Normal", centre, sd)
            return
        middle = site(f"{name}_centre", "Normal", centre, sd)
        by_group(name, "Normal", middle, site(f"{name}_spread", "LogNormal", np.log(between), 0.5))

    def drifting(name: str, middle: float, steps: int) -> None:
        """The steps of a random walk a group, and their standard deviation."""
        by_group(f"{name}_steps", "Normal", 0, site(name, "LogNormal", np.log(middle), 0.5), count=steps)

    if spec.losses:
        pooled("floor_logit", -1.5, 1.3, between=0.5)
    pooled("share_logit", 0.0, 1.0, between=0.5)
    pooled("log_alpha", np.log(0.5), scales.exponents, between=0.3)
    pooled("log_beta", np.log(0.5), scales.exponents, between=0.3)
    if not spec.losses:
        pooled("floor_logit", -2.0, 1.5, between=0.5)
    by_group("level_shift", "Normal", 0, 0.2 if spec.losses else 1.0)
    if spec.law in ("interaction", "drifting"):
        site("interaction", "LogNormal", 0.0, 0.4)
    if spec.law in ("saturating", "drifting") and spec.losses:
        by_group("start_above", "HalfNormal", 1.0)
    elif spec.law in ("saturating", "drifting"):
        by_group("start_shift", "Normal", 0, 0.7)
    if spec.law == "drifting":
        drifting("params_drift", 0.25, SCALE_KNOTS.count - 1)
        drifting("samples_drift", 0.25, SCALE_KNOTS.count - 1)
    if spec.repeats:
        site("repeats", REPEATS.family, *REPEATS.arguments)
    pooled("log_noise", np.log(scales.noise), scales.noise_sd, between=0.5)
    site("noise_growth", "HalfNormal", scales.noise_growth)
    site("dof_above_2", "LogNormal", np.log(5.0), 0.8)
    if spec.trajectories:
        site("memory", "LogNormal", -1.0, 0.5)
    if not spec.losses:
        site("episode_cv", "LogNormal", 0.0, 0.5)
    if not (spec.returns and spec.losses):
        return values
    pooled("log_return_spread", np.log(0.2), 0.8, between=0.5)
    site("return_dof_above_2", "LogNormal", np.log(5.0), 0.8)
    site("return_episode_cv", "LogNormal", 0.0, 0.5)
    by_group("return_elasticity_log", "Normal", np.log(2.5), 0.7)
    by_group("return_headroom", "HalfNormal", 2.5)
    by_group("return_level_shift", "Normal", 0, 1.0)
    drifting("return_drift", 0.7, SKILL_KNOTS.count - 1)
    by_group("return_size", "Normal", 0, 0.15)
    by_group("return_floor_shift", "Normal", 0, 0.5)
    return values


def site_shapes(spec: Spec) -> dict[str, tuple[int, ...]]:
    """Shape of every site that the model samples, by name."""
    priors: dict[str, Prior] = {}
    drawn_sites(spec, lambda name, prior: priors.update({name: prior}))
    return {name: () if prior.count is None else (prior.count,) for name, prior in priors.items()}
