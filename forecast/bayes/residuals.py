r"""What a law leaves unexplained, carried from the rows of a table to the end of a run that is under way.

A draw of the posterior leaves a residual in every row. Residuals of log loss are taken for a Gaussian process over log
size u and log samples v: a smooth part that all runs have in common, since a law misfits neighbours alike, a part of
one training that fades along its samples, and the noise of a measurement. With the standard deviation n of a run's
noise by the posterior,

    cov = s² · m(|(Δu/lu, Δv/lv)|) + [same training] · (t² n n' · exp(-|Δv|/lt)) + [same row] · (q n)²,

m being the Matérn correlation of order 3/2. The law of the posterior is not given this freedom (it would then take the
effect of size for noise), so that beyond the data its forecast stays what it is. s, lu, lv, t, lt and q are those of
highest posterior density for the residuals of the posterior's middle, under log-normal priors. Rasmussen and Williams
(2006), Gaussian Processes for Machine Learning, chapters 2 and 5.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from forecast.bayes.posterior import Posterior
from forecast.model.laws import noise_scale
from forecast.runs.table import distinct_samples

_LOG_CENTRES = np.log([0.005, 2.0, 2.0, 1.0, 3.0, 0.3])  # of s, lu, lv, t, lt, q
_LOG_SDS = np.array([1.0, 0.7, 0.7, 0.7, 0.7, 0.7])
_JITTER = 1e-10  # variance added to every row, for the factorisation


@dataclass(frozen=True)
class _Rows:
    """Rows, or points where a loss is to be forecast."""

    u: np.ndarray
    """Log size [n]."""
    v: np.ndarray
    """Log samples [n]."""
    run: np.ndarray
    """Name of the training [n]."""
    noise: np.ndarray
    """Standard deviation of a run's log loss by the posterior [n]."""


def end_of_run(posterior: Posterior, run: str, samples: ArrayLike, *, group: str | None = None) -> np.ndarray:
    """Log loss of a run after each of `samples` [T], given its checkpoints and all other rows: [S, T].

    run: one of the trainings of the group, whose rows up to there are in the posterior's table. The luck of a draw is
    the same at every end.
    """
    name, ends = posterior.group_name(group), np.atleast_1d(np.asarray(samples, float))
    table = posterior.runs.group_table(name)
    own = table[table["run"] == run].sort_values("samples")
    known = _known(posterior, table, own)
    size = np.full(ends.size, float(own["params"].iloc[-1]))
    params, seen = np.append(known["params"], size), np.append(known["samples"], ends)
    law = posterior.log_loss(params, seen, group=name, unique_samples=_distinct(posterior, known, own, ends))
    names = np.append(known["run"].to_numpy(object), [run] * ends.size)
    every = _Rows(np.log(params), np.log(seen), names, _noise(posterior, name, law))
    rows, end = (_part(every, part) for part in (slice(None, -ends.size), slice(-ends.size, None)))
    residuals = np.log(known["loss"].to_numpy(float)) - law[:, : -ends.size]
    settings = _settings(rows, np.median(residuals, axis=0))
    within = cho_factor(_covariance(settings, rows, rows) + np.diag(_own_variance(settings, rows)), lower=True)
    between = _covariance(settings, rows, end)
    gain = cho_solve(within, between)
    left = np.diag(_covariance(settings, end, end)) + _own_variance(settings, end) - (between * gain).sum(axis=0)
    luck = np.random.default_rng([posterior.seed, 13]).standard_normal(len(law))
    return law[:, -ends.size :] + residuals @ gain + np.sqrt(np.maximum(left, 0.0)) * luck[:, None]


def _known(posterior: Posterior, table: pd.DataFrame, own: pd.DataFrame) -> pd.DataFrame:
    """The rows that count in the fit, and the last one of the run in any case."""
    weights = posterior.encoding.row_weights.weights.reindex(table.index).fillna(0.0).max(axis=1)
    return table[(weights > 0) | (table.index == own.index[-1])]


def _distinct(posterior: Posterior, known: pd.DataFrame, own: pd.DataFrame, ends: np.ndarray) -> np.ndarray | None:
    """Distinct samples of the rows and of the run at its ends [n + T]; None in a table that saw no sample twice.

    A run that has begun to see samples again sees no new ones.
    """
    if not posterior.spec.repeats:
        return None
    last, so_far = float(own["samples"].iloc[-1]), float(distinct_samples(own).iloc[-1])
    return np.append(distinct_samples(known), np.full(ends.size, so_far) if so_far < last else ends)


def _noise(posterior: Posterior, group: str, law: np.ndarray) -> np.ndarray:
    """Median over draws of the standard deviation of a run's log loss [n], where the law is [S, n]."""
    k, noise = posterior.groups.index(group), posterior.parameters.noise
    rise = law - np.asarray(posterior.parameters.law.level)[:, k, None]
    scale = noise_scale(np.asarray(noise["noise"])[:, k, None], np.asarray(noise["noise_growth"])[:, None], rise)
    return np.median(scale, axis=0)


def _part(rows: _Rows, part: slice) -> _Rows:
    return _Rows(rows.u[part], rows.v[part], rows.run[part], rows.noise[part])


def _covariance(log_settings: np.ndarray, a: _Rows, b: _Rows) -> np.ndarray:
    """Of what two sets of rows have in common, the last term of the sum left out: [n, m]."""
    s, lu, lv, t, lt, _ = np.exp(log_settings)
    away = np.sqrt(3) * np.hypot((a.u[:, None] - b.u) / lu, (a.v[:, None] - b.v) / lv)
    of_training = t**2 * np.outer(a.noise, b.noise) * np.exp(-np.abs(a.v[:, None] - b.v) / lt)
    return s**2 * (1 + away) * np.exp(-away) + (a.run[:, None] == b.run) * of_training


def _own_variance(log_settings: np.ndarray, rows: _Rows) -> np.ndarray:
    return (np.exp(log_settings[-1]) * rows.noise) ** 2 + _JITTER


def _settings(rows: _Rows, residual: np.ndarray) -> np.ndarray:
    """Logs of s, lu, lv, t, lt and q of highest posterior density."""

    def energy(log_settings: np.ndarray) -> float:
        within = _covariance(log_settings, rows, rows) + np.diag(_own_variance(log_settings, rows))
        try:
            factor = cho_factor(within, lower=True)
        except np.linalg.LinAlgError:
            return 1e9
        of_rows = 0.5 * residual @ cho_solve(factor, residual) + np.log(np.diag(factor[0])).sum()
        return float(of_rows + 0.5 * (((log_settings - _LOG_CENTRES) / _LOG_SDS) ** 2).sum())

    return minimize(energy, _LOG_CENTRES, method="L-BFGS-B", options={"maxiter": 60}).x
