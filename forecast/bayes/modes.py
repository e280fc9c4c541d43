"""The law at the posterior mode: a fit without uncertainty, in a fraction of a second."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from numpyro.infer.util import constrain_fn, potential_energy
from scipy.optimize import minimize

from forecast.model.compiled import keep_compilations
from forecast.model.data import Data, Spec
from forecast.model.encode import Encoding
from forecast.model.laws import LossLaw
from forecast.model.likelihood import run_model
from forecast.model.parameters import parameters_of
from forecast.model.sites import as_jax, packed, sites_of, start_point, unpacked

_SEARCH = 300  # iterations of a search for a mode
_LEAST_CURVATURE = 0.25  # of a direction that rows and prior hardly bound, or in which the mode is no maximum


class Found(NamedTuple):
    """A mode."""

    x: np.ndarray
    """Where: unconstrained coordinates."""
    energy: float
    """Minus the log density there (nats)."""


def posterior_modes(spec: Spec, encoding: Encoding, rows: int = 0) -> LossLaw:
    """The law at the posterior mode (of unconstrained parameters), for each of `LOCALITIES`: arrays [L, ...].

    spec: of one group.
    rows: the arrays are padded to this many rows, so that tables of different length share a compilation.
    """
    keep_compilations()
    data = _padded(encoding.data, rows)
    laws = []
    with jax.enable_x64(True):
        data = as_jax(data)
        energy, law_at = _programs(spec)
        start = np.asarray(ravel_pytree(start_point(spec, data, jax.random.PRNGKey(0)))[0])
        for weight in encoding.weights:
            weighed = data._replace(weight=jnp.zeros_like(data.weight).at[: len(weight)].set(weight))
            found = search(functools.partial(energy, data=weighed), start, _SEARCH)
            laws.append(law_at(found.x, weighed))
    return jax.tree.map(lambda *x: np.stack([np.asarray(one)[0] for one in x]), *laws)


def search(energy: Callable[[np.ndarray], tuple[Any, Any]], start: np.ndarray, iterations: int) -> Found:
    """What L-BFGS finds from `start`; `start` itself, of infinite energy, where the density is no number.

    energy: vector -> minus the log density there and its gradient.
    """

    def value_and_slope(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = energy(x)
        return float(value), np.asarray(slope)

    found = minimize(value_and_slope, start, jac=True, method="L-BFGS-B", options={"maxiter": iterations})
    return Found(found.x, float(found.fun)) if np.isfinite(found.fun) else Found(start, np.inf)


def frame_at(energy: Callable[[np.ndarray], tuple[Any, Any]], mode: np.ndarray, unravel: Callable) -> dict[str, Any]:
    """Coordinates in which the posterior is about as wide in every direction: block -> matrix [d, d].

    Its columns are the principal directions of the curvature at the mode, each one standard deviation long of the
    normal distribution with that curvature. A clean table bounds some directions to a thousandth of others, which NUTS
    cannot learn in warm-up: numpyro, as Stan, adds a variance of 1e-3 to what it learns.

    energy: vector -> minus the log density there and its gradient.
    unravel: vector -> block -> vector of the block.
    """
    half = 1e-4  # of a unit: a central difference of exact gradients
    slopes = [[np.asarray(energy(mode + step)[1]) for step in (e, -e)] for e in half * np.eye(len(mode))]
    curvature = np.array([(above - below) / (2 * half) for above, below in slopes])
    frame = {}
    for name, indices in unravel(jnp.arange(len(mode))).items():
        own = np.asarray(indices).astype(int)
        block = curvature[np.ix_(own, own)]
        known = np.all(np.isfinite(block))
        sizes, directions = np.linalg.eigh((block + block.T) / 2 if known else np.eye(len(own)))
        frame[name] = jnp.asarray(directions / np.sqrt(np.maximum(sizes, _LEAST_CURVATURE)))
    return frame


def _padded(data: Data, rows: int) -> Data:
    """The data with rows of weight 0 appended."""
    n = len(data.weight)
    filled: Mapping[str, Any] = {
        field: np.concatenate([x, np.repeat(x[-1:], rows - n)]) for field, x in data._asdict().items() if len(x) == n
    }
    return data._replace(**filled) if rows > n else data


@functools.lru_cache(maxsize=16)
def _programs(spec: Spec) -> tuple[Callable, Callable]:
    """(vector, data) -> minus the log density of the posterior and its gradient; (vector, data) -> the law."""

    def values(vector: Any, data: Data) -> dict[str, Any]:
        sites = jax.tree.map(jnp.zeros_like, sites_of(spec, data))
        return unpacked(sites, ravel_pytree(packed(sites))[1](vector))

    def energy(vector: Any, data: Data) -> Any:
        return potential_energy(run_model, (data, spec), {}, values(vector, data))

    def law_at(vector: Any, data: Data) -> LossLaw:
        constrained = constrain_fn(run_model, (data, spec), {}, values(vector, data))
        return parameters_of(spec, data, constrained).law

    return jax.jit(jax.value_and_grad(energy)), jax.jit(law_at)
