"""A posterior as arviz InferenceData, with the groups that arviz's own functions ask for."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro

from forecast.bayes.quiet import az
from forecast.bayes.sampler import row_likelihoods
from forecast.model.data import Data, Spec
from forecast.model.encode import Encoding
from forecast.model.likelihood import run_model
from forecast.model.priors import GROUP_MARK
from forecast.model.sites import as_jax
from forecast.runs.table import Runs

_LOSS, _RETURN = "log_loss", "log_return"


def inference_data(
    runs: Runs, spec: Spec, encoding: Encoding, draws: Mapping[str, np.ndarray], diverging: np.ndarray, seed: int
) -> az.InferenceData:
    """The draws and what they say of each fitted row; see `forecast.Posterior.inference_data`.

    draws: site -> [chain, draw, ...]. diverging: [chain, draw].
    """
    n, data = len(encoding.rows), encoding.data
    weights = encoding.chain_weights(len(diverging))
    predicted = _predicted(spec, data, draws, weights, seed)
    seen = {_LOSS: np.asarray(data.log_loss)[:n]}
    likelihoods = {_LOSS: row_likelihoods(spec, data, draws, weights)[..., :n]}
    predictions = {_LOSS: predicted[_LOSS][..., :n]}
    dims = {_LOSS: ["row"], "weight": ["view", "row"], **{c: ["row"] for c in ("params", "samples", "flops", "name")}}
    coords = {"row": encoding.rows, "group": list(encoding.groups)}
    if not spec.losses:  # the model's loss is the reciprocal of the return
        seen, likelihoods, predictions = {_RETURN: -seen[_LOSS]}, {_RETURN: likelihoods[_LOSS]}, {}
        predictions[_RETURN] = -predicted[_LOSS][..., :n]
        dims[_RETURN] = ["row"]
    elif spec.returns:
        played = np.flatnonzero(np.asarray(data.return_weight)[:n] > 0)
        seen[_RETURN] = np.asarray(data.log_return)[played]
        predictions[_RETURN] = predicted[_RETURN][..., played]
        dims[_RETURN], coords["played"] = ["played"], encoding.rows[played]
    table = runs.table.loc[encoding.rows]
    constant = {c: table[c].to_numpy() for c in ("params", "samples", "flops")}
    sites, dims_of_sites = _by_group(draws)
    return az.from_dict(
        posterior=sites,
        sample_stats={"diverging": diverging},
        log_likelihood=likelihoods,
        posterior_predictive=predictions,
        observed_data=seen,
        constant_data={**constant, "name": table["group"].to_numpy(str), "weight": encoding.weights[:, :n]},
        coords=coords,
        dims={**dims, **dims_of_sites},
    )


def _by_group(draws: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
    """Sites with those of the groups in one array, [chain, draw, group, ...], and the names of their axes."""
    sites, dims, parts = {}, {}, {}
    for name, values in draws.items():
        site, marked, k = name.partition(GROUP_MARK)
        if marked:
            parts.setdefault(site, {})[int(k)] = values
        else:
            sites[name] = values
    for site, by_group in parts.items():
        sites[site] = np.stack([by_group[k] for k in sorted(by_group)], axis=2)
        dims[site] = ["group", f"{site}_knot"][: sites[site].ndim - 2]
    return dict(sorted(sites.items())), dims


def _predicted(
    spec: Spec, data: Data, draws: Mapping[str, np.ndarray], weights: np.ndarray, seed: int
) -> dict[str, np.ndarray]:
    """A draw of what each row measures, given the run's checkpoint before it: site -> [chain, draw, n]."""
    with jax.enable_x64(True):
        shape = next(iter(draws.values())).shape[:2]
        keys = jax.random.split(jax.random.PRNGKey(seed), shape)
        drawn = _drawing(spec)(dict(draws), as_jax(data), jnp.asarray(weights), keys)
        return {name: np.asarray(values) for name, values in drawn.items()}


@functools.lru_cache(maxsize=16)
def _drawing(spec: Spec) -> Callable:
    def of_draw(values: Any, data: Data, weight: Any, key: Any) -> Any:
        model = numpyro.handlers.substitute(numpyro.handlers.seed(run_model, key), data=values)
        sites = numpyro.handlers.trace(model).get_trace(data._replace(weight=weight), spec)
        keys = zip((_LOSS, _RETURN), jax.random.split(key), strict=True)
        return {name: sites[name]["fn"].sample(key) for name, key in keys if name in sites}

    of_chain = jax.vmap(of_draw, (0, None, None, 0))
    return jax.jit(jax.vmap(of_chain, (0, None, 0, 0)))
