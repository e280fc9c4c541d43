"""The forecast at any budget, size and number of passes, small enough to be held in the page.

Quantiles of a new run are computed on nodes: budgets, and around the best size of each budget sizes up to 30 times
smaller and larger, at several numbers of passes. `page.js` reads between the nodes.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from forecast.bayes.posterior import Posterior
from forecast.bayes.prediction import QUANTILE_NAMES, QUANTILES
from forecast.decide.checks import Limits
from forecast.decide.recommend import Recommendation
from forecast.decide.weigh import weigh
from forecast.report.figures.view import View
from forecast.runs.reach import FURTHEST

_BELOW, _ABOVE = 14, 18  # budgets within the data and beyond
SIZES = 17
"""Sizes of a budget on the grid."""
_REACH = 30.0  # factor that they reach either way
_PASSES = (1.0, 2.0, 4.0, 8.0, 16.0, 40.0)
_LEVELS = 65535
_SMALL = 1e-4  # of the largest, below which numbers are held to the same digits


@dataclass(frozen=True, kw_only=True)
class Packed:
    """Numbers x as asinh(x / scale), two bytes each, in base64: evenly spaced from `low` to `high`.

    That is their logarithm but for what is small beside the scale, so that returns may be zero or negative.
    """

    scale: float
    low: float
    high: float
    data: str


def grid(view: View, *, passes: bool) -> dict[str, Any]:
    """What `page.js` needs to answer for a group, as plain types.

    passes: whether to hold the forecast for samples that are seen again too, six times the size.
    """
    posterior, name, recommendation = view.posterior, view.group, view.recommendation
    table, cost = view.table, posterior.cost[name]
    top = min(view.frontier.flops[-1], view.largest * 10**FURTHEST)
    budgets = _budgets(float(table["flops"].min()), view.largest, float(top))
    centres = np.exp(np.interp(np.log(budgets), np.log(view.frontier.flops), np.log(view.frontier.chosen_params)))
    offsets = np.linspace(-np.log(_REACH), np.log(_REACH), SIZES)
    params = centres[:, None] * np.exp(offsets)
    samples = budgets[:, None] / cost(params)
    seen = _PASSES if passes else _PASSES[:1]
    targets = {t: [] for t, has in (("loss", posterior.has_losses), ("return", posterior.has_returns)) if has}
    scores = []
    for count in seen:
        quantiles, score = _at(posterior, name, params.ravel(), samples.ravel(), count, recommendation.objective)
        scores.append(score)
        for target, values in targets.items():
            values.append(quantiles[target])
    return {
        "group": name,
        "objective": recommendation.objective,
        "flops": recommendation.flops,
        "answer": _answer(recommendation),
        "largest": view.largest,
        "constraints": dict(recommendation.constraints),
        "budgets": np.log10(budgets).round(5).tolist(),
        "centres": np.log10(centres).round(5).tolist(),
        "reach": float(np.log10(_REACH)),
        "passes": list(seen),
        "cost": [cost.coefficient, cost.exponent, cost.fixed],
        "sizes": [float(table["params"].min()) / 10, float(table["params"].max()) * 10],
        "optimum": _optima(view, budgets),
        "score": vars(_packed(np.stack(scores))),
        "targets": {t: vars(_packed(np.stack(v))) for t, v in targets.items()},
    }


def _answer(rec: Recommendation) -> dict[str, Any]:
    """The recommendation itself, which the page gives where nothing else is asked: quantiles ascending."""

    def five(q: Mapping[str, float] | None) -> list[float]:
        return [] if q is None else [float(f"{q[name]:.6g}") for name in QUANTILE_NAMES]

    targets = {"loss": five(rec.loss), "return": five(rec.returns)}
    return {
        "params": rec.params,
        "samples": rec.samples,
        "spent": rec.flops_spent,
        "optimum": [five(rec.optimum_params), five(rec.optimum_samples)],
        "targets": {target: q for target, q in targets.items() if q},
    }


def _optima(view: View, budgets: np.ndarray) -> list[list[list[float]]]:
    """Five quantiles of the best size and of its samples on each budget without limits, as powers of ten [2, 5, B]."""
    name, objective = view.group, view.recommendation.objective
    weighed = [weigh(view.posterior, name, float(budget), objective, Limits()).optimum() for budget in budgets]
    quantiles = np.quantile(np.array(weighed) / np.log(10), QUANTILES, axis=2)
    return np.moveaxis(quantiles, (2, 0, 1), (0, 1, 2)).round(4).tolist()


def _budgets(low: float, largest: float, top: float) -> np.ndarray:
    """Ascending, the largest compute of the table among them, closest just beyond it, where intervals widen fastest."""
    inside = np.geomspace(min(low, largest / 10), largest, _BELOW)
    outside = largest * np.exp(np.log(top / largest) * np.linspace(0, 1, _ABOVE + 1)[1:] ** 2)
    return np.append(inside, outside)


def _at(
    posterior: Posterior, name: str, params: np.ndarray, samples: np.ndarray, passes: float, objective: str
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """By target, five quantiles of a new run at each point [5, P]; and the expected loss or return that decides [P]."""
    distinct = None if passes == 1 else samples / passes
    run = posterior.predict(params, samples, group=name, unique_samples=distinct)
    drawn = {"loss": run.loss, "return": run.returns}
    quantiles = {t: np.quantile(v, QUANTILES, axis=0) for t, v in drawn.items() if v is not None}
    log_loss = posterior.log_loss(params, samples, group=name, unique_samples=distinct)
    if objective == "loss":
        return quantiles, np.exp(log_loss).mean(axis=0)
    return quantiles, posterior.returns_at(log_loss, params, group=name, new_run=False).mean(axis=0)


def _packed(values: np.ndarray) -> Packed:
    scale = _SMALL * float(np.abs(values).max())
    held = np.arcsinh(values / scale)
    low, high = float(held.min()), float(held.max())
    levels = np.round((held - low) / max(high - low, 1e-300) * _LEVELS).astype("<u2")
    return Packed(scale=scale, low=low, high=high, data=base64.b64encode(levels.tobytes()).decode())
