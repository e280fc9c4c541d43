"""The laws of all draws evaluated at many points, in double precision."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from forecast.model.laws import LossLaw, ReturnLaw, bounded_return, log_loss
from forecast.model.priors import SCALE_KNOTS, SKILL_KNOTS


@jax.jit
def _jitted_law(law: Any, u: Any, v: Any) -> Any:
    return jax.vmap(lambda draw: log_loss(draw, u, v, SCALE_KNOTS))(law)


def law_on_points(law: LossLaw, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Log loss [S, P] by the law of every draw [S, ...] at u = log N/N0 and v = log D/D0 [P]."""
    with jax.enable_x64(True):
        return np.asarray(_jitted_law(law, jnp.asarray(u), jnp.asarray(v)))


@jax.jit
def _jitted_return(law: ReturnLaw, skill: Any, u: Any) -> Any:
    signal = law.level[:, None] + jnp.einsum("spk,sk->sp", SKILL_KNOTS.integral_weights(skill), law.elasticity)
    bounds = law._replace(floor=law.floor[:, None], ceiling=law.ceiling[:, None])
    return bounded_return(bounds, signal + law.size[:, None] * u)


def return_on_draws(law: ReturnLaw, skill: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Log shifted return by the law of every draw at skill = log(reference loss / loss), u = log N/N0; all [S, P]."""
    with jax.enable_x64(True):
        return np.asarray(_jitted_return(law, jnp.asarray(skill), jnp.asarray(u)))
