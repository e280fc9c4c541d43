"""Whether a posterior may be believed: a verdict, one sentence, and the table behind it."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import arviz as az
import numpy as np
import pandas as pd
from scipy import stats

MAX_RHAT = 1.03  # of the worst of some hundred numbers, each from two chains a view: 1.02 comes by chance
MIN_ESS = 400.0
MAX_DIVERGENT = 0.005
HIGH_PARETO_K = 0.7
MAX_HIGH_K = 0.25  # share of trainings that the fit leans on so much that leaving them out cannot be estimated
MIN_COVERAGE = 0.80  # of 90% intervals over the fitted rows


@dataclass(frozen=True, kw_only=True, eq=False)
class Diagnostics:
    """checks: one row a check with `check`, `value`, `wanted`, `passed`. diverging: [chain, draw]."""

    checks: pd.DataFrame
    diverging: np.ndarray

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return bool(self.checks["passed"].all())

    @property
    def sentence(self) -> str:
        """The verdict in one sentence."""
        failed = self.checks[~self.checks["passed"]]
        if failed.empty:
            return "The sampler converged and the fitted rows look as the model expects."
        told = "; ".join(f"{r.check} is {r.value:.3g} (wanted {r.wanted})" for r in failed.itertuples())
        return f"DO NOT TRUST this forecast yet: {told}. Sample longer (--draws, --warmup), or look at the table."


class Convergence(NamedTuple):
    """The worst R-hat and the smallest effective sample size, bulk or tail, of any number drawn."""

    rhat: float
    ess: float
    wanted_ess: float

    @property
    def reached(self) -> bool:
        """Whether the draws are enough."""
        return not self.rhat > MAX_RHAT and self.ess >= self.wanted_ess


def convergence(draws: Mapping[str, np.ndarray], views: int = 1) -> Convergence:
    """How well the chains agree and how much their draws are worth (Vehtari et al., 2021).

    draws: site -> [chain, draw, ...]. views: how many posteriors the chains sample in turn; chains are compared, and
    their draws counted, within each. R-hat is NaN, and passes, where a view has one chain.
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

    draws: site -> [chain, draw, ...]. pit: probability that the model gives to a loss below each fitted row's [n]; a
    tenth of them should lie outside 0.05 to 0.95. pareto_k: of each trajectory when it is left out. views: see
    `convergence`.
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

    likelihoods: [chain, draw, n]; blocks: the block of each row [n], a training or, where none is named, a model size.
    """
    names = np.unique(blocks)
    summed = np.stack([likelihoods[..., blocks == b].sum(-1) for b in names], axis=-1)
    data = az.from_dict(posterior={"_": np.zeros(likelihoods.shape[:2])}, log_likelihood={"log_loss": summed})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pareto k is reported by the caller, in words
        return az.loo(data, pointwise=True)
