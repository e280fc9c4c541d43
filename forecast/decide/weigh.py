"""Sizes that a budget may be spent on, weighed by what the posterior expects of each."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from forecast.bayes.posterior import Posterior
from forecast.decide.checks import Limits, affordable


@dataclass(frozen=True, kw_only=True, eq=False)
class Weighed:
    """P sizes on a budget, as S draws see them."""

    group: str
    """Name of the group."""
    params: np.ndarray
    """Sizes, ascending (parameters) [P]."""
    samples: np.ndarray
    """Samples that each size is trained on [P]."""
    loss: np.ndarray | None
    """Loss by the law, without a run's noise (nats) [S, P]; None where the table has no losses."""
    returns: np.ndarray | None
    """Return by the law, without a run's noise [S, P]; None where the table has no returns."""
    objective: str
    """loss or return."""
    misfit: np.ndarray
    """How far the log of the best size may lie from each draw's own [S]."""
    lowest: float = 0.0
    """Returns count from here: 0, or the lowest of a table without losses where that is negative."""

    @property
    def score(self) -> np.ndarray:
        """Expected return, or minus the expected loss (nats) where that is the objective [P]; higher is better."""
        value = self.returns if self.objective == "return" else -np.asarray(self.loss)
        assert value is not None
        return value.mean(axis=0)

    def best_of_each_draw(self) -> np.ndarray:
        """Position on the grid, between its points, of each draw's own optimum [S]."""
        value = self.returns if self.objective == "return" else -np.log(np.asarray(self.loss))
        assert value is not None
        return least_on_grid(-value)[0]

    def optimum(self) -> tuple[np.ndarray, np.ndarray]:
        """Log of the best size and of its samples, as uncertain as they are: [S] each.

        Each draw's own optimum, and what a law may miss it by; not where a limit decides it: at an end of the sizes, or
        where all samples there are are used.
        """
        at, rank, log_params = self.best_of_each_draw(), np.arange(self.params.size), np.log(self.params)
        full = np.flatnonzero(self.samples == self.samples[0])[-1]
        free = (at > full) & (at < rank[-1])
        best = np.interp(at, rank, log_params)
        moved = np.clip(best + self.misfit, log_params[full], log_params[-1])
        best = np.where(free, moved, best)
        return best, np.interp(best, log_params, np.log(self.samples))

    def regret(self) -> pd.DataFrame:
        """Expected relative regret of each size."""
        table = pd.DataFrame({"params": self.params, "samples": self.samples})
        if self.loss is not None:
            table["loss_regret"] = (self.loss / self.loss.min(axis=1, keepdims=True) - 1).mean(axis=0)
        if self.returns is not None:
            most = self.returns.max(axis=1, keepdims=True)
            height = np.maximum(np.abs(most - self.lowest), 1e-12)
            table["return_regret"] = ((most - self.returns) / height).mean(axis=0)
        return table


def least_on_grid(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Position along the last axis of the least of each row of values [S, P], and the value there: [S] each.

    Between grid points, by the parabola through the lowest point and its neighbours.
    """
    lowest = np.argmin(values, axis=1)
    i = np.clip(lowest, 1, values.shape[1] - 2)
    low, mid, high = (np.take_along_axis(values, (i + s)[:, None], 1)[:, 0] for s in (-1, 0, 1))
    bend = low - 2 * mid + high
    shift = np.where(bend > 0, 0.5 * (low - high) / np.where(bend > 0, bend, 1.0), 0.0)
    shift = np.clip(shift, -0.5, 0.5)
    inside = lowest == i
    return np.where(inside, i + shift, lowest), np.where(inside, mid - 0.25 * (low - high) * shift, values.min(axis=1))


def weigh(posterior: Posterior, name: str, flops: float, objective: str, limits: Limits) -> Weighed:
    """Sizes that a budget (FLOPs) may be spent on within the limits, and what to expect of each."""
    sizes, samples = affordable(posterior.runs, posterior.cost[name], name, flops, limits)
    log_loss = posterior.log_loss(sizes, samples, group=name, unique_samples=limits.unique_samples)
    returns = posterior.returns_at(log_loss, sizes, group=name, new_run=False) if posterior.has_returns else None
    loss = np.exp(log_loss) if posterior.has_losses else None
    lowest = 0.0 if posterior.has_losses else min(0.0, posterior.runs.group_table(name)["return_mean"].min())
    return Weighed(
        group=name,
        params=sizes,
        samples=samples,
        loss=loss,
        returns=returns,
        objective=objective,
        lowest=lowest,
        misfit=posterior.optimum_misfit(flops, name),
    )
