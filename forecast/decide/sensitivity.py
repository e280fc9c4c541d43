"""What the answer rests on: the bounds that no run shows, and the games that a comparison of policies takes."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtri

from forecast.bayes.posterior import Posterior
from forecast.decide.recommend import Recommendation
from forecast.model.weights import LOCALITIES

_KNOWN = 1e-9  # relative spread of a bound over the draws, below which it is known
_CONFIDENT = float(ndtri(0.975) + ndtri(0.8))  # standard errors that a difference must have: 5% two-sided, 80% power


def bounds_lowered(posterior: Posterior, recommendation: Recommendation, part: float = 0.1) -> pd.DataFrame:
    """What the recommended run would be expected to reach if a bound were known to lie lower by a part.

    By the draws: the regression of the log of what is reached on the log of the bound, within each view. A bound on
    which the rows say much moves the answer as they relate to it; one on which they say nothing does not.

    A row a bound of the group, but for those that are known (of its demonstrator): `bound` in words, its median
    `value`, and `loss` and `return`, the median of each now, with `loss_if` and `return_if`, the same with the bound
    lowered; nan where there is none.
    """
    name, k = recommendation.group, posterior.groups.index(recommendation.group)
    law, of_return = posterior.parameters.law, posterior.parameters.return_law
    offset = posterior.reference(name).return_offset
    bounds: dict[str, np.ndarray] = {}
    if posterior.has_losses:
        bounds["loss that no compute removes"] = np.exp(law.level[:, k]) * law.floor[:, k]
    if of_return is not None:
        bounds["highest return"] = np.exp(of_return.ceiling[:, k]) - offset
    if not posterior.has_losses:
        bounds["highest return"] = np.exp(-law.level[:, k]) / law.floor[:, k] - offset
    reached = posterior.predict(
        recommendation.params, recommendation.samples, group=name, unique_samples=recommendation.unique_samples
    )
    chains, length = next(iter(posterior.draws.values())).shape[:2]
    view = np.repeat(np.arange(chains) % len(LOCALITIES), length)
    rows = []
    for bound, draws in bounds.items():
        if np.ptp(draws) <= _KNOWN * abs(float(draws[0])):
            continue
        row: dict[str, object] = {"bound": bound, "value": float(np.median(draws))}
        for target, values in (("loss", reached.loss), ("return", reached.returns)):
            now = after = np.nan
            if values is not None and not (target == "loss" and bound == "highest return"):
                now = float(np.median(values))
                above = offset if target == "return" else 0.0
                slope = _slope(np.log(np.maximum(draws, 1e-12)), np.log(values[:, 0] + above), view)
                after = float((now + above) * (1 - part) ** slope - above)
            row |= {target: now, f"{target}_if": after}
        rows.append(row)
    columns = ["bound", "value", "loss", "loss_if", "return", "return_if"]
    return pd.DataFrame(rows, columns=columns)


def _slope(x: np.ndarray, y: np.ndarray, view: np.ndarray) -> float:
    """Of the regression of y on x within views; 0 where x does not vary."""
    for v in np.unique(view):
        own = view == v
        x, y = np.where(own, x - x[own].mean(), x), np.where(own, y - y[own].mean(), y)
    return float(x @ y / (x @ x)) if x @ x > 1e-12 * len(x) else 0.0


@dataclass(frozen=True, kw_only=True)
class Enough:
    """What it takes to tell two mean returns apart, at 5% two-sided and with a power of 80%."""

    games: int | None
    """Games of each of two policies; None where the table does not say how returns of single games scatter."""
    trainings: int
    """Trainings of each of two recipes, with so many games each that only the spread between trainings remains."""


def enough_to_tell(posterior: Posterior, group: str, part: float = 0.1) -> Enough | None:
    """What it takes to tell returns apart that differ by a part; None in a table without returns.

    Returns count from the lowest of the table where that is negative.
    """
    if not posterior.has_returns:
        return None
    needed = 2 * (_CONFIDENT / np.log1p(part)) ** 2
    table, k = posterior.runs.group_table(group), posterior.groups.index(group)
    noise = posterior.parameters.return_noise if posterior.has_losses else posterior.parameters.noise
    spread = np.asarray(noise["spread" if posterior.has_losses else "noise"])[:, k]
    lowest = max(0.0, -float(table["return_mean"].min()))
    variation: float | None = None
    if {"return_se", "episodes"} <= set(table) and (known := table.dropna(subset=["return_se", "episodes"])).size:
        top = known[known["flops"] >= known["flops"].quantile(0.75)]
        variation = float((top["return_se"] * np.sqrt(top["episodes"]) / (top["return_mean"] + lowest)).median())
    elif "episodes" in table and table["episodes"].notna().any():
        variation = float(np.median(noise["episode_cv"]))
    games = int(np.ceil(needed * variation**2)) if variation else None
    return Enough(games=games, trainings=int(np.ceil(needed * np.median(spread) ** 2)))
