"""NUTS over a numpyro model whose data can change without compiling again.

numpyro's own `MCMC` closes over the data, so that every new table would be compiled again. Here the data is an argument
of the compiled functions: tables of the same padded shape, and later processes on this machine, reuse the compilation.
A chain is a thread; the programs of a chain are compiled in parallel.
"""

import functools
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from jax.flatten_util import ravel_pytree
from numpyro.infer.hmc import hmc
from numpyro.infer.util import constrain_fn, log_likelihood, potential_energy

from forecast.bayes.modes import Found, frame_at, search
from forecast.model.compiled import keep_compilations
from forecast.model.data import Data, Spec
from forecast.model.laws import noise_scale
from forecast.model.likelihood import of_rows, row_locations, run_model, sample_parameters
from forecast.model.parameters import Parameters
from forecast.model.sites import as_jax, blocks, from_coordinates, packed, sites_of, start_point, unpacked

_BLOCK = 100  # iterations between two reports of progress
_SEARCH = 1000  # iterations of the search for the mode that a chain starts at
_FAR_BELOW = 10.0  # nats: a mode with so much less log density than another one holds none of the posterior
Progress = Callable[[int, int], None]
"""Called with iterations done and in all, warm-up included, of the slowest chain; the second number grows where draws
are added. Called by one thread at a time."""
Enough = Callable[[Mapping[str, np.ndarray]], bool]
"""Whether the draws, site -> [chain, draw, ...], are enough."""


class Draws(NamedTuple):
    """What NUTS returns."""

    values: dict[str, np.ndarray]
    """Site -> [chain, draw, ...]."""
    diverging: np.ndarray
    """Whether NUTS diverged: [chain, draw]."""
    steps: np.ndarray
    """Leapfrog steps: [chain, draw]."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of one run of NUTS."""

    chains: int = 4
    """Number of chains."""
    draws: int = 1000
    """Draws of each chain."""
    max_draws: int = 0
    """Draws of each chain are doubled up to this number while they are not enough."""
    warmup: int = 1000
    """Warm-up iterations of each chain."""
    target_accept: float = 0.95
    """Acceptance probability that the step size is adapted to."""
    max_tree_depth: tuple[int, int] = (10, 10)
    """In warm-up and after it. Less does not cross the long ridges of a clean table in warm-up (benchmarks/LOG.md)."""


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
    """Posterior draws of `run_model`, in double precision.

    seed: the same seed gives the same draws on the same kind of machine.
    weights: one set of row weights a chain [chains, n], in place of `data.weight`.
    enough: whether the draws are enough; None takes the first `settings.draws`.
    progress: called with iterations done and in all, first before anything is compiled.
    """
    if progress:
        progress(0, settings.warmup + settings.draws)
    keep_compilations()
    if weights is None:
        weights = np.broadcast_to(data.weight, (settings.chains, len(data.weight)))
    with jax.enable_x64(True):
        data = as_jax(data)
        programs = _compiled(spec, replace(settings, draws=0, max_draws=0), jax.tree.map(jax.typeof, data))
        keys = jax.random.split(jax.random.PRNGKey(seed), settings.chains)
        starts, frames = _starts(programs, spec, data, weights, keys)
    board = _Board(settings.chains, progress)
    chains = [
        _Chain(
            programs, key, start, (data._replace(weight=w), frame), settings.warmup, functools.partial(board.mark, k)
        )
        for k, (key, start, w, frame) in enumerate(zip(keys, starts, weights, frames, strict=True))
    ]
    draws = settings.draws
    while True:
        board.run(chains, settings.warmup + draws)
        z, diverging, steps = jax.tree.map(lambda *x: np.stack(x), *(chain.draws() for chain in chains))
        with jax.enable_x64(True):
            together = jax.tree.map(lambda *x: jnp.stack(x), *frames)
            values = {k: np.asarray(v) for k, v in programs.finish(z, data, together).items()}
        if enough is None or draws >= settings.max_draws or enough(values):
            return Draws(values, diverging, steps)
        draws = min(2 * draws, settings.max_draws)


