"""From a run table to its posterior, and the comparison of laws."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from forecast.arguments import number, one_of, received, whole
from forecast.bayes.diagnostics import (
    HIGH_PARETO_K,
    MAX_DIVERGENT,
    Diagnostics,
    convergence,
    diagnose,
    leave_out,
    probability_below,
)
from forecast.bayes.pace import Pace, learned_pace
from forecast.bayes.posterior import Posterior
from forecast.errors import ForecastError
from forecast.model import LAWS
from forecast.model.data import Spec
from forecast.model.encode import Encoding, encode
from forecast.model.laws import episode_sd
from forecast.model.parameters import parameters_of_draws
from forecast.model.weights import LOCALITIES
from forecast.numbers import count
from forecast.runs.cost import group_costs
from forecast.runs.read import as_runs
from forecast.runs.table import Runs, below_expert, expert_losses, expert_returns, reached_beyond

if TYPE_CHECKING:
    from forecast.bayes.sampler import Draws, Progress, Settings

# The sampler is imported where something is sampled: jax and numpyro take a second.

Table = Runs | str | Path | pd.DataFrame
"""A run table of `read_runs`, or what that reads: a file, the name of a bundled table, a DataFrame."""
_CAREFUL = 0.99  # acceptance probability with which a fit is made again whose draws diverge
_MOST_DRAWS = 100_000


def fit(
    runs: Table,
    *,
    law: str = "drifting",
    expert_return: Mapping[str, float] | float | None = None,
    expert_loss: Mapping[str, float] | float | None = None,
    start_loss: Mapping[str, float] | float | None = None,
    chains: int = 4,
    draws: int = 1000,
    max_draws: int | None = None,
    warmup: int = 1000,
    seed: int = 0,
    progress: "Progress | None" = None,
) -> Posterior:
    """Posterior of a run table by NUTS; see `forecast.model` for the model and its priors.

    runs: a run table, or a file, a bundled name or a DataFrame, which are read by `forecast.read_runs`.
    law: one of `forecast.model.LAWS`.
    expert_return: mean return of the demonstrator, where imitation saturates; for a table without losses, the highest
    return that is possible. One number for all groups, or by group; None: the table's column of that name, if any.
    expert_loss: loss of the demonstrator's own policy on the games that losses are measured on (nats), below which no
    clone comes: the entropy of its actions. Given as expert_return is.
    start_loss: loss of an untrained policy (nats), ln(actions) for a uniform one; used by the saturating and drifting
    laws. One number for all groups, or by group.
    chains: they take the views of `forecast.model.weights.LOCALITIES` in turn.
    draws, warmup: iterations of each chain, in whole hundreds.
    max_draws: draws are doubled up to this number while the chains have not converged; None: four times draws.
    seed: the same seed and rows, in any order and units, give the same draws.
    progress: called with iterations done and in all.

    Raises TableError for a table that cannot be used, and ForecastError for an unknown law or group, for settings of a
    wrong type or out of range, and for start_loss or expert_loss without losses.
    """
    from forecast.bayes.sampler import sample

    check_law(law, seed)
    settings = _settings(chains, draws, max_draws, warmup)
    if progress is not None and not callable(progress):
        raise ForecastError(f"progress is {received(progress)}; give a function of the iterations done and in all.")
    runs = as_runs(runs)
    for name, given in (("start_loss", start_loss), ("expert_loss", expert_loss)):
        if given is not None and not runs.has_losses:
            raise ForecastError(f"{runs.source} has no losses; leave {name} out.")
    experts = _by_group(runs, expert_return, "expert_return", expert_returns(runs.table))
    losses = _by_group(runs, expert_loss, "expert_loss", expert_losses(runs.table))
    starts = _by_group(runs, start_loss, "start_loss", {})
    encoding = encode(runs, expert_return=experts, expert_loss=losses, start_loss=starts)
    cost = group_costs(runs)
    spec = _spec(runs, law, encoding)
    draw = functools.partial(
        sample,
        spec,
        encoding.data,
        seed=seed,
        weights=encoding.chain_weights(chains),
        enough=lambda values: convergence(values, len(LOCALITIES)).reached,
        progress=progress,
    )
    sampled = draw(settings)
    if sampled.diverging.mean() > MAX_DIVERGENT:
        sampled = draw(replace(settings, target_accept=_CAREFUL))
    posterior = Posterior(
        runs=runs,
        spec=spec,
        encoding=encoding,
        draws=sampled.values,
        diagnostics=_diagnose(runs, spec, encoding, sampled),
        cost=cost,
        seed=seed,
        expert_return=experts,
        expert_loss=losses,
        start_loss=starts,
    )
    return replace(posterior, paces=_paces(posterior))


def _paces(posterior: Posterior) -> dict[str, Pace]:
    """By group, from hindcasts of its own rows."""
    from forecast.bayes.hindcasts import hindcasts

    runs = posterior.runs
    law, experts = posterior.spec.law, posterior.expert_loss
    alone = {name: {k: v for k, v in experts.items() if k == name} for name in runs.groups}
    by_group = {n: hindcasts(runs.subset(runs.table["group"] == n), law, alone[n]) for n in runs.groups}
    return {name: learned_pace(made, posterior.law_sd(name) if made else 0.0) for name, made in by_group.items()}


def _settings(chains: int, draws: int, max_draws: int | None, warmup: int) -> "Settings":
    """Settings of the sampler. Raises ForecastError for settings of a wrong type or out of range."""
    from forecast.bayes.sampler import Settings

    draws, warmup = _hundreds("draws", draws), _hundreds("warmup", warmup)
    most = 4 * draws if max_draws is None else _hundreds("max_draws", max_draws)
    if most < draws:
        raise ForecastError(f"max_draws is {most}, less than draws; give at least {draws}.")
    return Settings(chains=whole("chains", chains, 1, 64), draws=draws, max_draws=most, warmup=warmup)


def _hundreds(name: str, value: int) -> int:
    count = whole(name, value)
    if not 100 <= count <= _MOST_DRAWS or count % 100:
        raise ForecastError(f"{name} is {count}; give a whole number of hundreds, from 100 to {_MOST_DRAWS}.")
    return count


def check_law(law: str, seed: int) -> None:
    """Raises ForecastError for an unknown law, and for a seed that is none."""
    one_of("law", law, LAWS)
    whole("seed", seed, 0, 2**32 - 1)


def _diagnose(runs: Runs, spec: Spec, encoding: Encoding, sampled: "Draws") -> Diagnostics:
    """Diagnostics of the draws; the predictive check takes the rows that count in some view."""
    from forecast.bayes.sampler import row_forecasts

    parameters = parameters_of_draws(spec, encoding.data, sampled.values)
    location, scale = row_forecasts(parameters, encoding.data)
    if not runs.has_losses:
        cv = np.asarray(parameters.noise["episode_cv"])[:, None]
        scale = np.hypot(scale, episode_sd(cv, encoding.data.episodes))
    n = len(encoding.rows)
    dof = np.asarray(parameters.noise["dof"])
    pit = probability_below(np.asarray(encoding.data.log_loss)[:n], location[:, :n], scale[:, :n], dof)
    counted = encoding.chain_weights(len(sampled.diverging))[:, :n].max(axis=0) > 0.5
    names = _training_names(runs, encoding)
    pareto_k = _pareto_k(_left_out(runs, spec, encoding, sampled.values), list(names.values()))
    sizes = int(runs.table.groupby("group")["params"].nunique().min())
    plateau = max(map(runs.plateau, runs.groups)) if runs.has_losses else None
    return diagnose(sampled.values, sampled.diverging, pit[counted], pareto_k, sizes, len(LOCALITIES), plateau)


def compare(runs: Table, *, laws: tuple[str, ...] = LAWS, seed: int = 0, **settings: Any) -> pd.DataFrame:
    """The laws side by side by PSIS-LOO with whole trajectories left out, best first.

    A trajectory is a run, or all rows of a group and size where the table names no runs.
    runs: as for `fit`.
    settings: keyword arguments of `fit`.

    Columns of the table:
    - law
    - elpd: expected log density of a left-out trajectory, summed over trajectories
    - se: its standard error
    - difference: elpd minus that of the best law
    - difference_se: its standard error
    - pareto_k_high: share of trajectories with a Pareto k over 0.7, for which the estimate is unreliable
    """
    for law in laws:
        one_of("law", law, LAWS)
    runs, rows, pointwise = as_runs(runs), [], {}
    for law in laws:
        posterior = fit(runs, law=law, seed=seed, **settings)
        views = _left_out(runs, posterior.spec, posterior.encoding, posterior.draws)
        pointwise[law] = np.mean([loo.loo_i.to_numpy() for loo in views], axis=0)
        names = _training_names(runs, posterior.encoding)
        high = float(np.mean(_pareto_k(views, list(names.values())) > HIGH_PARETO_K))
        elpd, se = pointwise[law].sum(), np.sqrt(pointwise[law].size * pointwise[law].var())
        rows.append({"law": law, "elpd": float(elpd), "se": float(se), "pareto_k_high": high})
    table = pd.DataFrame(rows).sort_values("elpd", ascending=False, ignore_index=True)
    best = pointwise[str(table["law"].iloc[0])]
    gaps = [pointwise[law] - best for law in table["law"]]
    table["difference"] = [float(g.sum()) for g in gaps]
    table["difference_se"] = [float(np.sqrt(g.size * g.var())) for g in gaps]
    return table[["law", "elpd", "se", "difference", "difference_se", "pareto_k_high"]]


def prior_predictive(runs: Table, *, law: str = "drifting", draws: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Prior predictive quantiles of the loss of each row, to check the priors against what is known.

    By row number: params, samples, loss as observed, and q05, median, q95 of the loss of a new run of that size and
    samples; without losses the same of the return. Of the measurements only the reference point enters, because the
    priors are written around it. runs: as for `fit`.

    Raises ForecastError for an unknown law and a seed that is none.
    """
    from forecast.bayes.sampler import prior_parameters, row_forecasts

    check_law(law, seed)
    draws, runs = whole("draws", draws, 1), as_runs(runs)
    encoding = encode(runs)
    spec = _spec(runs, law, encoding, returns=False)
    parameters = prior_parameters(spec, encoding.data, draws, seed)
    location, scale = (x[:, : len(encoding.rows)] for x in row_forecasts(parameters, encoding.data))
    noise = np.random.default_rng(seed).standard_t(np.asarray(parameters.noise["dof"])[:, None], location.shape)
    rows = runs.table.loc[encoding.rows]
    low, middle, high = np.exp(np.quantile(location + scale * noise, (0.05, 0.5, 0.95), axis=0))
    if not runs.has_losses:
        offset = rows["group"].map({g: r.return_offset for g, r in encoding.references.items()}).to_numpy(float)
        low, middle, high = (1 / x - offset for x in (high, middle, low))
    measured = "loss" if runs.has_losses else "return_mean"
    return rows[["params", "samples", measured]].assign(q05=low, median=middle, q95=high)


