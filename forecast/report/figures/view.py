"""What the figures and the page of one group share, computed once."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from forecast import classical
from forecast.bayes.posterior import Posterior
from forecast.bayes.prediction import Prediction
from forecast.classical import ClassicalFit, ReturnFrontier
from forecast.decide.checks import Limits, affordable
from forecast.decide.recommend import Recommendation
from forecast.decide.weigh import least_on_grid, weigh
from forecast.errors import FitError
from forecast.numbers import percent

_DRAWS = 800  # enough for a band; the numbers in the tables use all
_BUDGETS = 41
_AHEAD = 10.0  # how far beyond the budget asked for the pictures reach
NEAR_FRONTIER = 0.05  # log loss above the best that the same compute bought
NEAR_BEST = 0.29  # log return below it, which is the luckiest seed's: within 25%


@dataclass(frozen=True, kw_only=True, eq=False)
class Frontier:
    """The optimum on T budgets, as S draws see it and as it would be recommended.

    flops [T]; params, samples, best [S, T]: each draw's size of least loss and that loss (nats; the law, without a
    run's noise), or without losses the size of highest return and that return. chosen_params, chosen_samples [T]: best
    by posterior expectation of the objective.
    """

    flops: np.ndarray
    params: np.ndarray
    samples: np.ndarray
    best: np.ndarray
    chosen_params: np.ndarray
    chosen_samples: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """A group's forecast and everything drawn from it.

    few: the posterior with fewer draws. table: the group's rows with `excess`, log loss above the best that their
    compute bought (log return below it), and `aside`, the reason why a row was set aside or null. methods: fit or,
    where it refused, why. path: a new run of the recommended configuration at each budget of the frontier.
    """

    posterior: Posterior
    few: Posterior
    recommendation: Recommendation
    table: pd.DataFrame
    frontier: Frontier
    path: Prediction
    methods: Mapping[str, ClassicalFit | ReturnFrontier | str]

    @property
    def group(self) -> str:
        """Name of the group."""
        return self.recommendation.group

    @property
    def unique_samples(self) -> float | None:
        """Distinct samples that were asked about; None: every sample is fresh."""
        return self.recommendation.constraints.get("unique_samples")

    @property
    def largest(self) -> float:
        """The largest compute among the rows."""
        return self.posterior.largest_flops(self.group)

    @property
    def fitted(self) -> pd.DataFrame:
        """Rows that were fitted."""
        return self.table[self.table["aside"].isna()]

    @property
    def aside(self) -> bool:
        """Whether any row was set aside."""
        return bool(self.table["aside"].notna().any())

    @property
    def measured(self) -> str:
        """The column that the law speaks of: loss, or return_mean."""
        return "loss" if self.posterior.has_losses else "return_mean"

    @property
    def near(self) -> pd.Series:
        """Which fitted rows are about as good as the best that their compute bought."""
        return self.fitted["excess"] < (NEAR_FRONTIER if self.posterior.has_losses else NEAR_BEST)

    @property
    def near_words(self) -> str:
        """Which rows `near` are, in words."""
        if self.posterior.has_losses:
            return f"within {percent(np.expm1(NEAR_FRONTIER))} of the best"
        return f"within {percent(-np.expm1(-NEAR_BEST))} of the best"

    @property
    def headline_column(self) -> str:
        """What the headline shows: return_mean, or loss without returns."""
        return "loss" if self.path.returns is None else "return_mean"

    @property
    def unit(self) -> str:
        """Of losses."""
        return unit_of_loss(self.posterior.has_returns)

    def shown(self, log_loss: np.ndarray) -> np.ndarray:
        """What the law's log losses are in the units of `measured`."""
        if self.posterior.has_losses:
            return np.exp(log_loss)
        return _as_returns(self.posterior, self.group, log_loss)

    def line(self, fit: ClassicalFit | ReturnFrontier) -> np.ndarray:
        """What a classical method says is the best at each budget of the frontier [T]."""
        flops = self.frontier.flops
        if isinstance(fit, ReturnFrontier):
            return np.exp(fit.forecast_return(flops).mean_log)
        return np.exp(fit.forecast_loss(*fit.optimal(flops), flops).mean_log)

    @property
    def fits(self) -> dict[str, ClassicalFit | ReturnFrontier]:
        """The classical methods that gave an answer."""
        return {name: fit for name, fit in self.methods.items() if not isinstance(fit, str)}


