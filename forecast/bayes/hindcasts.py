"""How well the law, fitted to the lower budgets of a table, would have forecast its upper ones.

A hindcast is a fit by its posterior mode to the rows below an origin, half a factor of ten of compute before the next
origin. It gives log(actual fall / predicted fall) of the frontier's log loss beyond that origin.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from forecast.bayes.modes import posterior_modes
from forecast.bayes.pace import Hindcast
from forecast.errors import ForecastError
from forecast.model.data import Spec
from forecast.model.encode import encode
from forecast.model.evaluate import law_on_points
from forecast.model.laws import log_worth
from forecast.runs.cost import group_costs
from forecast.runs.table import Runs, distinct_samples

_HINDCASTS = 4
_STEP = 0.5  # factors of ten of compute between origins
_FIRST, _FURTHEST = 0.3, 2.0  # how far ahead of its origin a hindcast is scored, in factors of ten
_BEHIND = 1.5  # factors of ten of compute that an origin needs behind it
_NEAR = 0.05  # log loss above the best at the same compute, up to which a row is of the frontier
_WORST = 0.7  # an error beyond a factor of two tells no more than that


def hindcasts(runs: Runs, law: str, expert_loss: Mapping[str, float] | None = None) -> list[Hindcast]:
    """Hindcasts of a table of one group, newest first; none where it is too short, or has no losses.

    law: one of `forecast.model.LAWS`.
    expert_loss: loss of the demonstrator itself (nats) by group, where known.
    """
    if not runs.has_losses:
        return []
    log_c = np.log10(runs.table["flops"].to_numpy(float))
    encoding = encode(runs)
    spec = Spec(
        law=law,
        groups=1,
        trajectories=runs.has_trajectories,
        returns=False,
        losses=True,
        repeats=encoding.repeats,
        experts=bool(expert_loss),
    )
    excess = runs.frontier_excess()
    whole = len(encoding.data.weight)
    found: list[Hindcast] = []
    for behind in _FIRST + _STEP * np.arange(_HINDCASTS):
        past = log_c <= log_c.max() - behind + 1e-9
        if not past.any() or log_c[past].max() - log_c.min() < _BEHIND - 1e-9:
            break
        ahead = log_c - log_c[past].max()
        later = (ahead > _FIRST - 1e-9) & (ahead <= _FURTHEST + 1e-9) & (excess < _NEAR).to_numpy()
        below = runs.subset(past)
        if later.any() and below.table["params"].nunique() >= 3 and past.sum() >= 8:
            error = _missed(below, runs.subset(later), spec, whole, expert_loss)
            if error is not None:
                found.append(Hindcast(log_c.max() - log_c[past].max(), float(ahead[later].max()), error))
    return found


def _missed(past: Runs, later: Runs, spec: Spec, rows: int, expert_loss: Mapping[str, float] | None) -> float | None:
    """log(actual fall / predicted fall) of the frontier's log loss, None where no law could be fitted."""
    try:
        encoding = encode(past, expert_loss=expert_loss)
    except ForecastError:
        return None
    name = past.groups[0]
    reference, cost, table = encoding.references[name], group_costs(past)[name], later.table
    sizes = np.geomspace(past.table["params"].min() / 10, past.table["params"].max() * 10, 81)
    top = past.table["flops"].max()
    modes = posterior_modes(spec, encoding, rows)

    def log_loss(params: Any, samples: Any, distinct: Any) -> np.ndarray:
        """By the mode of each locality, [L, P]; samples are seen again where there are fewer distinct ones."""
        u, v = np.log(params / reference.params), np.log(samples / reference.samples)
        if modes.repeats is not None:
            v = v + log_worth(np.log(samples / distinct), np.asarray(modes.repeats)[:, None])
        return law_on_points(modes, u, v)

    reached = log_loss(sizes, top / cost(sizes), distinct_samples(past.table).max()).min(axis=1)
    made = log_loss(table["params"].to_numpy(), table["samples"].to_numpy(), distinct_samples(table).to_numpy())
    predicted = reached.mean() - made.mean(axis=0)
    actual = reached.mean() - np.log(table["loss"].to_numpy())
    # Budgets count alike, however many rows each has.
    budget = np.ceil(np.log10(table["flops"].to_numpy() / top) / _STEP - 1e-6)
    weight = 1 / np.array([np.sum(budget == b) for b in budget])
    fall = weight @ predicted
    if not np.isfinite(fall) or fall <= 0:
        return None
    return float(np.clip(np.log(max(weight @ actual / fall, 1e-3)), -_WORST, _WORST))
