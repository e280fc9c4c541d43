"""Whether a posterior is reliable: the table of checks, and the verdict that follows from it."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from forecast.bayes.verdict import Concern, Verdict
from forecast.numbers import percent
from forecast.shown import html_frame

MAX_RHAT = 1.03  # for the worst of some hundred numbers, each from two chains a view: 1.02 occurs by chance
MIN_ESS = 400.0
MAX_DIVERGENT = 0.005
HIGH_PARETO_K = 0.7
MAX_HIGH_K = 0.25  # share of trainings so influential that the fit without them cannot be estimated
MIN_COVERAGE = 0.80  # of 90% intervals over the fitted rows
MIN_SIZES = 4.0  # of models: fewer leave the exponent of size to its prior
MAX_PLATEAU = 0.25  # of the decades of compute; published tables have at most 0.15, and laws were checked on those
_MOST_NAMED = 4  # trainings that a sentence names
_RHAT, _ESS, _DIVERGENT = "largest R-hat", "smallest effective sample size", "share of divergent draws"
_HIGH_K = f"share of trainings with Pareto k over {HIGH_PARETO_K}"
_COVERAGE = "share of fitted rows inside their 90% interval"
_SIZES = "number of model sizes"
_PLATEAU = "share of the decades of compute before the loss falls"
_LONGER = "sample longer (--draws, --warmup)"
_ADVICE = {
    _RHAT: _LONGER,
    _ESS: _LONGER,
    _DIVERGENT: "lengthen the warm-up (--warmup), or fit a simpler law (--law additive)",
    _COVERAGE: "the rows do not follow one law: look in the table for games or recipes that are mixed, and for wrong "
    "units",
    _HIGH_K: "train more sizes or seeds; if rows are checkpoints of trainings without a name, name these in a column "
    "`run`",
    _SIZES: "train more sizes",
    _PLATEAU: "train at larger budgets",
}
"""What mends a failed check, by its name."""
AMBER = (_HIGH_K, _SIZES, _PLATEAU)
"""Checks that, failed, make a forecast rest on little; the others make it wrong."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Diagnostics:
    """Checks of the sampler and of the fit."""

    checks: pd.DataFrame
    """One row a check: `check`, `value`, `wanted`, `passed`."""
    diverging: np.ndarray
    """Whether NUTS diverged in a draw: [chain, draw]."""
    influential: tuple[str, ...] = ()
    """Names of the trainings with a high Pareto k, those of the largest first."""

    def __repr__(self) -> str:
        return self.sentence

    def _repr_html_(self) -> str:
        """The checks."""
        return html_frame(self.sentence, self.checks)

    @property
    def passed(self) -> bool:
        """Whether the forecast may be used: no check failed that makes it wrong."""
        return not self.verdict.wrong

    @property
    def verdict(self) -> Verdict:
        """Whether to believe a forecast inside the table."""
        failed = self.checks[~self.checks["passed"]]
        concerns = {check: self._concern(check, value, wanted) for check, value, wanted, _ in failed.to_numpy()}
        return Verdict(
            wrong=tuple(concern for check, concern in concerns.items() if check not in AMBER),
            weak=tuple(concern for check, concern in concerns.items() if check in AMBER),
        )

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        return self.verdict.sentence

    def _concern(self, check: str, value: float, wanted: str) -> Concern:
        if check == _HIGH_K:
            named, more = self.influential[:_MOST_NAMED], len(self.influential[_MOST_NAMED:])
            names = f": {', '.join(named)}{f' and {more} more' if more else ''}" if named else ""
            return Concern(f"it leans on few trainings ({percent(value)} of them{names})", _ADVICE[check])
        if check == _SIZES:
            return Concern(f"it rests on {value:.0f} model size{'s' if value > 1 else ''}", _ADVICE[check])
        if check == _PLATEAU:
            return Concern(
                f"the loss hardly falls in the first {percent(value)} of the decades of compute, where policies have "
                "not begun to learn",
                _ADVICE[check],
            )
        return Concern(f"{check} is {value:.3g} (should be {wanted})", _ADVICE[check])


class Convergence(NamedTuple):
    """Convergence of the chains, by the worst of all parameters."""

    rhat: float
    """Largest R-hat."""
    ess: float
    """Smallest effective sample size, bulk or tail."""
    wanted_ess: float
    """The effective sample size that is enough."""

    @property
    def reached(self) -> bool:
        """Whether the draws are enough."""
        return not self.rhat > MAX_RHAT and self.ess >= self.wanted_ess


