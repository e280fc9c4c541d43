"""Budget and constraints -> configuration with uncertainty, and the inverse question."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, cast

import numpy as np
import pandas as pd

from forecast.bayes.posterior import QUANTILE_NAMES, QUANTILES, Posterior
from forecast.numbers import count, scientific, toml

LEVELS = np.arange(1, 100) / 100
"""Of the quantiles that a recommendation keeps for its score."""
_FEWER_DRAWS = 800  # enough for a search over budgets, where every step looks at every size
_BELOW, _BEYOND = 3.0, 6.0  # factors of ten around the table's largest compute in which a target is sought
_MORE_SIZES = 200  # at most, beyond the usual range, where few samples call for larger models


@dataclass(frozen=True, kw_only=True, eq=False)
class Recommendation:
    """What to train with a budget.

    params, samples: the configuration of best posterior expectation. optimum_params, optimum_samples: quantiles of
    where the optimum really lies. loss (nats), returns: quantiles for a new run of that configuration; either is None
    where the table has none. quantiles: the same at `LEVELS`, by "loss" and "return". regret: by size, `params`,
    `samples`, `loss_regret` (expected excess loss over the best size, relative) and `return_regret` (expected
    shortfall, relative; without losses, to the height over the lowest return where that is negative), each where the
    table has it. flops_spent: less than flops where a constraint binds. ahead: factors of ten beyond the table's
    largest compute.
    """

    group: str
    flops: float
    objective: str
    params: float
    samples: float
    optimum_params: Mapping[str, float]
    optimum_samples: Mapping[str, float]
    loss: Mapping[str, float] | None
    returns: Mapping[str, float] | None
    quantiles: Mapping[str, np.ndarray]
    regret: pd.DataFrame
    flops_spent: float
    constraints: Mapping[str, float]
    ahead: float
    passed: bool
    verdict: str
    source: str
    sha256: str
    law: str
    seed: int

    @property
    def sentence(self) -> str:
        """The recommendation in one sentence."""
        parts = [f"loss {_span(self.loss, '.3g')}"] if self.loss is not None else []
        if self.returns is not None:
            parts.append(f"return {_span({k: float(f'{v:.3g}') for k, v in self.returns.items()}, ',.6g')}")
        what = " and ".join(parts)
        each = "each a" if len(parts) > 1 else "a"
        low, high = self.optimum_params["q05"], self.optimum_params["q95"]
        bound = f" under {', '.join(f'{k} {v:.3g}' for k, v in self.constraints.items())}" if self.constraints else ""
        if self.flops_spent < 0.99 * self.flops:
            bound += f", of which {scientific(self.flops_spent)} are spent"
        return (
            f"For {scientific(self.flops)} FLOPs{bound}, train {count(self.params)} parameters on "
            f"{count(self.samples)} samples: expect {what}, {each} median with its 90% interval; the optimum lies "
            f"between {count(low)} and {count(high)} parameters with 90% probability."
        )

    def regret_of(self, params: float) -> dict[str, float]:
        """Expected relative loss (and return) given away by training a model of this size instead, same budget.

        Raises ValueError outside the sizes that were weighed.
        """
        grid = np.log(self.regret["params"].to_numpy())
        if not grid[0] <= np.log(params) <= grid[-1]:
            low, high = self.regret["params"].iloc[[0, -1]]
            raise ValueError(
                f"{params:.3g} parameters is not between {low:.3g} and {high:.3g}, the sizes that were weighed."
            )
        columns = [c for c in ("loss_regret", "return_regret") if c in self.regret]
        return {c: float(np.interp(np.log(params), grid, self.regret[c].to_numpy())) for c in columns}

    def table(self) -> pd.DataFrame:
        """What to train and what to expect: quantity, recommended, median, q05, q25, q75, q95."""
        rows = [("params", self.params, self.optimum_params), ("samples", self.samples, self.optimum_samples)]
        rows += [("loss", None, self.loss), ("return", None, self.returns)]
        return pd.DataFrame([{"quantity": name, "recommended": x, **q} for name, x, q in rows if q is not None])

    def to_dict(self) -> dict[str, Any]:
        """As plain types; `params` and `samples` hold the recommended value and the quantiles of the optimum.

        `loss` or `return` is None where the table has none.
        """
        return {
            "flops": self.flops,
            "group": self.group,
            "objective": self.objective,
            "params": {"recommended": self.params, **self.optimum_params},
            "samples": {"recommended": self.samples, **self.optimum_samples},
            "loss": None if self.loss is None else dict(self.loss),
            "return": None if self.returns is None else dict(self.returns),
            "flops_spent": self.flops_spent,
            "constraints": dict(self.constraints),
            "beyond_table": 10**self.ahead,
            "diagnostics": {"passed": self.passed, "sentence": self.verdict},
        }

    def to_toml(self) -> str:
        """The frozen forecast, to be scored once the run has been made (`forecast.score`).

        [recommendation], [diagnostics], [table], [software], and in [quantiles] the forecast at every percent.
        """
        content = self.to_dict()
        diagnostics = content.pop("diagnostics")
        lines = ["[recommendation]", *(f"{k} = {toml(v)}" for k, v in content.items() if v is not None)]
        table = {"source": self.source, "sha256": self.sha256}
        software = {"name": "game-scaling", "version": version("game-scaling"), "law": self.law, "seed": self.seed}
        fine = {"levels": LEVELS, **self.quantiles}
        quantiles = {k: [float(f"{x:.6g}") for x in v] for k, v in fine.items()}
        sections = {"diagnostics": diagnostics, "table": table, "software": software, "quantiles": quantiles}
        for name, section in sections.items():
            lines += ["", f"[{name}]", *(f"{k} = {toml(v)}" for k, v in section.items())]
        return "\n".join(lines) + "\n"


def recommend(
    posterior: Posterior,
    *,
    flops: float,
    group: str | None = None,
    objective: str = "auto",
    max_params: float | None = None,
    max_samples: float | None = None,
) -> Recommendation:
    """The N and D that maximise posterior expected return, or minimise expected loss, for a budget in FLOPs.

    objective: "return", "loss", or "auto" for return where the table has returns. max_samples: demonstrations are
    finite; a model that would need more leaves the rest of its budget unspent. Expectations are over the posterior,
    not of a law with mean exponents. Raises ValueError for bad numbers and for constraints that leave nothing.
    """
    name = posterior.group_name(group)
    objective = _objective(posterior, objective)
    limits = {"max_params": max_params, "max_samples": max_samples}
    for what, value in {"flops": flops, **limits}.items():
        if value is not None and not (np.isfinite(value) and value > 0):
            raise ValueError(f"{what} is {value}; give a positive number.")
    smallest = float(posterior.sizes(name, flops)[0])
    if max_params is not None and max_params < smallest:
        raise ValueError(f"max_params {max_params:.3g} is below every size considered, from {smallest:.3g} up.")
    weighed = weigh(posterior, name, flops, objective, max_params, max_samples)
    best = int(np.argmax(weighed.score))
    params, samples = float(weighed.params[best]), float(weighed.samples[best])
    there = posterior.predict(params, samples, group=name)
    top = weighed.best_of_each_draw()
    spent = float(posterior.cost[name](params) * samples)
    bound = {k: v for k, v in limits.items() if v is not None}
    drawn = {"loss": there.loss, "return": there.returns}
    return Recommendation(
        group=name,
        flops=float(flops),
        objective=objective,
        params=params,
        samples=samples,
        optimum_params=_quantiles(np.exp(np.interp(top, np.arange(weighed.params.size), np.log(weighed.params)))),
        optimum_samples=_quantiles(np.exp(np.interp(top, np.arange(weighed.params.size), np.log(weighed.samples)))),
        loss=None if there.loss is None else _quantiles(there.loss[:, 0]),
        returns=None if there.returns is None else _quantiles(there.returns[:, 0]),
        quantiles={k: np.quantile(v[:, 0], LEVELS) for k, v in drawn.items() if v is not None},
        regret=weighed.regret(),
        flops_spent=spent,
        constraints=bound,
        ahead=float(np.log10(spent / posterior.largest_flops(name))),
        passed=posterior.diagnostics.passed,
        verdict=posterior.diagnostics.sentence,
        source=posterior.runs.source,
        sha256=posterior.runs.sha256,
        law=posterior.spec.law,
        seed=posterior.seed,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Required:
    """The least budget whose recommended run reaches a target with the wanted probability.

    flops, params, samples: None where no budget sought reaches it. curve: `flops`, `params`, `samples`, `probability`.
    """

    group: str
    target: str
    value: float
    probability: float
    flops: float | None
    params: float | None
    samples: float | None
    curve: pd.DataFrame

    @property
    def sentence(self) -> str:
        """The answer in one sentence."""
        goal = f"{self.target} {self.value:g} with probability {self.probability:g}"
        if self.flops is None or self.params is None or self.samples is None:
            top = self.curve.iloc[int(self.curve["probability"].to_numpy().argmax())]
            return (
                f"No budget up to {scientific(self.curve['flops'].iloc[-1])} FLOPs reaches {goal}; the probability is "
                f"highest, {top['probability']:.2f}, at {scientific(top['flops'])} FLOPs."
            )
        return (
            f"{goal[0].upper()}{goal[1:]} needs {scientific(self.flops)} FLOPs: {count(self.params)} parameters on "
            f"{count(self.samples)} samples."
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain types."""
        fields = ("group", "target", "value", "probability", "flops", "params", "samples")
        return {**{f: getattr(self, f) for f in fields}, "curve": self.curve.to_dict(orient="list")}