def unit_of_loss(of_a_game: bool) -> str:
    """A sample is an action in the tables of games, which have returns."""
    return "nats per action" if of_a_game else "nats per sample"


def look(posterior: Posterior, recommendation: Recommendation, *, replicates: int = 0) -> View:
    """Compute what the figures show. replicates: bootstrap samples of the classical methods that have no intervals."""
    name, runs = recommendation.group, posterior.runs
    table = runs.group_table(name)
    reasons = posterior.set_aside.reindex(table.index)
    few = posterior.thinned(_DRAWS)
    span = table["flops"].min(), max(recommendation.flops, table["flops"].max()) * _AHEAD
    budgets = np.unique(np.append(np.geomspace(*span, _BUDGETS), recommendation.flops))
    frontier = find_frontier(few, name, budgets, recommendation)
    return View(
        posterior=posterior,
        few=few,
        recommendation=recommendation,
        table=table.assign(excess=posterior.encoding.row_weights.excess[table.index], aside=reasons),
        frontier=frontier,
        path=posterior.predict(
            frontier.chosen_params,
            frontier.chosen_samples,
            group=name,
            unique_samples=recommendation.constraints.get("unique_samples"),
        ),
        methods=classical_fits(posterior, name, replicates),
    )


def find_frontier(posterior: Posterior, group: str, budgets: np.ndarray, recommendation: Recommendation) -> Frontier:
    """Each draw's optimum on each budget, and the size that the recommendation's objective and constraints choose."""
    optima, limits = [], Limits(**recommendation.constraints)
    unique = limits.unique_samples
    for budget in budgets:
        cost = posterior.cost[group]
        sizes, samples = affordable(posterior.runs, cost, group, float(budget), Limits(unique_samples=unique))
        at, least = least_on_grid(posterior.log_loss(sizes, samples, group=group, unique_samples=unique))
        best = np.exp(least) if posterior.has_losses else _as_returns(posterior, group, least)
        weighed = weigh(posterior, group, float(budget), recommendation.objective, limits)
        top = int(np.argmax(weighed.score))
        log_size = np.interp(at, np.arange(sizes.size), np.log(sizes))
        optimum = np.exp(log_size + posterior.optimum_misfit(float(budget), group))
        optima.append((optimum, best, weighed.params[top], weighed.samples[top]))
    params, best = (np.stack([f[i] for f in optima], axis=1) for i in (0, 1))
    chosen_params, chosen_samples = (np.array([f[i] for f in optima]) for i in (2, 3))
    return Frontier(
        flops=budgets,
        params=params,
        samples=budgets / posterior.cost[group](params),
        best=best,
        chosen_params=chosen_params,
        chosen_samples=chosen_samples,
    )


def _as_returns(posterior: Posterior, group: str, log_loss: np.ndarray) -> np.ndarray:
    """The returns that a law without losses speaks of; no size enters."""
    return posterior.returns_at(log_loss, np.ones(log_loss.shape[-1]), group=group, new_run=False)


def classical_fits(posterior: Posterior, group: str, replicates: int) -> dict[str, ClassicalFit | ReturnFrontier | str]:
    """Every classical method on all rows of a group, or the reason why it refused; without losses, those of returns."""
    runs = posterior.runs
    own = runs.subset(runs.table["group"] == group)
    fits: dict[str, ClassicalFit | ReturnFrontier | str] = {}
    for method in classical.METHODS if posterior.has_losses else classical.RETURN_METHODS:
        options = {"replicates": replicates} if method in ("huber_lse", "varpro") else {}
        try:
            if posterior.has_losses:
                fit = classical.fit(own, method, seed=posterior.seed, **options)
            else:
                fit = classical.best_return(own, method=method)
            fit.optimal(posterior.largest_flops(group))
            fits[method] = fit
        except FitError as error:
            fits[method] = str(error)
    return fits
