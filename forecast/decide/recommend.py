"""Budget and constraints -> configuration with uncertainty."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd

from forecast.arguments import number, of_kind, one_of
from forecast.bayes.posterior import Posterior
from forecast.bayes.prediction import QUANTILE_NAMES, QUANTILES
from forecast.bayes.provenance import Provenance
from forecast.decide.seal import sealed
from forecast.decide.weigh import weigh
from forecast.errors import ForecastError
from forecast.numbers import count, digits, scientific, toml
from forecast.shown import html_frame

LEVELS = np.arange(1, 100) / 100
"""Of the quantiles that a recommendation keeps for its score."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Recommendation:
    """What to train with a budget."""

    group: str
    """Name of the group."""
    flops: float
    """The budget (FLOPs)."""
    objective: str
    """loss or return."""
    params: float
    """Model size of best posterior expectation (parameters)."""
    samples: float
    """Samples that this size is trained on."""
    optimum_params: Mapping[str, float]
    """Quantiles of the optimal size (parameters), by name: median, q05, q25, q75, q95."""
    optimum_samples: Mapping[str, float]
    """Quantiles of the optimal samples, by the same names."""
    loss: Mapping[str, float] | None
    """Quantiles of the loss of a new run (nats), by the same names; None where the table has no losses."""
    returns: Mapping[str, float] | None
    """Quantiles of the return of a new run, by the same names; None where the table has no returns."""
    quantiles: Mapping[str, np.ndarray]
    """By "loss" (nats) and "return": quantiles of a new run at `LEVELS` [99]."""
    regret: pd.DataFrame
    """A row a size: `params`, `samples`, `loss_regret` (expected excess loss over the best size, as a part of it) and
    `return_regret` (expected shortfall, as a part of the best return; without losses, of its height over the lowest
    return where that is negative)."""
    flops_spent: float
    """FLOPs of the recommended run: less than `flops` where a constraint binds."""
    constraints: Mapping[str, float]
    """`max_params` (parameters) and `max_samples` (samples), where set."""
    ahead: float
    """How far the run lies beyond the table's largest compute, in factors of ten."""
    provenance: Provenance
    """What the recommendation is based on."""

    def __repr__(self) -> str:
        return self.sentence

    def _repr_html_(self) -> str:
        """The table."""
        return html_frame(self.sentence, self.table())

    @property
    def sentence(self) -> str:
        """The recommendation in one sentence."""
        parts = [f"loss {_span(self.loss)}"] if self.loss is not None else []
        if self.returns is not None:
            parts.append(f"return {_span(self.returns)}")
        what = " and ".join(parts)
        intervals = "medians with 90% intervals" if len(parts) > 1 else "the median with its 90% interval"
        low, high = self.optimum_params["q05"], self.optimum_params["q95"]
        spent = f" ({scientific(self.flops_spent)} spent)" if self.flops_spent < 0.99 * self.flops else ""
        limits = (
            f" with {', '.join(f'{k} {count(v)}' for k, v in self.constraints.items())}" if self.constraints else ""
        )
        return (
            f"For {scientific(self.flops)} FLOPs{spent}{limits}, train {count(self.params)} parameters on "
            f"{count(self.samples)} samples: expect {what}, {intervals}; the optimum lies "
            f"between {count(low)} and {count(high)} parameters with 90% probability."
        )

    def regret_of(self, params: float) -> dict[str, float]:
        """Expected relative loss (and return) given away by training a model of this size instead, same budget.

        Raises ForecastError outside the sizes that were weighed.
        """
        params, grid = number("params", params), np.log(self.regret["params"].to_numpy())
        if not grid[0] <= np.log(params) <= grid[-1]:
            low, high = self.regret["params"].iloc[[0, -1]]
            raise ForecastError(
                f"{count(params)} parameters is not between {count(low)} and {count(high)}, the sizes weighed."
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
            "diagnostics": self.provenance.diagnostics,
        }

    def to_toml(self) -> str:
        """The frozen forecast, to be scored once the run has been made (`forecast.score`).

        [recommendation], [diagnostics], [table], [software], in [quantiles] the forecast at every percent, and in
        [seal] the hash of it all.
        """
        content = self.to_dict()
        diagnostics = content.pop("diagnostics")
        lines = ["[recommendation]", *(f"{k} = {toml(v)}" for k, v in content.items() if v is not None)]
        made = self.provenance
        table = {"source": made.source, "sha256": made.sha256}
        software = {"name": "game-scaling", "version": version("game-scaling"), "law": made.law, "seed": made.seed}
        fine = {"levels": LEVELS, **self.quantiles}
        quantiles = {k: [float(f"{x:.6g}") for x in v] for k, v in fine.items()}
        sections = {"diagnostics": diagnostics, "table": table, "software": software, "quantiles": quantiles}
        for name, section in sections.items():
            lines += ["", f"[{name}]", *(f"{k} = {toml(v)}" for k, v in section.items())]
        return sealed("\n".join(lines) + "\n")


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
    not of a law with mean exponents. Raises ForecastError for bad numbers and for constraints that leave nothing.
    """
    of_kind("posterior", posterior, Posterior, "what forecast.fit returned")
    name, flops = posterior.group_name(group), number("flops", flops)
    objective = _objective(posterior, objective)
    limits = {"max_params": max_params, "max_samples": max_samples}
    limits = {what: None if value is None else number(what, value) for what, value in limits.items()}
    max_params, max_samples = limits.values()
    smallest = float(posterior.sizes(name, flops)[0])
    if max_params is not None and max_params < smallest:
        raise ForecastError(f"max_params {count(max_params)} is below every size weighed, from {count(smallest)} up.")
    weighed = weigh(posterior, name, flops, objective, max_params, max_samples)
    best = int(np.argmax(weighed.score))
    params, samples = float(weighed.params[best]), float(weighed.samples[best])
    predicted = posterior.predict(params, samples, group=name)
    log_params, log_samples = weighed.optimum()
    spent = float(posterior.cost[name](params) * samples)
    bound = {k: v for k, v in limits.items() if v is not None}
    draws = {"loss": predicted.loss, "return": predicted.returns}
    return Recommendation(
        group=name,
        flops=flops,
        objective=objective,
        params=params,
        samples=samples,
        optimum_params=_quantiles(np.exp(log_params)),
        optimum_samples=_quantiles(np.exp(log_samples)),
        loss=None if predicted.loss is None else _quantiles(predicted.loss[:, 0]),
        returns=None if predicted.returns is None else _quantiles(predicted.returns[:, 0]),
        quantiles={k: np.quantile(v[:, 0], LEVELS) for k, v in draws.items() if v is not None},
        regret=weighed.regret(),
        flops_spent=spent,
        constraints=bound,
        ahead=float(np.log10(spent / posterior.largest_flops(name))),
        provenance=posterior.provenance,
    )


def _objective(posterior: Posterior, objective: str) -> str:
    one_of("objective", objective, ("auto", "return", "loss"))
    if objective == "return" and not posterior.has_returns:
        raise ForecastError(f"{posterior.runs.source} has no returns; use the objective loss.")
    if objective == "loss" and not posterior.has_losses:
        raise ForecastError(f"{posterior.runs.source} has no losses; use the objective return.")
    return ("return" if posterior.has_returns else "loss") if objective == "auto" else objective


def _quantiles(draws: np.ndarray) -> dict[str, float]:
    values = dict(zip(QUANTILE_NAMES, map(float, np.quantile(draws, QUANTILES)), strict=True))
    return {"median": values.pop("median"), **values}


def _span(q: Mapping[str, float]) -> str:
    return f"{digits(q['median'])} ({digits(q['q05'])} to {digits(q['q95'])})"
