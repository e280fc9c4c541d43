"""How far a law can be trusted beyond the data, learned from how it would have done inside them.

Beyond the largest compute of a table the frontier may fall faster or slower than any law says. h factors of ten ahead,
the fall of its log loss since the end of the data is multiplied by

    exp(centre + scale · sqrt(h) · t)        t Student with `DOF` degrees of freedom

The rows say nothing about it directly. What they can say is how the law, fitted to the lower budgets of this table,
would have forecast its upper ones: hindcasts. Each is a fit by its posterior mode, from an origin half a factor of ten
before the next, and gives log(actual fall / predicted fall).

- centre: a third of the newest hindcast's error. On eight published tables errors of one origin persisted to the next,
  older ones did not; a third was best, and no shift at all or half of the error were worse (benchmarks/LOG.md).
- scale: `SCALE` where the table is too short for hindcasts, else between `LEAST` and `MOST`, by what hindcasts missed
  beyond the law's own uncertainty. The prior counts as much as `PRIOR_WEIGHT` fresh hindcasts; the weight of a hindcast
  falls by e per factor of ten of its age.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from numpyro.infer.util import constrain_fn, potential_energy
from scipy import stats
from scipy.optimize import minimize

from forecast.bayes.compiled import keep_compilations
from forecast.bayes.data import Data, Spec
from forecast.bayes.encode import Encoding, encode
from forecast.bayes.evaluate import law_on_points
from forecast.bayes.laws import LossLaw
from forecast.bayes.model import parameters_of, run_model
from forecast.bayes.sites import as_jax, packed, sites_of, start_point, unpacked
from forecast.errors import ForecastError
from forecast.numbers import decimals
from forecast.runs.cost import group_costs
from forecast.runs.table import Runs

SCALE = 0.13
"""Of the pace where the table tells nothing. Chosen on back-tests of the bundled tables (benchmarks/LOG.md)."""
LEAST, MOST = 0.08, 0.2
"""Bounds of a scale learned from hindcasts."""
DOF = 3.0
"""Degrees of freedom of the pace."""
OPTIMUM_SD = 0.1
"""Standard deviation of the log of the best size on a budget around the law's, inside the data; times sqrt(1 + h) h
factors of ten beyond them. A smooth law misses the optimum of a real table by that much, however many rows it has:
without it, 90% intervals of N* covered 81% beyond the cut-off over nine published tables, and a third on one of 400
clean rows; with it 92%, and the CRPS of log N* is a little lower (benchmarks/LOG.md)."""
PRIOR_WEIGHT = 2.0
"""Of the prior scale, in hindcasts of age 0."""
CARRIED = 1 / 3
"""Part of the newest hindcast's error that is carried beyond the data."""
_HINDCASTS = 4
_STEP = 0.5  # factors of ten of compute between origins
_FIRST, _FURTHEST = 0.3, 2.0  # how far ahead of its origin a hindcast is scored, in factors of ten
_BEHIND = 1.5  # factors of ten of compute that an origin needs behind it
_NEAR = 0.05  # log loss above the best at the same compute, up to which a row is of the frontier
_WORST = 0.7  # an error beyond a factor of two tells no more than that
_SEARCH = 300  # iterations of a search for a mode


class Pace(NamedTuple):
    """By how much the frontier may fall faster or slower than the law says, beyond the data."""

    centre: float = 0.0
    """Of the log of the factor."""
    scale: float = SCALE
    """Of the log of the factor, one factor of ten ahead."""
    hindcasts: int = 0
    """Number of hindcasts it was learned from; 0: the prior."""

    @property
    def factors(self) -> tuple[float, float]:
        """90% interval of the factor one factor of ten ahead."""
        reach = float(stats.t.ppf(0.95, DOF)) * self.scale
        return float(np.exp(self.centre - reach)), float(np.exp(self.centre + reach))

    @property
    def sentence(self) -> str:
        """What it is and where it comes from."""
        low, high = (decimals(x, 2) for x in self.factors)
        source = (
            f"learned from {self.hindcasts} hindcast{'s' if self.hindcasts > 1 else ''}: fits to smaller budgets of "
            "this table, compared with its larger ones"
            if self.hindcasts
            else "the general allowance, because the table is too short to compare fits to smaller budgets with its "
            "larger ones"
        )
        return f"{low} to {high} times what the law says over the next factor of ten of compute (90%), {source}."


class Hindcast(NamedTuple):
    """What the law said at an origin, and what happened."""

    age: float
    """Factors of ten of compute from the origin to the end of the table."""
    ahead: float
    """Factors of ten of compute from the origin to the last row scored."""
    error: float
    """log(actual fall / predicted fall) of the frontier's log loss."""


def learned_pace(hindcasts: list[Hindcast], law_sd: float) -> Pace:
    """The pace of a group.

    hindcasts: newest first.
    law_sd: standard deviation, over the posterior, of the log of the law's fall over the next factor of ten: what the
        law is unsure of by itself.
    """
    if not hindcasts:
        return Pace()
    age, ahead, error = np.array(hindcasts).T
    weight = np.exp(-age)
    missed = (error**2 - law_sd**2) / np.maximum(0.7 * ahead, 0.3)  # rows lie around 0.7 of the way to the last one
    variance = (PRIOR_WEIGHT * SCALE**2 + weight @ missed) / (PRIOR_WEIGHT + weight.sum())
    scale = float(np.clip(np.sqrt(max(variance, 0.0)), LEAST, MOST))
    return Pace(centre=float(CARRIED * error[0]), scale=scale, hindcasts=len(hindcasts))


