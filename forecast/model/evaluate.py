"""The laws of all draws evaluated at many points."""

import numpy as np

from forecast.model.laws import LossLaw, ReturnLaw, log_loss, log_return
from forecast.model.parameters import SCALE_KNOTS, SKILL_KNOTS

# In numpy: compiling for jax, or only importing it, takes longer than a few million points.


def law_on_points(law: LossLaw, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Log loss [S, P] by the law of every draw [S, ...] at u = log N/N0 and v = log D/D0 [P]."""
    with np.errstate(all="ignore"):
        return np.asarray(log_loss(law, u, v, SCALE_KNOTS))


def return_on_draws(law: ReturnLaw, skill: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Log shifted return by the law of every draw at skill = log(reference loss / loss), u = log N/N0; all [S, P]."""
    with np.errstate(all="ignore"):
        return np.asarray(log_return(law, skill, u, SKILL_KNOTS))