def _starts(
    programs: "_Programs", spec: Spec, data: Data, weights: np.ndarray, keys: Any
) -> tuple[list[Any], list[Any]]:
    """Where each chain starts, block -> vector, and the frame in which it moves, block -> matrix (`frame_at`).

    Each chain searches for a mode from a point of its own and starts near it, so that chains of one posterior with two
    modes disagree; only where another chain with the same weights found a mode `_FAR_BELOW` denser, there.
    """
    points = [ravel_pytree(start_point(spec, data, key)) for key in keys]
    unravel = points[0][1]

    def energy_of(weight: np.ndarray) -> Callable:
        weighed = data._replace(weight=jnp.asarray(weight, dtype=data.u.dtype))
        return lambda x: programs.energy(x, weighed)

    def searched(point: Any, weight: np.ndarray) -> Found:
        with jax.enable_x64(True):
            return search(energy_of(weight), np.asarray(point[0]), _SEARCH)

    def densest(weight: np.ndarray) -> Found:
        return min(
            (f for f, w in zip(found, weights, strict=True) if np.array_equal(w, weight)), key=lambda f: f.energy
        )

    with ThreadPoolExecutor(len(points)) as pool:
        found = list(pool.map(searched, points, weights))
    starts, frames = [], []
    for own, weight, key in zip(found, weights, keys, strict=True):
        best = densest(weight)
        mode = (best if own.energy > best.energy + _FAR_BELOW else own).x
        frames.append(frame_at(energy_of(weight), mode, unravel))
        noise = unravel(jax.random.normal(jax.random.fold_in(key, 1), mode.shape))
        middle = unravel(jnp.asarray(mode))
        starts.append({name: jnp.linalg.solve(frames[-1][name], x) + noise[name] for name, x in middle.items()})
    return starts, frames


class _Board:
    """Runs chains in parallel and reports progress; if one fails or the wait is interrupted, all stop."""

    def __init__(self, chains: int, progress: Progress | None) -> None:
        self._done, self._total = [0] * chains, 0
        self._report = progress or (lambda done, total: None)
        self._lock, self._stopped = threading.Lock(), False

    def run(self, chains: "list[_Chain]", total: int) -> None:
        """Take every chain to `total` iterations."""
        self._total = total
        with ThreadPoolExecutor(len(chains)) as pool:
            try:
                for chain in [pool.submit(chain.run, total) for chain in chains]:
                    chain.result()
            except BaseException:
                self._stopped = True
                raise

    def mark(self, chain: int, done: int) -> bool:
        """Record the progress of a chain; returns whether it may go on."""
        with self._lock:
            self._done[chain] = done
            self._report(min(self._done), self._total)
        return not self._stopped


class _Chain:
    """One chain, which keeps its state and draws between calls of `run`."""

    def __init__(
        self,
        programs: "_Programs",
        key: Any,
        start: Any,
        arguments: tuple[Data, Any],
        warmup: int,
        mark: Callable[[int], bool],
    ) -> None:
        self._programs, self._arguments, self._warmup, self._mark = programs, arguments, warmup, mark
        self._key, self._start, self._state, self._done = key, start, None, 0
        self._kept: list[Any] = []

    def run(self, total: int) -> None:
        """Continue to `total` iterations, warm-up included."""
        with jax.enable_x64(True):
            if self._state is None:
                self._state = self._programs.start(self._key, self._start, *self._arguments)
            while self._mark(self._done) and self._done < total:
                self._state, out = self._programs.block(self._state, *self._arguments)
                out = jax.tree.map(np.asarray, out)  # waits for the block
                if self._done >= self._warmup:
                    self._kept.append(out)
                self._done += _BLOCK

    def draws(self) -> Any:
        """(z, diverging, steps) of all iterations after warm-up, arrays [draw, ...]."""
        return jax.tree.map(lambda *x: np.concatenate(x), *self._kept)


def prior_parameters(spec: Spec, data: Data, count: int, seed: int) -> Parameters:
    """`count` draws of every parameter from the prior, arrays [count, ...]."""
    keep_compilations()

    def draw(key: Any) -> Parameters:
        with numpyro.handlers.seed(rng_seed=key):
            return sample_parameters(spec, data)

    with jax.enable_x64(True):
        data = as_jax(data)
        return jax.tree.map(np.asarray, jax.jit(jax.vmap(draw))(jax.random.split(jax.random.PRNGKey(seed), count)))


