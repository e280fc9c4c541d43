"""What experiments would teach, from draws of what they would measure and of what is to be decided.

Draws s of a posterior give the decision's losses f_s [P], one an option, and what each experiment j would measure,
y_s [J], without noise. With a noise drawn for each they are pairs of a truth and what would be measured under it, and
the regression of f on what is measured is the posterior mean of f given the measurement. The option that is best by
that mean is taken, and what it gives away against the best of its own truth is averaged over the draws: the expected
value of sample information by regression (Strong, Oakley, Brennan and Breeze, 2015, Medical Decision Making 35,
570-583), a way to do preposterior analysis (Raiffa and Schlaifer, 1961, Applied Statistical Decision Theory). No draw
has a say in the regression that decides for it, so that regrets are those of a rule which could be followed.

Views of a posterior, which weigh rows differently and keep their part of it whatever is measured, each learn by their
own regression, from results that they hold possible. What is true in one is paired with what is true in the other by
the rank of how much larger options gain on smaller ones, so that they agree on that as far as they can.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_MOST_COMPONENTS = 4  # of what is measured: its level, its slope over sizes, its curvature, and one more
_DRAWS_A_TERM = 15  # in a regression, at least
_FAR = 3.0  # standard deviations, at which a component is cut off


@dataclass(frozen=True, kw_only=True, eq=False)
class ViewDraws:
    """One view: S draws, P options from small to large, J experiments."""

    f: np.ndarray
    """Log loss of each option (log nats) [S, P]."""
    y: np.ndarray
    """Log loss that each experiment would measure, without noise (log nats) [S, J]."""
    noise: np.ndarray
    """Variance of each measured log loss [J], inf where it has no weight."""

    @property
    def rank(self) -> np.ndarray:
        """Of each draw [S], 0 to 1, by what the largest option loses over the smallest."""
        order = np.argsort(self.f[:, -1] - self.f[:, 0], kind="stable")
        rank = np.empty(len(order))
        rank[order] = (np.arange(len(order)) + 0.5) / len(order)
        return rank


def regrets(
    views: Sequence[ViewDraws],
    order: Sequence[int],
    *,
    rising: bool = False,
    after: Sequence[int] | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Expected regret before any experiment and after each of `order` [len(order) + 1].

    Regret: relative excess over the least loss, or with `rising` the relative shortfall of what the loss is the
    reciprocal of.
    after: only after so many of them.
    """
    columns, count = list(order), max(len(view.f) for view in views)
    luck = np.random.default_rng([seed, 11]).standard_normal((count, len(columns)))
    ranks = [view.rank for view in views]
    truths = [np.argsort(rank)[((np.arange(count) + 0.5) / count * len(rank)).astype(int)] for rank in ranks]
    parts = np.array([len(view.f) for view in views]) / sum(len(view.f) for view in views)
    measured = []
    for view, rank in zip(views, ranks, strict=True):
        informative = np.isfinite(view.noise[columns])
        sd = np.sqrt(np.where(informative, view.noise[columns], 0.0))
        # Equal luck for equal ranks: one measurement is seen by all views.
        results = view.y[:, columns] + sd * luck[(rank * count).astype(int)]
        measured.append(np.where(informative, results, 0.0))
    expected_regrets = []
    for made in range(len(columns) + 1) if after is None else after:
        means = [expected(view.f, y[:, :made])[t] for view, y, t in zip(views, measured, truths, strict=True)]
        choice = np.argmin(sum(part * mean for part, mean in zip(parts, means, strict=True)), axis=1)
        excess = [view.f[t, choice] - view.f[t].min(axis=1) for view, t in zip(views, truths, strict=True)]
        regret_by_view = [(-np.expm1(-x) if rising else np.expm1(x)).mean() for x in excess]
        expected_regrets.append(float(parts @ regret_by_view))
    return np.array(expected_regrets)


def expected(f: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Means of f [S, P] given what is measured [S, J], each draw's by the regression on one half of the others.

    Quadratic in the leading principal components of what is measured, as many as the draws allow.
    """
    varying = measured[:, measured.std(axis=0) > 0]
    if not varying.shape[1]:
        return np.repeat(f.mean(axis=0)[None], len(f), axis=0)
    means = np.empty_like(f)
    for own, others in ((slice(0, None, 2), slice(1, None, 2)), (slice(1, None, 2), slice(0, None, 2))):
        centre, spread = varying[others].mean(axis=0), varying[others].std(axis=0)
        x = (varying - centre) / np.where(spread > 0, spread, 1.0)
        axes = np.linalg.svd(x[others], full_matrices=False)[2][: _components(len(x[others]))]
        z = x @ axes.T
        z = np.clip(z / np.maximum(z[others].std(axis=0), 1e-12), -_FAR, _FAR)
        pairs = [z[:, i] * z[:, j] for i in range(z.shape[1]) for j in range(i + 1)]
        terms = np.column_stack([np.ones(len(z)), z, *pairs])
        means[own] = terms[own] @ np.linalg.lstsq(terms[others], f[others], rcond=None)[0]
    return means


def _components(draws: int) -> int:
    """How many components a quadratic regression on so many draws can have."""
    able = [n for n in range(1, _MOST_COMPONENTS + 1) if _DRAWS_A_TERM * (1 + n + n * (n + 1) // 2) <= draws]
    return max(able, default=1)
