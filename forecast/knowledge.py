"""What experiments would teach, from draws of what they would measure and of what is to be decided.

Draws s of a posterior give the decision's losses f_s [P], one an option, and what each experiment j would measure,
y_s [J], without noise. Given a measurement of j the draws are updated as if all were jointly Gaussian:

    f | y_j  =  f_s + k_j · (y_j - y_s,j - noise_s),      k_j = Cov(f, y_j) / (Var(y_j) + noise variance of j)

which is Matheron's rule (Wilson et al., 2020, arXiv 2002.09309): every draw moves, and keeps the same weight. Weights
by likelihood in its place, exact in theory, leave a handful of draws standing after three precise measurements, and
what a handful says of a minimum is noise. The price is that curvature of f in y is not followed.

What a decision would lose before and after, averaged over what may be measured, is preposterior analysis (Raiffa and
Schlaifer, 1961, Applied Statistical Decision Theory; Chaloner and Verdinelli, 1995, Statistical Science 10, 273-304).

Views of a posterior, which weigh rows differently and keep their part of it whatever is measured, each learn by their
own covariances and noise, and from results that they hold possible. What is true in one is paired with what is true in
the other by the rank of how much larger options gain on smaller ones, so that they agree on that as far as they can.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True, eq=False)
class Draws:
    """One view: S draws, P options from small to large, J experiments.

    f: log loss of each option [S, P]. y: what each experiment would measure, without noise [S, J]. noise: variance of
    each measurement [J], inf where it says nothing.
    """

    f: np.ndarray
    y: np.ndarray
    noise: np.ndarray

    def part(self, which: slice) -> "Draws":
        """Some of the draws."""
        return Draws(f=self.f[which], y=self.y[which], noise=self.noise)

    def ranked(self, truths: int) -> np.ndarray:
        """Draws to be taken as the truth [T], by the rank of what the largest option loses over the smallest."""
        order = np.argsort(self.f[:, -1] - self.f[:, 0], kind="stable")
        return order[((np.arange(truths) + 0.5) / truths * len(order)).astype(int)]


class Knowledge:
    """Covariances of options and experiments in a view, as they are once some of the experiments have been made."""

    def __init__(self, draws: Draws) -> None:
        around_f, around_y = draws.f - draws.f.mean(axis=0), draws.y - draws.y.mean(axis=0)
        self._noise = draws.noise
        self._of_f = around_f.T @ around_y / (len(draws.f) - 1)  # [P, J]
        self._of_y = around_y.T @ around_y / (len(draws.f) - 1)  # [J, J]

    def moves(self, j: int) -> tuple[np.ndarray, np.ndarray]:
        """How a surprise of 1 in experiment j moves the options [P] and what is expected of the experiments [J]."""
        spread = max(float(self._of_y[j, j]), 0.0) + float(self._noise[j])
        return self._of_f[:, j] / spread, self._of_y[:, j] / spread

    def learn(self, j: int) -> None:
        """Experiment j has been made."""
        of_f, of_y = self.moves(j)
        row = self._of_y[j].copy()
        self._of_f = self._of_f - np.outer(of_f, row)
        self._of_y = self._of_y - np.outer(of_y, row)


def regrets(
    views: Sequence[Draws], order: Sequence[int], *, rising: bool = False, truths: int = 100, seed: int = 0
) -> np.ndarray:
    """Expected regret before any experiment and after each of `order` [len(order) + 1].

    Each of `truths` draws is taken as the truth, its results are imagined, all draws are updated with them, and the
    option of least expected regret is taken. Regret: relative excess over the least loss, or with `rising` the relative
    shortfall of what the loss is the reciprocal of.
    """
    rng, columns = np.random.default_rng([seed, 11]), list(order)
    lucks = _standard(rng, (truths, max(len(columns), 1)))
    paths = [_updated(draws, columns, draws.ranked(truths), lucks, rng) for draws in views]
    return np.array([_regret(np.concatenate(options, axis=1), rising) for options in zip(*paths, strict=True)])


def _updated(
    draws: Draws, order: list[int], true: np.ndarray, lucks: np.ndarray, rng: np.random.Generator
) -> list[np.ndarray]:
    """Options of every draw under every truth [T, S, P], at first and after each experiment."""
    known = Knowledge(draws)
    options = np.repeat(draws.f[None], len(true), axis=0)
    expected = np.repeat(draws.y[None][..., order], len(true), axis=0)  # [T, S, len(order)]
    found = [options]
    for step, j in enumerate(order):
        of_f, of_y = known.moves(j)
        sd = _sd(draws.noise)[j]
        result = draws.y[true, j] + sd * lucks[:, step]
        imagined = expected[..., step] + sd * _standard(rng, (len(draws.f), len(true))).T
        surprise = (result[:, None] - imagined)[..., None]
        options = options + surprise * of_f
        expected = expected + surprise * of_y[order]
        known.learn(j)
        found.append(options)
    return found


def _sd(variance: np.ndarray) -> np.ndarray:
    """Its root, 0 where it is infinite: what says nothing moves nothing."""
    return np.sqrt(np.where(np.isfinite(variance), variance, 0.0))


def _standard(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal numbers whose mean over the first axis is 0 exactly, so that noise moves no mean."""
    z = rng.standard_normal(shape)
    return z - z.mean(axis=0)


def _regret(options: np.ndarray, rising: bool) -> float:
    """Mean over truths of the least expected regret of an option; log losses [T, S, P]."""
    above = options - options.min(axis=-1, keepdims=True)
    regret = -np.expm1(-above) if rising else np.expm1(above)
    return float(regret.mean(axis=1).min(axis=-1).mean())
