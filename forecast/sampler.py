"""NUTS over a numpyro model whose data can change without compiling again.

numpyro's own `MCMC` closes over the data, so every new table would compile anew. Here the data is an argument of the
compiled functions: tables of the same padded shape, and every later process on this machine, re-use the compilation.
"""

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from numpyro.infer.hmc import hmc
from numpyro.infer.util import constrain_fn, log_likelihood, potential_energy

from forecast.model import (
    GROUP_MARK,
    Data,
    Parameters,
    Spec,
    noise_scale,
    of_rows,
    row_locations,
    run_model,
    sample_parameters,
)

_DEVICES = 4
_BLOCK = 100  # iterations between two reports of progress
Progress = Callable[[int, int], None]
"""Called with iterations done and in all, of one chain, warm-up included; `all` grows where draws are added."""
Enough = Callable[[Mapping[str, np.ndarray]], bool]
"""Whether draws, site -> [chain, draw, ...], are enough."""


class Draws(NamedTuple):
    """values: site -> [chain, draw, ...]. diverging, steps: [chain, draw]."""

    values: dict[str, np.ndarray]
    diverging: np.ndarray
    steps: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Of one run of NUTS. max_tree_depth: in warm-up and after it; early steps are short whatever the tree.

    max_draws: up to where draws a chain are doubled while they are not enough.
    """

    chains: int = 4
    draws: int = 1000
    max_draws: int = 0
    warmup: int = 1000
    target_accept: float = 0.8
    max_tree_depth: tuple[int, int] = (6, 8)


def prepare_jax() -> None:
    """One CPU device a chain, and compilations kept on disk; before the first use of jax, after it without effect."""
    numpyro.set_host_device_count(_DEVICES)
    cache = os.environ.get("FORECAST_CACHE", str(Path.home() / ".cache" / "forecast"))
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def sample(
    spec: Spec,
    data: Data,
    settings: Settings,
    seed: int,
    *,
    weights: np.ndarray | None = None,
    enough: Enough | None = None,
    progress: Progress | None = None,
) -> Draws:
    """Posterior draws of `run_model`, in double precision. Same seed, same draws, on the same kind of machine.

    weights: in place of the data's, one set a chain [chains, n]. enough: None takes the first `settings.draws`.
    """
    report = progress or (lambda done, total: None)
    with jax.enable_x64(True):
        start, block, finish = _compiled(spec, replace(settings, draws=0, max_draws=0))  # not compiled in
        keys = jax.random.split(jax.random.PRNGKey(seed), settings.chains)
        own = np.broadcast_to(data.weight, (settings.chains, len(data.weight))) if weights is None else weights
        data = Data(*(jnp.asarray(x) for x in data._replace(weight=own)))
        state = start(keys, data)
        kept: list[Any] = []
        draws, done = settings.draws, 0
        while True:
            total = settings.warmup + draws
            while done < total:
                report(done, total)
                state, out = block(state, data)
                if done >= settings.warmup:
                    kept.append(jax.tree.map(np.asarray, out))
                done += _BLOCK
            report(done, total)
            z, diverging, steps = jax.tree.map(lambda *x: np.concatenate(x, axis=1), *kept)
            values = {k: np.asarray(v) for k, v in finish(z, data._replace(weight=data.weight[0])).items()}
            if enough is None or draws >= settings.max_draws or enough(values):
                return Draws(values, diverging, steps)
            draws = min(2 * draws, settings.max_draws)


def constrained_parameters(spec: Spec, data: Data, draws: Mapping[str, np.ndarray]) -> Parameters:
    """The laws and the noise of every draw, arrays [S, ...] with the chains joined."""
    with jax.enable_x64(True):
        found = _parameters(spec)(_joined(draws), Data(*(jnp.asarray(x) for x in data)))
    return jax.tree.map(np.asarray, found)


def prior_parameters(spec: Spec, data: Data, count: int, seed: int) -> Parameters:
    """`count` draws of every parameter from the prior, arrays [count, ...]."""

    def one(key: Any) -> Parameters:
        with numpyro.handlers.seed(rng_seed=key):
            return sample_parameters(spec, data)

    with jax.enable_x64(True):
        data = Data(*(jnp.asarray(x) for x in data))
        return jax.tree.map(np.asarray, jax.jit(jax.vmap(one))(jax.random.split(jax.random.PRNGKey(seed), count)))


def row_likelihoods(spec: Spec, data: Data, draws: Mapping[str, np.ndarray]) -> np.ndarray:
    """Log density of each row's log loss given the run's checkpoint before, [chain, draw, n], padding 0."""
    with jax.enable_x64(True):
        data = Data(*(jnp.asarray(x) for x in data))
        values = {k: jnp.asarray(v) for k, v in draws.items()}
        found = log_likelihood(run_model, values, data, spec, batch_ndims=2)
    return np.asarray(found["log_loss"])


def row_forecasts(parameters: Parameters, data: Data) -> tuple[np.ndarray, np.ndarray]:
    """Location and scale of log loss of each row as of a new run, [S, n] each."""

    def one(p: Parameters, data: Data) -> Any:
        location = row_locations(p.law, data)
        rise = location - of_rows(p.law.level, data)
        scale = noise_scale(of_rows(p.noise["noise"], data), p.noise["noise_growth"], rise)
        return location, jnp.sqrt(scale**2 + data.log_loss_se**2)

    with jax.enable_x64(True):
        arrays = Data(*(jnp.asarray(x) for x in data))
        location, scale = jax.jit(jax.vmap(one, (0, None)))(jax.tree.map(jnp.asarray, parameters), arrays)
    return np.asarray(location), np.asarray(scale)


def _joined(draws: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return {k: jnp.asarray(v.reshape((-1, *v.shape[2:]))) for k, v in draws.items()}


@functools.lru_cache(maxsize=16)
def _parameters(spec: Spec) -> Callable:
    def one(values: Any, data: Data) -> Parameters:
        with numpyro.handlers.substitute(data=values), numpyro.handlers.seed(rng_seed=0):
            return sample_parameters(spec, data)

    return jax.jit(jax.vmap(one, (0, None)))


@functools.lru_cache(maxsize=16)
def _compiled(spec: Spec, settings: Settings) -> tuple[Callable, Callable, Callable]:
    """start(keys, data) -> state, block(state, data) -> state and draws, finish(draws, data) -> sites; per chain."""

    def potential(data: Data) -> Callable:
        return functools.partial(potential_energy, run_model, (data, spec), {})

    init_kernel, sample_kernel = hmc(potential_fn_gen=potential, algo="NUTS")

    def start(key: Any, data: Data) -> Any:
        key_init, key_run = jax.random.split(key)
        point = _start_point(spec, data, key_init)
        return init_kernel(
            point,
            settings.warmup,
            target_accept_prob=settings.target_accept,
            max_tree_depth=cast(Any, settings.max_tree_depth),
            dense_mass=cast(Any, _blocks(point)),
            model_args=(data,),
            rng_key=key_run,
        )

    def block(state: Any, data: Data) -> Any:
        def step(state: Any, _: None) -> Any:
            state = sample_kernel(state, (data,), {})
            return state, (state.z, state.diverging, state.num_steps)

        return jax.lax.scan(step, state, None, length=_BLOCK)

    def finish(z: Any, data: Data) -> Any:
        one = lambda z: constrain_fn(run_model, (data, spec), {}, z, return_deterministic=True)  # noqa: E731
        return jax.vmap(jax.vmap(one))(z)

    by_chain = 0, Data(*(0 if name == "weight" else None for name in Data._fields))
    if settings.chains <= jax.local_device_count():
        return jax.pmap(start, in_axes=by_chain), jax.pmap(block, in_axes=by_chain), jax.jit(finish)
    return jax.jit(jax.vmap(start, by_chain)), jax.jit(jax.vmap(block, by_chain)), jax.jit(finish)


def _blocks(sites: Any) -> list[tuple[str, ...]]:
    """Sites whose covariance is learned together: the losses and the returns of each group, and what groups share.

    They hardly know of each other, and small blocks are learned from few draws.
    """
    blocks: dict[tuple[str, bool], list[str]] = {}
    for name in sorted(sites):
        group = name.partition(GROUP_MARK)[2] if any(GROUP_MARK + "1" in s for s in sites) else ""
        blocks.setdefault((group, "return" in name), []).append(name)
    return [tuple(block) for block in blocks.values()]


def _sites(spec: Spec, data: Data) -> dict[str, Any]:
    """The sites of the model that are sampled, by name."""
    with numpyro.handlers.seed(rng_seed=0):
        trace = numpyro.handlers.trace(run_model).get_trace(data, spec)
    return {k: s for k, s in trace.items() if s["type"] == "sample" and not s["is_observed"]}


def site_names(spec: Spec, data: Data) -> set[str]:
    """Names of what the model samples; draws that lack one were made by another model."""
    return set(_sites(spec, data))


def _start_point(spec: Spec, data: Data, key: Any) -> Any:
    """Unconstrained starting values: the prior's mean, jittered."""
    sites, values = _sites(spec, data), {}
    for (name, site), k in zip(sorted(sites.items()), jax.random.split(key, len(sites)), strict=True):
        transform = numpyro.distributions.biject_to(site["fn"].support)
        shape = jnp.shape(site["value"])
        middle = transform.inv(jnp.broadcast_to(site["fn"].mean, shape))
        values[name] = middle + 0.1 * jax.random.normal(k, shape)
    return values