def required(
    posterior: Posterior,
    *,
    loss: float | None = None,
    returns: float | None = None,
    probability: float = 0.5,
    group: str | None = None,
) -> Required:
    """The least budget at which the recommended run has a loss at most, or a return at least, the target.

    Sought from a thousandth of the table's largest compute to a million times it. Raises ValueError unless exactly one
    target is given, of a kind that the table has, and the probability lies between 0 and 1.
    """
    if (loss is None) == (returns is None):
        raise ValueError("give one target, a loss or a return.")
    if returns is not None and not posterior.has_returns:
        raise ValueError(f"{posterior.runs.source} has no returns; ask for a loss, or add return_mean and episodes.")
    if loss is not None and not posterior.has_losses:
        raise ValueError(f"{posterior.runs.source} has no losses; ask for a return.")
    if not 0 < probability < 1:
        raise ValueError(f"probability is {probability}; give a number between 0 and 1.")
    name, few = posterior.group_name(group), posterior.thinned(_FEWER_DRAWS)
    objective = "loss" if returns is None else "return"
    rows = []
    for step in np.arange(-_BELOW, _BEYOND + 0.01, 0.25):
        flops = posterior.largest_flops(name) * 10**step
        weighed = weigh(few, name, flops, objective, None, None)
        best = int(np.argmax(weighed.score))
        there = few.predict(weighed.params[best], weighed.samples[best], group=name)
        hit = np.asarray(there.loss) <= loss if loss is not None else np.asarray(there.returns) >= cast(float, returns)
        rows.append((flops, float(weighed.params[best]), float(weighed.samples[best]), float(np.mean(hit))))
    curve = pd.DataFrame(rows, columns=["flops", "params", "samples", "probability"])
    found = _first_crossing(curve, probability)
    target, value = ("loss", loss) if loss is not None else ("return", returns)
    assert value is not None
    return Required(group=name, target=target, value=value, probability=probability, curve=curve, **found)