def convergence(draws: Mapping[str, np.ndarray], views: int = 1) -> Convergence:
    """R-hat and effective sample size (Vehtari et al., 2021).

    draws: site -> [chain, draw, ...].
    views: number of posteriors that the chains sample in turn. Chains of one view are compared with each other, and
    effective sample sizes are summed over views. R-hat is NaN, and passes, where a view has one chain.
    """
    chains, length = next(iter(draws.values())).shape[:2]
    from forecast.bayes.quiet import az

    parts = [az.convert_to_dataset({name: x[k::views] for name, x in draws.items()}) for k in range(min(views, chains))]
    rhat = max(_extreme(az.rhat(p), np.max) for p in parts) if chains > len(parts) else np.nan
    ess = min(_extreme(sum(az.ess(p, method=m) for p in parts), np.min) for m in ("bulk", "tail"))
    return Convergence(rhat, ess, min(MIN_ESS, 0.1 * chains * length))


def diagnose(
    draws: Mapping[str, np.ndarray],
    diverging: np.ndarray,
    pit: np.ndarray,
    pareto_k: pd.Series,
    sizes: int,
    views: int = 1,
    plateau: float | None = None,
) -> Diagnostics:
    """Convergence of the chains, a posterior predictive check, and what the fit rests on.

    draws: site -> [chain, draw, ...].
    diverging: whether NUTS diverged in a draw, [chain, draw].
    pit: posterior probability of a loss below that of each fitted row [n]; a tenth of them should lie outside 0.05 to
    0.95.
    pareto_k: Pareto k of each training when it is left out, by its name, once a view; none of weight 0.
    sizes: number of model sizes, of the group that has the fewest.
    views: as for `convergence`.
    plateau: part of the decades of compute before the loss falls, of the group where it is largest; None without
        losses.
    """
    rhat, ess, wanted_ess = convergence(draws, views)
    coverage = float(np.mean((pit > 0.05) & (pit < 0.95)))
    high = pareto_k[~(pareto_k <= HIGH_PARETO_K)].sort_values(ascending=False)
    part = len(high) / max(len(pareto_k), 1)
    rows = [
        (_RHAT, rhat, f"at most {MAX_RHAT}", not rhat > MAX_RHAT),
        (_ESS, ess, f"at least {wanted_ess:.0f}", ess >= wanted_ess),
        (_DIVERGENT, diverging.mean(), f"at most {MAX_DIVERGENT}", diverging.mean() <= MAX_DIVERGENT),
        (_HIGH_K, part, f"at most {MAX_HIGH_K}", part <= MAX_HIGH_K),
        (_COVERAGE, coverage, f"at least {MIN_COVERAGE}", coverage >= MIN_COVERAGE or pit.size < 30),
        (_SIZES, sizes, f"at least {MIN_SIZES:.0f}", sizes >= MIN_SIZES),
    ]
    if plateau is not None:
        rows.append((_PLATEAU, plateau, f"at most {MAX_PLATEAU}", plateau <= MAX_PLATEAU))
    checks = pd.DataFrame(rows, columns=["check", "value", "wanted", "passed"])
    return Diagnostics(
        checks=checks.astype({"value": float, "passed": bool}),
        diverging=diverging,
        influential=tuple(dict.fromkeys(map(str, high.index))),
    )


def _extreme(values: object, pick: object) -> float:
    return float(pick([pick(v.to_numpy()) for v in values.data_vars.values()]))  # type: ignore[attr-defined, operator]


def probability_below(log_loss: np.ndarray, location: np.ndarray, scale: np.ndarray, dof: np.ndarray) -> np.ndarray:
    """Posterior probability of a log loss below each observed one: [n] from [n], [S, n], [S, n] and [S]."""
    from scipy import stats

    return stats.t.cdf((log_loss - location) / scale, dof[:, None]).mean(axis=0)


def leave_out(likelihoods: np.ndarray, blocks: np.ndarray) -> Any:
    """PSIS-LOO with whole blocks of rows left out at once (Vehtari, Gelman and Gabry, 2017).

    likelihoods: log likelihoods, [chain, draw, n].
    blocks: the block of each row [n]: a training, or a model size where the table names no runs. The result has one
    value for each of `np.unique(blocks)`.
    """
    from forecast.bayes.quiet import az

    names = np.unique(blocks)
    summed = np.stack([likelihoods[..., blocks == b].sum(-1) for b in names], axis=-1)
    data = az.from_dict(posterior={"_": np.zeros(likelihoods.shape[:2])}, log_likelihood={"log_loss": summed})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pareto k is reported by the caller, in words
        return az.loo(data, pointwise=True)