def _spec(runs: Runs, law: str, encoding: Encoding, *, returns: bool = True) -> Spec:
    """What the model has for a table. returns: False leaves returns out."""
    return Spec(
        law=law,
        groups=len(runs.groups),
        trajectories=runs.has_trajectories,
        returns=returns and bool(encoding.data.return_weight.any()),
        losses=runs.has_losses,
        repeats=encoding.repeats,
        experts=bool(encoding.data.expert_known.any()),
    )


def _left_out(runs: Runs, spec: Spec, encoding: Encoding, draws: Mapping[str, np.ndarray]) -> list[Any]:
    """PSIS-LOO by trajectory, or by group and size where the table names no runs; once for each locality.

    Likelihoods enter to the power of their weight, as they did in the fit.
    """
    from forecast.bayes.sampler import row_likelihoods

    weights = encoding.chain_weights(len(next(iter(draws.values()))))
    powered = row_likelihoods(spec, encoding.data, draws, weights)[..., : len(encoding.rows)]
    views, blocks = min(len(LOCALITIES), len(powered)), _blocks(runs, encoding)
    return [leave_out(powered[k :: len(LOCALITIES)], blocks) for k in range(views)]


def _blocks(runs: Runs, encoding: Encoding) -> np.ndarray:
    """The training of each fitted row [n], or its group and size where the table names no runs."""
    table = runs.table.loc[encoding.rows]
    blocks = table["group"] + " " + (table["run"] if runs.has_trajectories else table["params"].astype(str))
    return blocks.to_numpy(str)


