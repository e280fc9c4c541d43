"""Expanding-window back-tests: what would have been forecast at each cut-off, scored against what then happened.

For cut-offs spread over the compute of a table, every method is fitted on the rows at or below the cut-off. It then
forecasts the loss (and return) of the near-frontier rows between the cut-off and 100 times it, and the size to train on
those budgets. Without losses only the return is forecast. Groups are taken one by one.
"""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from os import cpu_count
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import ndtri

from forecast import classical
from forecast.arguments import of_kind, one_of, whole
from forecast.bayes.fit import check_law, fit
from forecast.bayes.prediction import QUANTILE_NAMES, QUANTILES
from forecast.decide.checks import Limits
from forecast.decide.weigh import weigh
from forecast.errors import FitError, ForecastError
from forecast.runs.read import as_runs
from forecast.runs.table import Runs, distinct_samples, return_offset
from forecast.verify.crps import LEVELS, crps_at_levels
from forecast.verify.optima import Optimum, Profile, optima, profiles
from forecast.verify.scores import (
    CHOICES,
    COLUMNS,
    HORIZONS,
    NAMES,
    TABLES,
    Backtest,
    bundled_backtest,
    by_method,
    load_backtest,
    pooled,
)

__all__ = [
    "BELOW_1",
    "COLUMNS",
    "HORIZONS",
    "LEVELS",
    "METHODS",
    "NAMES",
    "NEAR",
    "Backtest",
    "backtest",
    "bundled_backtest",
    "by_method",
    "cut_points",
    "load_backtest",
    "planned",
    "pooled",
]

METHODS = ("ours", *classical.METHODS)
BELOW_1 = "huber_lse_below_1"
"""The Huber fit of losses under 1 alone, a cut-off that suits the NetHack table; not among `METHODS`."""
NEAR = 0.15
"""Log loss above the running minimum up to which a row is near the frontier, and so is forecast."""
NEAR_RETURN = 0.7
"""The same of log return, in a table without losses: half of the best. Wider, or only lucky seeds would be scored."""
_CUTOFFS = 30  # fits of a whole table, over its groups: what bounds the cost
_CHAINS, _DRAWS, _WARMUP = 4, 200, 400
_REPLICATES = 100
_STEP = 0.25  # log10 compute between the budgets on which a size is chosen


def cut_points(runs: Runs, count: int) -> list[float]:
    """Up to `count` budgets of rows of one group, spread evenly in log C, with enough behind and something ahead."""
    log_c = np.log10(np.sort(runs.table["flops"].to_numpy()))
    span = log_c[-1] - log_c[0]
    wanted = np.linspace(log_c[0] + min(1.3, span / 2), log_c[-1] - min(0.3, span / 6), count)
    ranks = np.searchsorted(log_c, wanted + 1e-9, side="right") - 1
    return [float(10**c) for c in np.unique(np.round(log_c[ranks], 9))]


@dataclass(frozen=True, kw_only=True)
class _Task:
    """The methods at one cut-off of one group."""

    runs: Runs
    """All rows of the group."""
    cutoff: float
    """Largest compute of the rows that are fitted (FLOPs)."""
    methods: tuple[str, ...]
    """Of `METHODS`, or `BELOW_1`."""
    law: str
    """Of our own method."""
    seed: int
    """Of the sampler and of bootstraps."""


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """What one method forecasts at one cut-off."""

    loss: np.ndarray | None
    """Quantiles at `LEVELS` of the log loss of each later row: [199, rows]; None where the table has none."""
    returns: np.ndarray | None
    """The same of the log shifted return, None where it is not forecast."""
    chosen: np.ndarray
    """Recommended params on each later budget: [budgets]."""
    path: np.ndarray
    """Quantiles at `QUANTILES` of the loss there, or of the return in a table without losses: [5, budgets]."""
    sizes: np.ndarray | None = None
    """Draws of the log of the size of least loss there: [S, budgets]; None where a method gives no interval of it."""


