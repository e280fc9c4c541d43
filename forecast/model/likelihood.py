r"""The Bayesian model of a run table: losses around the law, the noise of a run, and the returns.

One posterior for everything. For row i of group k, with u, v the log distances from the group's reference point,

    log loss_i   = law_k(u_i, v_i) + noise_i · r_i
    r_i          = c_i · r_before + sqrt(1 - c_i²) · t_i     t_i ~ StudentT(dof); r_before: the run's checkpoint before
    c_i          = w_before · exp(-log(D_i / D_before) / memory)     0 for the first checkpoint of a run
    noise_i      = noise_k · exp(noise_growth · rise_i)      rise: predicted log loss above the reference, >= 0
    log return_i ~ StudentT(dof', return_k(latent loss_i, u_i), sqrt(spread_k² + se'_i²))

The noise is relative, grows where losses are high (early checkpoints scatter) and has heavy tails. It belongs to a
training: it is autoregressive in log samples along a run, so that a run that lies above the law stays above it for a
while, and its checkpoints carry less information than as many separate runs. w_before is the weight of the checkpoint
before (`forecast.model.weights`): a row that does not count tells nothing about the noise of the next. By its prior the
noise persists over a short range of samples. With a long memory the model would take the effect of model size for noise
where each size was trained once, and the smooth misfit along samples that all runs have in common for noise of each.
Replicates and new runs have independent noise. `latent loss` is the run's true loss: the measured one, shrunk towards
the law as far as its standard error allows. `spread` is the run-to-run spread of returns beyond the error of a finite
number of episodes.

In a table without losses the return itself follows the law: `log loss` is then minus the log of the shifted return,
since the reciprocal of a return obeys the law of a loss (`forecast.model.laws`), and its standard error is that of the
episodes. All else is the same, with priors of its own (`forecast.model.priors`).

Where the law is linear given the exponents (in E, A and B), these could be integrated out in closed form, but only with
Gaussian noise on the loss itself. With relative, heavy-tailed noise NUTS is simpler and as fast.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax import Array
from jax.scipy.special import gammaln

from forecast.model.data import Data, Spec
from forecast.model.laws import LossLaw, bounded_return, each, episode_sd, law_terms, log_worth, noise_scale
from forecast.model.parameters import SCALE_KNOTS, SKILL_KNOTS, Parameters, parameters_of
from forecast.model.priors import Prior, drawn_sites


def sample_parameters(spec: Spec, data: Data) -> Parameters:
    """Draw every parameter from its prior."""

    def draw(name: str, prior: Prior) -> Any:
        distribution = getattr(dist, prior.family)(*prior.arguments)
        if prior.count is not None:
            distribution = distribution.expand([prior.count]).to_event(1)
        return numpyro.sample(name, distribution)

    return parameters_of(spec, data, drawn_sites(spec, draw))


def row_locations(law: LossLaw, data: Data) -> Array:
    """Log loss of each row by the law."""

    def integral(x: Array, exponents: Array) -> Array:
        if exponents.shape[-1] == 1:
            return x * of_rows(exponents[:, 0], data)
        return (SCALE_KNOTS.integral_weights(x) * of_rows(exponents, data)).sum(-1)

    v = data.v
    if law.repeats is not None:
        v = v + log_worth(data.passes, of_rows(law.repeats, data))
    a, b = integral(data.u, law.params_exponents), integral(v, law.samples_exponents)
    scalars = law._replace(params_exponents=None, samples_exponents=None, repeats=None)
    return law_terms(each(scalars, lambda x: of_rows(x, data)), a, b)


def of_rows(values: Array, data: Data) -> Array:
    """The value of each row's group, [n, ...] or what broadcasts to it, from [G, ...]."""
    if values.shape[0] == 1:
        return values
    # A product in place of values[data.group], whose gradient is a slow scatter on CPUs.
    return jax.nn.one_hot(data.group, values.shape[0], dtype=values.dtype) @ values


class _HeavyTailed(dist.StudentT):
    """Student t with the same degrees of freedom [] for all rows: gamma functions are computed once, not per row."""

    def __init__(self, dof: Array, loc: Array, scale: Array) -> None:
        super().__init__(dof, loc, scale)
        self.dof = dof
        self.row_loc, self.row_scale = loc, scale

    def log_prob(self, value: Array) -> Array:
        """Log density, the shape of loc."""
        half = (self.dof + 1) / 2
        constant = gammaln(half) - gammaln(self.dof / 2) - 0.5 * jnp.log(jnp.pi * self.dof)
        constant = jax.lax.optimization_barrier(constant)  # or XLA fuses it into the rows and computes it for each
        z = (value - self.row_loc) / self.row_scale
        return constant - jnp.log(self.row_scale) - half * jnp.log1p(z**2 / self.dof)


def run_model(data: Data, spec: Spec) -> None:
    """The numpyro model of a run table."""
    parameters = sample_parameters(spec, data)
    noise = parameters.noise
    predicted = row_locations(parameters.law, data)
    rise = predicted - of_rows(parameters.law.level, data)
    scale = noise_scale(of_rows(noise["noise"], data), noise["noise_growth"], rise)
    total = jnp.sqrt(scale**2 + data.log_loss_se**2)
    if not spec.losses:
        total = jnp.hypot(total, episode_sd(noise["episode_cv"], data.episodes))
    kept = jnp.zeros_like(data.u)
    if spec.trajectories:
        kept = jnp.roll(data.weight, 1) * jnp.exp(-data.gap / noise["memory"])
    residual = (data.log_loss - predicted) / total
    location = predicted + total * kept * jnp.roll(residual, 1)
    with _powered(data.weight):
        innovation = _HeavyTailed(noise["dof"], location, total * jnp.sqrt(1 - kept**2))
        numpyro.sample("log_loss", innovation, obs=data.log_loss)
    if parameters.return_law is not None:
        trust = scale**2 / total**2
        _observe_returns(data, parameters, (1 - trust) * (data.log_loss - predicted))


@contextlib.contextmanager
def _powered(weight: Array) -> Iterator[None]:
    """Raise likelihoods of rows to the power of their weight [n]; 0 leaves a row out, whatever its values."""
    with numpyro.handlers.mask(mask=weight > 0), numpyro.handlers.scale(scale=jnp.maximum(weight, 1e-9)):
        yield


def _observe_returns(data: Data, parameters: Parameters, shift: Array) -> None:
    """Observe the returns. shift: measured minus latent log loss, [n]."""
    law, noise = parameters.return_law, parameters.return_noise
    assert law is not None
    law, spread = jax.tree.map(lambda x: of_rows(x, data), (law, noise["spread"]))
    observed = data.level[data.group] - data.log_loss
    # Between the measured and the latent loss, a step of the order of its standard error, the elasticity is constant.
    weights = SKILL_KNOTS.integral_weights(observed) + SKILL_KNOTS.weights(observed) * shift[:, None]
    signal = law.level + (weights * law.elasticity).sum(-1) + law.size * data.u
    location = bounded_return(law, signal)
    unknown = jnp.where(data.episodes > 0, noise["episode_cv"] ** 2 / jnp.maximum(data.episodes, 1.0), 0.0)
    total = jnp.sqrt(spread**2 + data.return_se**2 + unknown)
    with _powered(data.weight * data.return_weight):
        numpyro.sample("log_return", _HeavyTailed(noise["dof"], location, total), obs=data.log_return)