def row_likelihoods(spec: Spec, data: Data, draws: Mapping[str, np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Log density of each row's log loss given the run's previous checkpoint, to the power of its weight.

    weights: one set of row weights a chain [chain, n], as in `sample`.
    Returns [chain, draw, n], rows of weight 0 at 0.
    """
    with jax.enable_x64(True):
        return np.asarray(_likelihoods(spec)(dict(draws), as_jax(data), jnp.asarray(weights)))


def row_forecasts(parameters: Parameters, data: Data) -> tuple[np.ndarray, np.ndarray]:
    """Location and scale of the log loss of a new run at each row, [S, n] each."""

    def forecast_rows(p: Parameters, data: Data) -> Any:
        location = row_locations(p.law, data)
        rise = location - of_rows(p.law.level, data)
        scale = noise_scale(of_rows(p.noise["noise"], data), p.noise["noise_growth"], rise)
        return location, jnp.sqrt(scale**2 + data.log_loss_se**2)

    with jax.enable_x64(True):
        draws = jax.tree.map(jnp.asarray, parameters)
        location, scale = jax.jit(jax.vmap(forecast_rows, (0, None)))(draws, as_jax(data))
    return np.asarray(location), np.asarray(scale)


@functools.lru_cache(maxsize=16)
def _likelihoods(spec: Spec) -> Callable:
    def of_chain(values: Any, data: Data, weight: Any) -> Any:
        # numpyro leaves out the power, which is a scale of the site.
        return weight * log_likelihood(run_model, values, data._replace(weight=weight), spec)["log_loss"]

    return jax.jit(jax.vmap(of_chain, (0, None, 0)))


class _Programs(NamedTuple):
    """Compiled programs; `energy`, `start` and `block` of one chain, `finish` of all chains."""

    energy: Callable
    """(vector of all blocks, data) -> minus the log density there and its gradient."""
    start: Callable
    """(key, z, data, frame) -> state."""
    block: Callable
    """(state, data, frame) -> (state, draws), `_BLOCK` iterations later."""
    finish: Callable
    """(z, data, frames) -> values of the sites."""


@functools.lru_cache(maxsize=16)
def _compiled(spec: Spec, settings: Settings, data: Data) -> _Programs:
    """The programs of a chain, for arrays of the shapes of `data`."""
    shapes = jax.eval_shape(functools.partial(sites_of, spec), data)
    sites = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    unpack = functools.partial(unpacked, sites)

    def values_at(z: Any, frame: Any) -> tuple[Any, Any]:
        return from_coordinates(unpack({name: frame[name] @ x for name, x in z.items()}))

    def potential(data: Data, frame: Any) -> Callable:
        def energy(z: Any) -> Any:
            values, log_volume = values_at(z, frame)
            return potential_energy(run_model, (data, spec), {}, values) - log_volume

        return energy

    init_kernel, sample_kernel = hmc(potential_fn_gen=potential, algo="NUTS")

    def start(key: Any, z: Any, data: Data, frame: Any) -> Any:
        return init_kernel(
            z,
            settings.warmup,
            target_accept_prob=settings.target_accept,
            max_tree_depth=cast(Any, settings.max_tree_depth),
            dense_mass=cast(Any, [(block,) for block in blocks(sites)]),
            model_args=(data, frame),
            rng_key=key,
        )

    def block(state: Any, data: Data, frame: Any) -> Any:
        def step(state: Any, _: None) -> Any:
            state = sample_kernel(state, (data, frame), {})
            return state, (state.z, state.diverging, state.num_steps)

        return jax.lax.scan(step, state, None, length=_BLOCK)

    def finish(z: Any, data: Data, frames: Any) -> Any:
        def constrain(z: Any, frame: Any) -> Any:
            values, _ = values_at(z, frame)
            return constrain_fn(run_model, (data, spec), {}, values, return_deterministic=True)

        return jax.vmap(jax.vmap(constrain, (0, None)), (0, 0))(z, frames)

    # Traced one after the other, because numpyro keeps what it traces in one place; compiled in parallel.
    x, unravel = ravel_pytree(packed(sites))
    frame = {name: np.eye(len(numbers)) for name, numbers in unravel(x).items()}
    valued = jax.jit(jax.value_and_grad(lambda x, data: potential(data, frame)(unravel(x)))).lower(x, data)
    started = jax.jit(start).lower(jax.random.PRNGKey(0), unravel(x), data, frame)
    blocked = jax.jit(block).lower(started.out_info, data, frame)
    with ThreadPoolExecutor(3) as pool:
        first, second, third = (pool.submit(program.compile) for program in (valued, started, blocked))
        return _Programs(first.result(), second.result(), third.result(), jax.jit(finish))