def _first_crossing(curve: pd.DataFrame, probability: float) -> dict[str, float | None]:
    """Budget, size and samples where the probability first reaches the wanted one, interpolated in logs."""
    p = curve["probability"].to_numpy()
    reached = np.flatnonzero(p >= probability)
    if not reached.size:
        return {"flops": None, "params": None, "samples": None}
    i = int(reached[0])
    part = 1.0 if i == 0 else (probability - p[i - 1]) / (p[i] - p[i - 1])
    ends = np.log(curve[["flops", "params", "samples"]].to_numpy()[[max(i - 1, 0), i]])
    at = np.exp(ends[0] + part * (ends[1] - ends[0]))
    return dict(zip(("flops", "params", "samples"), map(float, at), strict=True))


@dataclass(frozen=True, kw_only=True, eq=False)
class Weighed:
    """Sizes [P] on a budget: score [P], higher is better; loss, returns [S, P] of the law, without a run's noise.

    loss or returns is None where the table has none.
    """

    params: np.ndarray
    samples: np.ndarray
    loss: np.ndarray | None
    returns: np.ndarray | None
    score: np.ndarray
    objective: str
    lowest: float = 0.0
    """Returns count from here: 0, or the lowest of a table without losses where that is negative."""

    def best_of_each_draw(self) -> np.ndarray:
        """Position on the grid, between its points, of each draw's own optimum [S]."""
        value = self.returns if self.objective == "return" else -np.log(np.asarray(self.loss))
        assert value is not None
        top = np.argmax(value, axis=1)
        i = np.clip(top, 1, value.shape[1] - 2)
        low, mid, high = (np.take_along_axis(value, (i + s)[:, None], 1)[:, 0] for s in (-1, 0, 1))
        bend = low - 2 * mid + high
        shift = np.where(bend < 0, 0.5 * (low - high) / np.where(bend < 0, bend, 1.0), 0.0)
        return np.where(top == i, i + np.clip(shift, -0.5, 0.5), top)

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