def backtest(
    runs: Runs | str | Path | pd.DataFrame,
    *,
    methods: tuple[str, ...] = METHODS,
    cutoffs: int | None = None,
    law: str = "drifting",
    seed: int = 0,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Backtest:
    """Back-test the methods on every group of a table.

    runs: a run table, or a file, a bundled name or a DataFrame, which are read by `forecast.read_runs`.
    methods: of `METHODS`, and `BELOW_1`; those of losses are left out where the table has none.
    cutoffs: of each group; 10, or fewer where there are more than three groups.
    law: of our own method.
    seed: the same seed gives the same forecasts.
    workers: processes, one for every four cores unless given, since the chains of a fit run side by side.
    progress: called with fits done and in all.

    Raises ForecastError for an unknown method, methods of losses alone for a table without them, numbers out of range,
    or a table whose compute spans too little to leave anything ahead.
    """
    runs = as_runs(runs)
    workers = None if workers is None else whole("workers", workers, 1, 1000)
    tasks = planned(runs, methods=methods, cutoffs=cutoffs, law=law, seed=seed)
    parts: list[dict[str, pd.DataFrame] | None] = [None] * len(tasks)
    if progress:
        progress(0, len(tasks))
    for done, (i, part) in enumerate(_worked(tasks, workers or max(1, (cpu_count() or 1) // 4)), start=1):
        parts[i] = part
        if progress:
            progress(done, len(tasks))
    tables = {k: pd.concat([p[k] for p in parts if p], ignore_index=True) for k in TABLES}
    return Backtest(**tables, sha256=runs.sha256)


def planned(
    runs: Runs,
    *,
    methods: tuple[str, ...] = METHODS,
    cutoffs: int | None = None,
    law: str = "drifting",
    seed: int = 0,
) -> list[_Task]:
    """What a back-test is made of; raises ForecastError as `backtest` does, before anything is fitted."""
    check_law(law, seed)
    of_kind("methods", methods, (tuple, list), "a tuple of names")
    for method in methods:
        one_of("method", method, (*METHODS, BELOW_1))
    cutoffs = None if cutoffs is None else whole("cutoffs", cutoffs, 1, 100)
    if not runs.has_losses:
        usable = ("ours", *classical.RETURN_METHODS)
        methods = tuple(m for m in methods if m in usable)
        if not methods:
            raise ForecastError(f"{runs.source} has no losses; choose methods from {', '.join(usable)}.")
    count = cutoffs or max(4, min(10, _CUTOFFS // len(runs.groups)))
    tasks = []
    for group in runs.groups:
        own = runs.subset(runs.table["group"] == group)
        for cutoff in cut_points(own, count):
            past = own.table[own.table["flops"] <= cutoff * (1 + 1e-9)]
            if past["params"].nunique() >= 3 and len(past) >= 8 and not _later(own, cutoff).empty:
                tasks.append(_Task(runs=own, cutoff=cutoff, methods=methods, law=law, seed=seed))
    if not tasks:
        raise ForecastError(
            f"{runs.source} leaves nothing to back-test: no cut-off has 3 sizes and 8 rows behind it and near-frontier "
            "rows ahead; add budgets."
        )
    return tasks


def _worked(tasks: list[_Task], workers: int) -> Iterator[tuple[int, dict[str, pd.DataFrame]]]:
    """Each task's number and tables, as they get done."""
    if workers == 1 or len(tasks) == 1:
        yield from ((i, _work(t)) for i, t in enumerate(tasks))
        return
    # Spawned, because jax does not survive a fork.
    with ProcessPoolExecutor(min(workers, len(tasks)), mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(_work, t): i for i, t in enumerate(tasks)}
        try:
            for future in as_completed(waiting):
                yield waiting[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _later(runs: Runs, cutoff: float) -> pd.DataFrame:
    """The near-frontier rows up to 100 times beyond a cut-off."""
    flops = runs.table["flops"]
    ahead = (flops > cutoff * (1 + 1e-9)) & (flops <= HORIZONS[-1] * cutoff * (1 + 1e-9))
    return runs.table[ahead & (runs.frontier_excess() < (NEAR if runs.has_losses else NEAR_RETURN))]


def _work(task: _Task) -> dict[str, pd.DataFrame]:
    later = _later(task.runs, task.cutoff)
    past = task.runs.subset(task.runs.table["flops"] <= task.cutoff * (1 + 1e-9))
    budgets = task.cutoff * 10 ** np.arange(_STEP, np.log10(HORIZONS[-1]) + 1e-9, _STEP)
    offset = return_offset(task.runs.table)
    seen = profiles(task.runs.table, budgets) if task.runs.has_losses else []
    about = {"group": task.runs.groups[0], "cutoff": task.cutoff}
    tables: dict[str, list[pd.DataFrame]] = {k: [] for k in TABLES}
    for method in task.methods:
        key = {**about, "method": method}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if method == "ours":
                    answer = _ours(past, later, budgets, offset, task)
                elif past.has_losses:
                    answer = _classical(method, past, later, budgets, offset, task.seed)
                else:
                    answer = _best_return(method, past, later, budgets, offset)
        except FitError as error:
            tables["refusals"].append(pd.DataFrame([{**key, "reason": str(error)}]))
            continue
        if answer.loss is not None:
            tables["forecasts"].append(_forecasts("loss", answer.loss, later, later["loss"], 0.0, key))
        if answer.returns is not None:
            played = later["return_mean"].notna().to_numpy()
            rows = later[played]
            tables["forecasts"].append(
                _forecasts("return", answer.returns[:, played], rows, rows["return_mean"], offset, key)
            )
        path = dict(zip(QUANTILE_NAMES, answer.path, strict=True))
        tables["paths"].append(pd.DataFrame({**key, "flops": budgets, **path}))
        tables["choices"].append(_choices(seen, answer).assign(**key))
    empty = {"refusals": ["group", "cutoff", "method", "reason"]}
    whole = {k: pd.concat(v, ignore_index=True) for k, v in tables.items() if v}
    return {k: whole.get(k, pd.DataFrame(columns=empty.get(k))) for k in TABLES}


def _ours(past: Runs, later: pd.DataFrame, budgets: np.ndarray, offset: float, task: _Task) -> _Answer:
    posterior = fit(past, law=task.law, seed=task.seed, chains=_CHAINS, draws=_DRAWS, max_draws=_DRAWS, warmup=_WARMUP)
    drawn = posterior.predict(
        later["params"], later["samples"], flops=later["flops"], unique_samples=distinct_samples(later)
    )
    distinct = float(past.table["unique_samples"].max()) if posterior.spec.repeats else None
    objective, limits = "loss" if past.has_losses else "return", Limits(unique_samples=distinct)
    weighed = [weigh(posterior, posterior.groups[0], c, objective, limits) for c in budgets]
    best = [int(np.argmax(w.score)) for w in weighed]
    params, samples = (
        np.array([getattr(w, c)[i] for w, i in zip(weighed, best, strict=True)]) for c in ("params", "samples")
    )
    run = posterior.predict(params, samples, unique_samples=distinct)
    path = run.loss if run.loss is not None else run.returns
    assert path is not None
    returns = None
    if drawn.returns is not None:
        returns = np.quantile(np.log(np.maximum(drawn.returns + offset, 1e-3 * offset)), LEVELS, axis=0)
    return _Answer(
        loss=None if drawn.loss is None else np.quantile(np.log(drawn.loss), LEVELS, axis=0),
        returns=returns,
        chosen=run.params,
        path=np.quantile(path, QUANTILES, axis=0),
        sizes=np.stack([w.optimum()[0] for w in weighed], axis=1),
    )


def _classical(method: str, past: Runs, later: pd.DataFrame, budgets: np.ndarray, offset: float, seed: int) -> _Answer:
    """A classical method with its own intervals: t for the lines, a bootstrap for the parametric laws."""
    rows = past
    if method == BELOW_1:
        below = past.table["loss"] < 1
        if not below.any():
            raise FitError(f"no loss is below 1, and {BELOW_1} fits no others; take a later cut-off.")
        rows, method = past.subset(below), "huber_lse"
    fitted = classical.fit(rows, method, replicates=_REPLICATES if method in ("huber_lse", "varpro") else 0, seed=seed)
    loss = np.log(fitted.forecast_loss(later["params"], later["samples"], later["flops"]).quantile(LEVELS))
    returns = None
    if past.has_returns and "return_mean" in later and later["return_mean"].notna().any():
        returns = _classical_returns(past, loss, offset, seed)
    params, path = np.full(len(budgets), np.nan), np.full((len(QUANTILES), len(budgets)), np.nan)
    with contextlib.suppress(FitError):  # a law without a best size can still forecast losses
        params, samples = fitted.optimal(budgets)
        path = fitted.forecast_loss(params, samples, budgets).quantile(np.array(QUANTILES))
    return _Answer(loss=loss, returns=returns, chosen=params, path=path)


def _best_return(method: str, past: Runs, later: pd.DataFrame, budgets: np.ndarray, offset: float) -> _Answer:
    """A line through the best returns, which is what it forecasts of every near-frontier row."""
    fitted = classical.best_return(past, method)
    returns = np.log(np.maximum(fitted.forecast_return(later["flops"]).quantile(LEVELS) + offset, 1e-12))
    params = np.full(len(budgets), np.nan)
    with contextlib.suppress(FitError):
        params, _ = fitted.optimal(budgets)
    path = fitted.forecast_return(budgets).quantile(np.array(QUANTILES))
    return _Answer(loss=None, returns=returns, chosen=params, path=path)


def _classical_returns(past: Runs, log_loss: np.ndarray, offset: float, seed: int) -> np.ndarray:
    """The forecast of loss [LEVELS, P] sent through the regression of log return on log loss, with both errors."""
    line = classical.fit_return(past)
    rng = np.random.default_rng([seed, 3])
    drawn = np.concatenate([rng.permutation(log_loss) for _ in range(5)])
    there = line.forecast(np.exp(np.clip(drawn, -50, 50)))
    value = there.mean_log + there.sd_log * rng.standard_t(np.maximum(there.dof, 1.0), drawn.shape)
    return np.quantile(np.logaddexp(np.clip(value, -300, 300), np.log(offset)), LEVELS, axis=0)


def _forecasts(
    target: str, quantiles: np.ndarray, rows: pd.DataFrame, observed: pd.Series, offset: float, key: dict
) -> pd.DataFrame:
    """One row a forecast, with the CRPS of the log."""
    log_observed = np.log(np.maximum(observed.to_numpy(float) + offset, 1e-12))
    crps = crps_at_levels(quantiles, log_observed)
    at_levels = [np.exp(quantiles[np.argmin(np.abs(LEVELS - q))]) - offset for q in QUANTILES]
    points = {c: rows[c].to_numpy(float) for c in ("params", "samples", "flops")}
    of_row = {"observed": observed.to_numpy(float), **dict(zip(QUANTILE_NAMES, at_levels, strict=True))}
    return pd.DataFrame({**key, "target": target, **points, **of_row, "crps": crps, "offset": offset})


def _choices(seen: Sequence[Profile | None], answer: _Answer) -> pd.DataFrame:
    """What the chosen size cost on each later budget, and the forecast of the size of least loss beside the table's.

    A size outside those trained there is taken as the nearest of them.
    seen: the losses of the table on each budget; those without are left out.
    """
    rows = []
    for i, (profile, optimum) in enumerate(zip(seen, optima(seen), strict=True)):
        params = answer.chosen[i]
        if profile is None or not np.isfinite(params):
            continue
        best = int(np.argmin(profile.log_loss))
        least = profile.log_loss[best]
        regret = np.expm1(np.interp(np.log(params), profile.log_params, profile.log_loss) - least)
        sizes = np.log(params)[None] if answer.sizes is None else answer.sizes[:, i]
        of_size = _size_score(sizes, optimum)
        rows.append((profile.flops, params, np.exp(profile.log_params[best]), regret, *of_size))
    return pd.DataFrame(rows, columns=CHOICES, dtype=float)


def _size_score(sizes: np.ndarray, optimum: Optimum) -> tuple[float, ...]:
    """The size at the vertex of a profile, its standard error (log), quantiles at `QUANTILES` of its forecast, CRPS.

    sizes: draws of the log of the size of least loss [S], or one number, which has no quantiles. What is forecast is
    the vertex as the rows show it, so that its error is added to the draws.
    """
    if not np.isfinite(optimum.log_params):
        return (np.nan,) * 8
    levels = LEVELS[:, None]
    if len(sizes) == 1:
        quantiles, at_levels = sizes + optimum.sd * ndtri(levels), np.full(len(QUANTILES), np.nan)
    else:
        drawn = sizes + optimum.sd * np.random.default_rng(0).standard_normal(len(sizes))
        quantiles, at_levels = np.quantile(drawn, levels), np.exp(np.quantile(drawn, QUANTILES))
    crps = crps_at_levels(quantiles, np.array([optimum.log_params]))[0]
    return (float(np.exp(optimum.log_params)), optimum.sd, *map(float, at_levels), float(crps))
