"""Two recipes side by side: which is better at a budget, and how much compute one saves.

A recipe is a group of a table: an architecture, an algorithm, a data set. Its frontier is what the recommended size
reaches at each budget, by every draw of its posterior. The recipes are independent: each draw of one is compared with a
draw of the other by chance, also where both are groups of one posterior, whose pace beyond the data would else be one.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from forecast.arguments import of_kind
from forecast.bayes.posterior import Posterior
from forecast.bayes.provenance import Provenance
from forecast.decide.checks import Limits, check_recipes
from forecast.decide.recommend import quantiles
from forecast.decide.weigh import weigh
from forecast.errors import ForecastError
from forecast.numbers import chance, digits, percent, scientific
from forecast.runs.reach import beyond, outside
from forecast.shown import html_frame

_DRAWS = 800
_A_DECADE = 4  # budgets weighed in a factor of ten
_AROUND = 3.0  # factors of ten below and above the budget in which the other recipe's budget is sought
_SHOWN = np.arange(-1.0, 1.01, 0.5)  # factors of ten around the budget, of the table


@dataclass(frozen=True, kw_only=True, eq=False)
class Recipes:
    """How recipe B compares with recipe A."""

    names: tuple[str, str]
    """Names of A and B: their groups, or the tables where those have one group each."""
    objective: str
    """loss or return."""
    flops: float
    """The budget (FLOPs)."""
    values: tuple[dict[str, float], dict[str, float]]
    """Quantiles of what the best size of A and of B reaches on the budget, by name: median, q05, q25, q75, q95."""
    probability: float
    """That B reaches more than A on the budget, 0 to 1."""
    compute: dict[str, float]
    """Quantiles of the compute with which B reaches what A does on the budget, over that budget; 0.001 and 1000 stand
    for what lies beyond."""
    curve: pd.DataFrame
    """A row a budget: `flops`, medians `a` and `b`, `probability`, quantiles `q05`, `median`, `q95` of `compute`."""
    reached: pd.DataFrame
    """A row for each of many budgets around: `flops`, quantiles of what A reaches (`a_q05` to `a_q95`), of what B
    reaches (`b_q05` …), and of the compute that B needs over A's (`compute_q05` …)."""
    ahead: tuple[float, float]
    """How far the budget lies beyond the largest compute of each table, in factors of ten."""
    provenance: tuple[Provenance, Provenance]
    """What A and B are based on."""

    def __repr__(self) -> str:
        return self.sentence

    def _repr_html_(self) -> str:
        """The budgets around."""
        return html_frame(self.sentence, self.curve)

    @property
    def sentence(self) -> str:
        """The comparison in words."""
        a, b = self.names
        reached = [f"{digits(v['median'])} ({digits(v['q05'])} to {digits(v['q95'])})" for v in self.values]
        where = [f"{name}: {beyond(ahead)}" for name, ahead in zip(self.names, self.ahead, strict=True)]
        low, middle, high = (_times(self.compute[q]) for q in ("q05", "median", "q95"))
        return (
            f"For {scientific(self.flops)} FLOPs ({'; '.join(where)}) the best size of {a} is expected to reach a "
            f"{self.objective} of {reached[0]}, and that of {b} {reached[1]}. {b} is better with probability "
            f"{chance(self.probability)}. To reach what {a} does it needs {middle} times the compute ({low} to {high})"
            f"{self._saving}."
        )

    @property
    def _saving(self) -> str:
        middle = self.compute["median"]
        if middle < 1:
            return f": it saves {percent(1 - middle)}"
        return f": {self.names[0]} saves {percent(1 - 1 / middle)}" if middle > 1 else ""

    def to_dict(self) -> dict[str, Any]:
        """As plain types."""
        a, b = ({"name": n, "reaches": v, "beyond_table": 10**h, "diagnostics": p.diagnostics} for n, v, h, p in zip(
            self.names, self.values, self.ahead, self.provenance, strict=True))  # fmt: skip
        return {
            "flops": self.flops,
            "objective": self.objective,
            "a": a,
            "b": b,
            "probability": self.probability,
            "compute": self.compute,
            "curve": self.curve.to_dict(orient="list"),
        }


