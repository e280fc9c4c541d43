"""How far a law can be trusted beyond the data, learned from how it would have done inside them.

Beyond the largest compute of a table the frontier may fall faster or slower than any law says. h factors of ten ahead,
the fall of its log loss since the end of the data is multiplied by

    exp(centre + scale · sqrt(h) · t)        t Student with `DOF` degrees of freedom

The rows say nothing about it directly. What they can say is how the law, fitted to the lower budgets of this table,
would have forecast its upper ones: `forecast.bayes.hindcasts`.

- centre: a third of the newest hindcast's error. On eight published tables errors of one origin persisted to the next,
  older ones did not; a third was best, and no shift at all or half of the error were worse (benchmarks/LOG.md).
- scale: `SCALE` where the table is too short for hindcasts, else between `LEAST` and `MOST`, by what hindcasts missed
  beyond the law's own uncertainty. The prior counts as much as `PRIOR_WEIGHT` fresh hindcasts; the weight of a hindcast
  falls by e per factor of ten of its age.
"""

from typing import NamedTuple

import numpy as np

from forecast.numbers import decimals

SCALE = 0.13
"""Of the pace where the table tells nothing. Chosen on back-tests of the bundled tables (benchmarks/LOG.md)."""
LEAST, MOST = 0.08, 0.2
"""Bounds of a scale learned from hindcasts."""
DOF = 3.0
"""Degrees of freedom of the pace."""
PRIOR_WEIGHT = 2.0
"""Of the prior scale, in hindcasts of age 0."""
CARRIED = 1 / 3
"""Part of the newest hindcast's error that is carried beyond the data."""


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
        from scipy import stats

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
