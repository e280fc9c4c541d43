"""Whether a posterior is reliable: a verdict, one sentence, and the table of checks."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from forecast.bayes.quiet import az
from forecast.shown import html_frame

MAX_RHAT = 1.03  # for the worst of some hundred numbers, each from two chains a view: 1.02 occurs by chance
MIN_ESS = 400.0
MAX_DIVERGENT = 0.005
HIGH_PARETO_K = 0.7
MAX_HIGH_K = 0.25  # share of trainings so influential that the fit without them cannot be estimated
MIN_COVERAGE = 0.80  # of 90% intervals over the fitted rows
_LONGER = "sample longer (--draws, --warmup)"
_ADVICE = {
    "largest R-hat": _LONGER,
    "smallest effective sample size": _LONGER,
    "share of divergent draws": "lengthen the warm-up (--warmup), or fit a simpler law (--law additive)",
    f"share of trainings with Pareto k over {HIGH_PARETO_K}": "a few trainings decide the fit: train more sizes or "
    "seeds, or name the training of each checkpoint in a column `run`",
    "share of fitted rows inside their 90% interval": "the rows do not follow one law: look in the table for games "
    "or recipes that are mixed, and for wrong units",
}
"""What mends a failed check, by its name."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Diagnostics:
    """Checks of the sampler and of the fit."""

    checks: pd.DataFrame
    """One row a check: `check`, `value`, `wanted`, `passed`."""
    diverging: np.ndarray
    """Whether NUTS diverged in a draw: [chain, draw]."""

    def __repr__(self) -> str:
        return self.sentence

    def _repr_html_(self) -> str:
        """The checks."""
        return html_frame(self.sentence, self.checks)

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return bool(self.checks["passed"].all())

    @property
    def sentence(self) -> str:
        """The verdict in one sentence."""
        failed = self.checks[~self.checks["passed"]]
        if failed.empty:
            return "The sampler converged and the fitted rows agree with the model."
        reasons = ", ".join(f"{r.check} is {r.value:.3g} (should be {r.wanted})" for r in failed.itertuples())
        advice = list(dict.fromkeys(_ADVICE[check] for check in failed["check"]))
        advice[0] = advice[0][0].upper() + advice[0][1:]
        return f"DO NOT TRUST this forecast yet: {reasons}. {'; '.join(advice)}."


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
    parts = [az.convert_to_dataset({name: x[k::views] for name, x in draws.items()}) for k in range(min(views, chains))]
    rhat = max(_extreme(az.rhat(p), np.max) for p in parts) if chains > len(parts) else np.nan
    ess = min(_extreme(sum(az.ess(p, method=m) for p in parts), np.min) for m in ("bulk", "tail"))
    return Convergence(rhat, ess, min(MIN_ESS, 0.1 * chains * length))


def diagnose(
    draws: Mapping[str, np.ndarray], diverging: np.ndarray, pit: np.ndarray, pareto_k: np.ndarray, views: int = 1
) -> Diagnostics:
    """Convergence of the chains and a posterior predictive check.

    draws: site -> [chain, draw, ...].
    diverging: whether NUTS diverged in a draw, [chain, draw].
    pit: posterior probability of a loss below that of each fitted row [n]; a tenth of them should lie outside 0.05 to
    0.95.
    pareto_k: Pareto k of each trajectory when it is left out.
    views: as for `convergence`.
    """
    rhat, ess, wanted_ess = convergence(draws, views)
    coverage = float(np.mean((pit > 0.05) & (pit < 0.95)))
    high = float(np.mean(~(pareto_k <= HIGH_PARETO_K)))
    rows = [
        ("largest R-hat", rhat, f"at most {MAX_RHAT}", not rhat > MAX_RHAT),
        ("smallest effective sample size", ess, f"at least {wanted_ess:.0f}", ess >= wanted_ess),
        ("share of divergent draws", diverging.mean(), f"at most {MAX_DIVERGENT}", diverging.mean() <= MAX_DIVERGENT),
        (f"share of trainings with Pareto k over {HIGH_PARETO_K}", high, f"at most {MAX_HIGH_K}", high <= MAX_HIGH_K),
        (
            "share of fitted rows inside their 90% interval",
            coverage,
            f"at least {MIN_COVERAGE}",
            coverage >= MIN_COVERAGE or pit.size < 30,
        ),
    ]
    checks = pd.DataFrame(rows, columns=["check", "value", "wanted", "passed"])
    return Diagnostics(checks=checks.astype({"value": float, "passed": bool}), diverging=diverging)


def _extreme(values: object, pick: object) -> float:
    return float(pick([pick(v.to_numpy()) for v in values.data_vars.values()]))  # type: ignore[attr-defined, operator]


def probability_below(log_loss: np.ndarray, location: np.ndarray, scale: np.ndarray, dof: np.ndarray) -> np.ndarray:
    """Posterior probability of a log loss below each observed one: [n] from [n], [S, n], [S, n] and [S]."""
    return stats.t.cdf((log_loss - location) / scale, dof[:, None]).mean(axis=0)


def leave_out(likelihoods: np.ndarray, blocks: np.ndarray) -> Any:
    """PSIS-LOO with whole blocks of rows left out at once (Vehtari, Gelman and Gabry, 2017).

    likelihoods: log likelihoods, [chain, draw, n].
    blocks: the block of each row [n]: a training, or a model size where the table names no runs.
    """
    names = np.unique(blocks)
    summed = np.stack([likelihoods[..., blocks == b].sum(-1) for b in names], axis=-1)
    data = az.from_dict(posterior={"_": np.zeros(likelihoods.shape[:2])}, log_likelihood={"log_loss": summed})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pareto k is reported by the caller, in words
        return az.loo(data, pointwise=True)
