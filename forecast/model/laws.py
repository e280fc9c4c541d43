r"""The laws: loss against model size and samples, return against loss, and the optimum on a budget.

Pure functions: numpy in and numpy out, or jax in and jax out. Sizes and samples enter as natural-log distances from a
reference point that lies on the frontier of the table, \(u = \log N/N_0\) and \(v = \log D/D_0\), so that
every parameter has a meaning there:

    log L = level + log( floor + (1 - floor) · R )
    R     = ( share · exp(-a(u)/g) + (1 - share) · exp(-b(v)/g) )^g

`level` is log L at the reference, `floor` the share of that loss that no compute removes, `share` the part of the
removable loss that is due to the finite model. With a(u) = α·u, b(v) = β·v and g = 1 this is the additive law
L = E + A·N^-α + B·D^-β of Hoffmann et al. (2022), approach 3, fit to games by Tuyls et al. (2023). Three extend it:

- *interaction*: g is free; below 1 the larger of the two terms dominates, above 1 they compound.
- *saturating*: no run starts above `start`, the loss of an untrained policy, so early L lies below the law.
- *drifting*: both of these, and the exponents are α and β at the reference only and change with scale: a and b are
  integrals of an exponent interpolated between `Knots`. How much the exponents change inside the data determines how
  uncertain they are outside.

Samples seen again teach less than fresh ones. D samples of U distinct ones count as the fresh samples D' of Muennighoff
et al. (2023), eq. 5, with their R* as `repeats`: each pass adds a little less than the one before, and all that come
after the first add at most `repeats` passes:

    D' = U · ( 1 + repeats · (1 - exp(-(D/U - 1) / repeats)) )

Where there is no loss, the return itself follows N and D, and its reciprocal obeys the same law: 1/R falls as a power
of size and samples, from 1 over the return of random play (`start`) to 1 over the highest return (`floor`), so that

    1/R = 1/ceiling + (A·N^-α + B·D^-β)^g,    at most 1 / random play;

far from both bounds, R rises as a power of the scarcer of N and D. Hilton et al. (2023) fit the same form to the
"intrinsic performance" of reinforcement learning, and Tuyls et al. (2023) powers of C to its best return. Exponents are
positive: no draw allows returns that fall on average with more samples or a larger model.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

if TYPE_CHECKING:
    from jax import Array
    from jax.typing import ArrayLike
else:
    Array = ArrayLike = Any  # jax takes half a second to import

_SHARPNESS = 4.0  # of the bend between the law and its start: within 5% of the lower of the two outside a factor of 2


def library(*values: Any) -> Any:
    """The module that computes with these values: numpy, or jax.numpy where one of them is jax's."""
    others = (x for x in values if hasattr(x, "__array_namespace__") and not isinstance(x, np.ndarray | np.generic))
    return next((x.__array_namespace__() for x in others), np)


@dataclass(frozen=True)
class Knots:
    """Points between which a rate is interpolated linearly; beyond the outermost points it stays constant."""

    spacing: float
    """Distance between two points, natural log."""
    below: int
    """Number of points below 0."""
    above: int
    """Number of points above 0."""

    @property
    def count(self) -> int:
        """Number of knots, the one at 0 included."""
        return self.below + 1 + self.above

    def weights(self, x: ArrayLike) -> Array:
        """Interpolation weights, shape x.shape + (count,), so that rate(x) = weights @ rates; they sum to 1."""
        xp = library(x)
        position = xp.clip(xp.asarray(x)[..., None] / self.spacing, -self.below, self.above)
        return xp.maximum(0.0, 1.0 - xp.abs(position - xp.arange(-self.below, self.above + 1)))

    def integral_weights(self, x: ArrayLike) -> Array:
        """Weights of the integral from 0 to x of the interpolated rate, shape x.shape + (count,); they sum to x."""
        xp = library(x)
        steps = xp.asarray(x)[..., None] / self.spacing
        k = xp.arange(-self.below, self.above + 1)
        inside = xp.clip(steps, -self.below, self.above)
        beyond = (steps - inside) * ((k == -self.below) * (steps < 0) + (k == self.above) * (steps > 0))
        return self.spacing * (_hat_integral(inside - k) - _hat_integral(-k.astype(steps.dtype)) + beyond)

    def walk(self, steps: Array) -> Array:
        """Values at the knots of a random walk with these steps, shape (..., count - 1) -> (..., count); 0 at 0."""
        knot, step = np.arange(-self.below, self.above + 1), np.arange(self.count - 1)[:, None]
        down, up = step < np.minimum(-knot, self.below), (step >= self.below) & (step < self.below + knot)
        return steps @ library(steps).asarray(np.where(knot < 0, down, up), dtype=steps.dtype)


def _hat_integral(t: Array) -> Array:
    """Integral up to t of the hat max(0, 1 - |t|)."""
    xp = library(t)
    s = xp.clip(t, -1.0, 1.0)
    return 0.5 + s - 0.5 * s * xp.abs(s)


class LossLaw(NamedTuple):
    """Parameters of L(N, D), each of any batch shape.

    The exponents have one more axis, over their knots; of length 1 where they are constant.
    """

    level: Array
    """Log loss (log nats) at the reference."""
    floor: Array
    """Share of the reference loss that no compute removes, in (0, 1)."""
    share: Array
    """Part of the removable loss that is due to the finite model, in (0, 1)."""
    params_exponents: Array
    """α, > 0."""
    samples_exponents: Array
    """β, > 0."""
    interaction: Array
    """g, > 0."""
    start: Array | None
    """Log loss of an untrained policy, None where it is not modelled."""
    repeats: Array | None = None
    """Passes that all passes after the first are worth at most, None where no sample was seen again."""