def weigh(
    posterior: Posterior, name: str, flops: float, objective: str, max_params: float | None, max_samples: float | None
) -> Weighed:
    """Sizes that a budget (FLOPs) may be spent on within the limits, and what to expect of each."""
    sizes = posterior.sizes(name, flops)
    cost = posterior.cost[name]
    if max_samples is not None:
        # The size that spends the budget on all samples there are: the best one often lies in this corner.
        corner = (flops / max_samples / cost.coefficient) ** (1 / cost.exponent)
        if corner > sizes[-1]:
            steps = np.ceil(np.log(corner / sizes[-1]) / np.log(sizes[1] / sizes[0]))
            sizes = np.append(sizes, np.geomspace(sizes[-1], corner, int(min(steps, _MORE_SIZES)) + 1)[1:])
        elif corner > sizes[0]:
            sizes = np.sort(np.append(sizes, corner))
    if max_params is not None and max_params < sizes[-1]:
        sizes = np.append(sizes[sizes < max_params], max_params)
    samples = flops / cost(sizes)
    if max_samples is not None:
        samples = np.minimum(samples, max_samples)
    log_loss = posterior.log_loss(sizes, samples, group=name)
    returns = posterior.returns_at(log_loss, sizes, group=name, new_run=False) if posterior.has_returns else None
    loss = np.exp(log_loss) if posterior.has_losses else None
    expected = returns.mean(axis=0) if objective == "return" and returns is not None else -np.exp(log_loss).mean(axis=0)
    lowest = 0.0 if posterior.has_losses else min(0.0, posterior.runs.group_table(name)["return_mean"].min())
    return Weighed(
        params=sizes, samples=samples, loss=loss, returns=returns, score=expected, objective=objective, lowest=lowest
    )


def _objective(posterior: Posterior, objective: str) -> str:
    if objective not in ("auto", "return", "loss"):
        raise ValueError(f"objective is {objective!r}; choose auto, return or loss.")
    if objective == "return" and not posterior.has_returns:
        raise ValueError(f"{posterior.runs.source} has no returns; use the objective loss.")
    if objective == "loss" and not posterior.has_losses:
        raise ValueError(f"{posterior.runs.source} has no losses; use the objective return.")
    return ("return" if posterior.has_returns else "loss") if objective == "auto" else objective


def _quantiles(draws: np.ndarray) -> dict[str, float]:
    values = dict(zip(QUANTILE_NAMES, map(float, np.quantile(draws, QUANTILES)), strict=True))
    return {"median": values.pop("median"), **values}


def _span(q: Mapping[str, float], form: str) -> str:
    return f"{q['median']:{form}} ({q['q05']:{form}} to {q['q95']:{form}})"
