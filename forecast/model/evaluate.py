"""The laws of all draws evaluated at many points."""

import numpy as np

from forecast.model.laws import LossLaw, ReturnLaw, each, log_loss, log_return
from forecast.model.parameters import SCALE_KNOTS, SKILL_KNOTS

# In numpy: compiling for jax, or only importing it, takes longer than a few million points.
_POINTS = 50_000  # computed at a time where each needs some numbers a knot


def law_on_points(law: LossLaw, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Log loss [S, P] by the law of every draw [S, ...] at u = log N/N0 [P] and v = log D/D0 [P] or [S, P]."""
    if v.ndim == 1:
        with np.errstate(all="ignore"):
            return np.asarray(log_loss(law, u, v, SCALE_KNOTS))
    value = np.empty(v.shape)
    step = max(1, _POINTS // v.shape[1])
    with np.errstate(all="ignore"):
        for rows in (slice(start, start + step) for start in range(0, len(v), step)):
            value[rows] = log_loss(each(law, lambda x, rows=rows: x[rows]), u, v[rows], SCALE_KNOTS)
    return value


def return_on_draws(law: ReturnLaw, skill: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Log shifted return by the law of every draw at skill = log(reference loss / loss), u = log N/N0; all [S, P]."""
    value = np.empty(skill.shape)
    step = max(1, _POINTS // skill.shape[1])
    with np.errstate(all="ignore"):
        for rows in (slice(start, start + step) for start in range(0, len(skill), step)):
            value[rows] = log_return(each(law, lambda x, rows=rows: x[rows]), skill[rows], u[rows], SKILL_KNOTS)
    return value