def hindcasts(runs: Runs, law: str) -> list[Hindcast]:
    """Hindcasts of a table of one group, newest first; none where it is too short, or has no losses.

    law: one of `forecast.bayes.LAWS`.
    """
    if not runs.has_losses:
        return []
    log_c = np.log10(runs.table["flops"].to_numpy(float))
    spec = Spec(law=law, groups=1, trajectories=runs.has_trajectories, returns=False, losses=True)
    excess = runs.frontier_excess()
    whole = len(encode(runs).data.weight)
    found: list[Hindcast] = []
    for behind in _FIRST + _STEP * np.arange(_HINDCASTS):
        past = log_c <= log_c.max() - behind + 1e-9
        if not past.any() or log_c[past].max() - log_c.min() < _BEHIND - 1e-9:
            break
        ahead = log_c - log_c[past].max()
        later = (ahead > _FIRST - 1e-9) & (ahead <= _FURTHEST + 1e-9) & (excess < _NEAR).to_numpy()
        below = runs.subset(past)
        if later.any() and below.table["params"].nunique() >= 3 and past.sum() >= 8:
            error = _missed(below, runs.subset(later), spec, whole)
            if error is not None:
                found.append(Hindcast(log_c.max() - log_c[past].max(), float(ahead[later].max()), error))
    return found


def _missed(past: Runs, later: Runs, spec: Spec, rows: int) -> float | None:
    """log(actual fall / predicted fall) of the frontier's log loss, None where no law could be fitted."""
    try:
        encoding = encode(past)
    except ForecastError:
        return None
    name = past.groups[0]
    reference, cost, table = encoding.references[name], group_costs(past)[name], later.table
    sizes = np.geomspace(past.table["params"].min() / 10, past.table["params"].max() * 10, 81)
    top = past.table["flops"].max()
    modes = posterior_modes(spec, encoding, rows)

    def log_loss(params: Any, samples: Any) -> np.ndarray:
        """By the mode of each locality, [L, P]."""
        return law_on_points(modes, np.log(params / reference.params), np.log(samples / reference.samples))

    reached = log_loss(sizes, top / cost(sizes)).min(axis=1)
    predicted = reached.mean() - log_loss(table["params"].to_numpy(), table["samples"].to_numpy()).mean(axis=0)
    actual = reached.mean() - np.log(table["loss"].to_numpy())
    # Budgets count alike, however many rows each has.
    budget = np.ceil(np.log10(table["flops"].to_numpy() / top) / _STEP - 1e-6)
    weight = 1 / np.array([np.sum(budget == b) for b in budget])
    fall = weight @ predicted
    if not np.isfinite(fall) or fall <= 0:
        return None
    return float(np.clip(np.log(max(weight @ actual / fall, 1e-3)), -_WORST, _WORST))


def posterior_modes(spec: Spec, encoding: Encoding, rows: int = 0) -> LossLaw:
    """The law at the posterior mode (of unconstrained parameters), for each of `LOCALITIES`: arrays [L, ...].

    spec: of one group.
    rows: the arrays are padded to this many rows, so that tables of different length share a compilation.
    """
    keep_compilations()
    data = _padded(encoding.data, rows)
    laws = []
    with jax.enable_x64(True):
        data = as_jax(data)
        energy, law_at = _programs(spec)
        start = np.asarray(ravel_pytree(start_point(spec, data, jax.random.PRNGKey(0)))[0])
        for weight in encoding.weights:
            weighed = data._replace(weight=jnp.zeros_like(data.weight).at[: len(weight)].set(weight))

            def value_and_slope(x: np.ndarray, weighed: Data = weighed) -> tuple[float, np.ndarray]:
                value, slope = energy(x, weighed)
                return float(value), np.asarray(slope)

            found = minimize(value_and_slope, start, jac=True, method="L-BFGS-B", options={"maxiter": _SEARCH})
            laws.append(law_at(found.x, weighed))
    return jax.tree.map(lambda *x: np.stack([np.asarray(one)[0] for one in x]), *laws)


def _padded(data: Data, rows: int) -> Data:
    """The data with rows of weight 0 appended."""
    n = len(data.weight)
    filled: Mapping[str, Any] = {
        field: np.concatenate([x, np.repeat(x[-1:], rows - n)]) for field, x in data._asdict().items() if len(x) == n
    }
    return data._replace(**filled) if rows > n else data


@functools.lru_cache(maxsize=16)
def _programs(spec: Spec) -> tuple[Callable, Callable]:
    """(vector, data) -> minus the log density of the posterior and its gradient; (vector, data) -> the law."""

    def values(vector: Any, data: Data) -> dict[str, Any]:
        sites = jax.tree.map(jnp.zeros_like, sites_of(spec, data))
        return unpacked(sites, ravel_pytree(packed(sites))[1](vector))

    def energy(vector: Any, data: Data) -> Any:
        return potential_energy(run_model, (data, spec), {}, values(vector, data))

    def law_at(vector: Any, data: Data) -> LossLaw:
        constrained = constrain_fn(run_model, (data, spec), {}, values(vector, data))
        return parameters_of(spec, data, constrained).law

    return jax.jit(jax.value_and_grad(energy)), jax.jit(law_at)