def law_terms(law: LossLaw, a: Array, b: Array) -> Array:
    """Log loss (log nats), given the integrals a and b of the two exponents, which broadcast with the parameters."""
    xp, g = library(law.level), law.interaction
    removable = g * xp.logaddexp(xp.log(law.share) - a / g, xp.log1p(-law.share) - b / g)
    value = law.level + xp.logaddexp(xp.log(law.floor), xp.log1p(-law.floor) + removable)
    if law.start is None:
        return value
    return -xp.logaddexp(-_SHARPNESS * value, -_SHARPNESS * law.start) / _SHARPNESS


def log_worth(passes: Any, repeats: Any) -> Array:
    """Log of what samples are worth over fresh ones, log D'/D, after log passes log D/U; below 0 these are 0."""
    xp = library(passes, repeats)
    passes = xp.maximum(xp.asarray(passes), 0.0)
    return xp.log1p(-repeats * xp.expm1(-xp.expm1(passes) / repeats)) - passes


def log_loss(law: LossLaw, u: ArrayLike, v: ArrayLike, knots: Knots) -> Array:
    """Log loss (log nats) at u = log N/N0 and v = log D/D0 by laws of any batch shape: [..., P].

    u: [P].
    v: [P], or [..., P] where the laws differ in what samples are worth (`log_worth`).
    """

    def integral(x: ArrayLike, exponents: Array) -> Array:
        if exponents.shape[-1] == 1:
            return exponents * library(exponents).asarray(x)
        weights = knots.integral_weights(x)
        if weights.ndim == 2:
            return exponents @ weights.T
        return library(exponents).einsum("...pk,...k->...p", weights, exponents)

    scalars = law._replace(params_exponents=None, samples_exponents=None)
    a, b = integral(u, law.params_exponents), integral(v, law.samples_exponents)
    return law_terms(each(scalars, lambda x: x[..., None]), a, b)


def noise_scale(noise: Any, growth: Any, rise: Any) -> Any:
    """Standard deviation of log loss at a predicted log loss `rise` above the reference, where it is `noise`."""
    xp = library(noise, rise)
    return noise * xp.exp(growth * xp.logaddexp(4 * rise, 0.0) / 4)


def episode_sd(cv: Any, episodes: Any) -> Any:
    """Standard error of log return from a finite number of episodes [n], 0 where that is 0: [..., n].

    cv: standard deviation of one episode over the mean return, [] or [..., 1].
    """
    xp = library(cv, episodes)
    return cv * xp.where(episodes > 0, 1.0, 0.0) / xp.sqrt(xp.maximum(episodes, 1.0))


def coefficients(law: LossLaw, params0: float, samples0: float) -> dict[str, Array]:
    """E, A, alpha, B, beta of L = E + A·N^-α + B·D^-β (nats, parameters, samples), where the law is additive."""
    alpha, beta = law.params_exponents[..., 0], law.samples_exponents[..., 0]
    scale = library(law.level).exp(law.level)
    removable = scale * (1 - law.floor)
    return {
        "E": scale * law.floor,
        "A": removable * law.share * params0**alpha,
        "alpha": alpha,
        "B": removable * (1 - law.share) * samples0**beta,
        "beta": beta,
    }


def optimal_linear_cost(law: LossLaw, budget: ArrayLike, cost_exponent: float = 1.0) -> Array:
    """u of least loss where v = budget - cost_exponent·u, for constant exponents and without a start.

    budget: log of C over the compute of the reference. Where the cost of a sample is k·N^c the two terms balance at
    share·α·exp(-αu/g) = c·β·(1 - share)·exp(-βv/g), as in Hoffmann et al. (2022), eq. 4, for c = g = 1.
    """
    xp, g, c = library(law.level), law.interaction, cost_exponent
    alpha, beta = law.params_exponents[..., 0] / g, law.samples_exponents[..., 0] / g
    odds = xp.log(alpha * law.share) - xp.log(c * beta * (1 - law.share))
    return (odds + beta * xp.asarray(budget)) / (alpha + c * beta)


class ReturnLaw(NamedTuple):
    """Parameters of the mean return given the loss, each of any batch shape.

    `elasticity` has one more axis, over its knots.
    """

    level: Array
    """Log return at the reference loss and size before floor and ceiling act."""
    elasticity: Array
    """-d log R / d log L."""
    size: Array
    """d log R / d log N at equal loss."""
    floor: Array
    """Log of the lowest return."""
    ceiling: Array
    """Log of the highest return."""


def log_return(law: ReturnLaw, skill: ArrayLike, u: ArrayLike, knots: Knots) -> Array:
    """Log of the (shifted) mean return at `skill` = log(reference loss / loss) and u = log N/N0: [..., P] all.

    A power of the loss between the return of an untrained policy and that of the expert:
    1/R = 1/(floor + exp(level + integral of elasticity + size·u)) + 1/ceiling.
    """
    xp = library(law.level)
    risen = xp.einsum("...pk,...k->...p", knots.integral_weights(skill), law.elasticity)
    law = each(law._replace(elasticity=None), lambda x: x[..., None])
    return bounded_return(law, law.level + risen + law.size * xp.asarray(u))


def bounded_return(law: ReturnLaw, signal: Array) -> Array:
    """Log of the mean return: `signal`, its unbounded log, bent smoothly between floor and ceiling."""
    xp = library(law.level)
    return -xp.logaddexp(-xp.logaddexp(signal, law.floor), -law.ceiling)


Law = TypeVar("Law", LossLaw, ReturnLaw)


def each(law: Law, change: Callable[[Any], Any]) -> Law:
    """The law with every parameter changed in one way; what it does not model stays None."""
    return law._make(None if x is None else change(x) for x in law)