def _training_names(runs: Runs, encoding: Encoding) -> dict[str, str]:
    """Block, in sorted order -> the name of that training, or its size where the table names no runs."""
    table = runs.table.loc[encoding.rows]
    names = table["run"] if runs.has_trajectories else table["params"].map(count) + " parameters"
    if len(runs.groups) > 1:
        names = table["group"] + " " + names
    return dict(sorted(zip(_blocks(runs, encoding), names, strict=True)))


def _pareto_k(views: list[Any], names: Sequence[str]) -> pd.Series:
    """Pareto k of every training in every view, by its name [blocks], except those of weight 0."""
    k = pd.concat([pd.Series(loo.pareto_k.to_numpy(), index=list(names)) for loo in views])
    return k[k != np.inf]


def _by_group(
    runs: Runs, value: Mapping[str, float] | float | None, name: str, column: Mapping[str, float]
) -> dict[str, float]:
    """What is given by group, else what a column of the table says."""
    value = column if value is None else value
    by_group: dict[str, float] = {}
    for group, given in (value if isinstance(value, Mapping) else dict.fromkeys(runs.groups, value)).items():
        if group not in runs.groups:
            raise ForecastError(
                f"{name} names the group {group!r}, which {runs.source} does not have; name one of "
                f"{', '.join(runs.groups)}."
            )
        by_group[group] = number(f"{name} of {group}", given, positive=name != "expert_return")
        _check_against(runs.group_table(group), name, f"{name} of {group}", by_group[group])
    return by_group


def _check_against(table: pd.DataFrame, name: str, what: str, given: float) -> None:
    """Raises ForecastError where the runs of a group contradict what is known of its demonstrator."""
    reached = reached_beyond(table, given) if name == "expert_return" else None
    if reached is not None:
        raise ForecastError(
            f"{what} is {given:g}, and runs reach {reached:g}; give the highest return that is possible."
        )
    below = below_expert(table, given) if name == "expert_loss" else None
    if below is not None:
        raise ForecastError(
            f"{what} is {given:g}, and a run has a loss of {below:.4g}, which no clone of this demonstrator can have; "
            "correct it, or leave it out."
        )