def compare_recipes(
    a: Posterior,
    b: Posterior,
    *,
    flops: float | None = None,
    objective: str = "auto",
    groups: tuple[str | None, str | None] = (None, None),
) -> Recipes:
    """How much compute recipe B saves against recipe A, and how likely it is better.

    a, b: posteriors of two tables; or one of them twice, whose two groups are compared.
    flops: the budget; None: the smaller of the two largest compute.
    objective: loss, return, or "auto" for the loss where both have one. Losses must be measured on the same held-out
    data, returns in the same game.
    groups: group of A and of B, where its table has several.

    Raises ForecastError for an unknown group, a budget out of reach, and tables without a common objective.
    """
    for name, one in {"a": a, "b": b}.items():
        of_kind(name, one, Posterior, "what forecast.fit returned")
    asked = check_recipes(a.runs, b.runs, flops=flops, objective=objective, groups=groups)
    if asked.objective == "return" and not (a.has_returns and b.has_returns):  # the rows that have one were set aside
        raise ForecastError("no row with a return was fitted of one of the two; compare their losses.")
    posteriors = (a.thinned(_DRAWS), b.thinned(_DRAWS))
    reach = _AROUND + _SHOWN[-1]
    steps = np.arange(-reach, reach + 0.01, 1 / _A_DECADE)
    budgets = asked.flops * 10**steps
    frontiers = [_frontier(p, g, budgets, asked.objective) for p, g in zip(posteriors, asked.groups, strict=True)]
    curves = [one for one, _ in frontiers]
    rng = np.random.default_rng([a.seed, b.seed, 12])
    count = max(map(len, curves))
    of_a, of_b = (c[rng.permutation(np.resize(np.arange(len(c)), count))] for c in curves)
    sign = -1.0 if asked.objective == "loss" else 1.0
    rows, details, reached = [], {}, []
    for i in np.flatnonzero(np.abs(steps) <= _SHOWN[-1] + 1e-9):
        needed = np.clip(_reaching(sign * of_b, steps, sign * of_a[:, i]) - steps[i], -_AROUND, _AROUND)
        found = {"a": quantiles(of_a[:, i]), "b": quantiles(of_b[:, i]), "compute": quantiles(10**needed)}
        better = float(np.mean(sign * of_b[:, i] > sign * of_a[:, i]))
        spread = {f"{what}_{name}": value for what, q in found.items() for name, value in q.items()}
        reached.append({"flops": budgets[i], **spread})
        if np.abs(_SHOWN - steps[i]).min() < 1e-9:
            ends = (found["compute"][q] for q in ("q05", "median", "q95"))
            rows.append((budgets[i], found["a"]["median"], found["b"]["median"], better, *ends))
            details[round(float(steps[i]), 6)] = found["a"], found["b"], better, found["compute"]
    first, second, better, compute = details[0.0]
    largest = [p.largest_flops(g) for p, g in zip((a, b), asked.groups, strict=True)]
    ahead = tuple(float(np.log10(asked.flops / top)) for top in largest)
    sizes = [float(params[np.argmin(np.abs(steps))]) for _, params in frontiers]
    made = [
        p.provenance.at(h, outside(size, p.runs.group_table(g)))
        for p, g, h, size in zip((a, b), asked.groups, ahead, sizes, strict=True)
    ]
    return Recipes(
        names=asked.names,
        objective=asked.objective,
        flops=asked.flops,
        values=(first, second),
        probability=better,
        compute=compute,
        curve=pd.DataFrame(rows, columns=["flops", "a", "b", "probability", "q05", "median", "q95"]),
        reached=pd.DataFrame(reached),
        ahead=(ahead[0], ahead[1]),
        provenance=(made[0], made[1]),
    )


def _frontier(posterior: Posterior, group: str, budgets: np.ndarray, objective: str) -> tuple[np.ndarray, np.ndarray]:
    """What the recommended size reaches on each budget, by every draw [S, B], and that size (parameters) [B].

    What is reached never falls back with compute.
    """
    values, sizes = [], []
    for budget in budgets:
        weighed = weigh(posterior, group, float(budget), objective, Limits())
        drawn = weighed.returns if objective == "return" else weighed.loss
        assert drawn is not None
        best = int(np.argmax(weighed.score))
        values.append(drawn[:, best])
        sizes.append(weighed.params[best])
    kept = np.maximum if objective == "return" else np.minimum
    return kept.accumulate(np.stack(values, axis=1), axis=1), np.array(sizes)


def _reaching(rising: np.ndarray, steps: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """Steps at which each rising curve [S, B] reaches its goal [S]; the ends where it does so outside."""
    return np.array([np.interp(g, curve, steps) for curve, g in zip(rising, goal, strict=True)])


def _times(factor: float) -> str:
    if factor > 0.99 * 10**_AROUND:
        return f"over {10**_AROUND:,.0f}"
    return f"under {10**-_AROUND:g}" if factor < 1.01 * 10**-_AROUND else digits(factor)
