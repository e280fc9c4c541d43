"""Budget and constraints -> configuration with uncertainty."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd

from forecast.arguments import number, of_kind
from forecast.bayes.posterior import Posterior
from forecast.bayes.prediction import QUANTILE_NAMES, QUANTILES
from forecast.bayes.provenance import Provenance
from forecast.decide.checks import Limits, check_objective, check_recommend, check_size
from forecast.decide.measured import Measured, better_row
from forecast.decide.seal import sealed
from forecast.decide.weigh import Weighed, weigh
from forecast.errors import ForecastError
from forecast.numbers import count, decimals, digits, scientific, toml
from forecast.runs.reach import beyond, outside
from forecast.runs.table import distinct_samples
from forecast.shown import html_frame

LEVELS = np.arange(1, 100) / 100
"""Of the quantiles that a recommendation keeps for its score."""
_BEST = {"loss": "least loss", "return": "highest return"}
_AGAIN = 1.05  # passes above which it is told that samples were seen again
_SAME = 0.1  # in log size, below which two optima are one


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
    """`max_params` (parameters), `max_samples` and `unique_samples` (samples), where set."""
    ahead: float
    """How far the run lies beyond the table's largest compute, in factors of ten."""
    provenance: Provenance
    """What the recommendation is based on."""
    unique_samples: float | None = None
    """Distinct samples of the recommended run; None: all of them."""
    measured: "Measured | None" = None
    """The row of the table that is recommended, where it did better than any size is expected to."""
    assumed: str | None = None
    """What it takes for granted, in a sentence."""
    other_params: Mapping[str, float] | None = None
    """Of the objective that was not asked for, where the table has both: the size that is best in expectation
    (parameters), named `recommended`, and quantiles of its optimal size."""
    size_effect: Mapping[str, float] | None = None
    """Quantiles of the factor in return of a model ten times the size at equal loss, where the table has both."""

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
        low, high = count(self.optimum_params["q05"]), count(self.optimum_params["q95"])
        if self._open_above:
            high += " or more"
        spent = f" ({scientific(self.flops_spent)} spent)" if self.flops_spent < 0.99 * self.flops else ""
        limits = (
            f" with {', '.join(f'{k} {count(v)}' for k, v in self.constraints.items())}" if self.constraints else ""
        )
        return (
            f"For {scientific(self.flops)} FLOPs{spent}{limits}, {beyond(self.ahead)}, train {count(self.params)} "
            f"parameters on {count(self.samples)} samples{self._passes}: expect {what}, {intervals}; the size of "
            f"{_BEST[self.objective]} lies between {low} and {high} parameters with 90% probability."
        )

    @property
    def _open_above(self) -> bool:
        """Whether the interval of the optimal size ends at the largest size that was weighed, and at no limit."""
        return self.optimum_params["q95"] > 0.999 * self.regret["params"].max() and "max_params" not in self.constraints

    @property
    def _passes(self) -> str:
        """How often samples are seen, where there are fewer distinct ones."""
        passes = self.samples / (self.unique_samples or self.samples)
        return f" ({decimals(passes, 1)} passes)" if passes > _AGAIN else ""

    @property
    def remarks(self) -> tuple[str, ...]:
        """What to know beside the sentence: a better row, what is taken for granted, why the other optimum differs."""
        return tuple(filter(None, (self.measured and self.measured.sentence, self.assumed, self.reason)))

    @property
    def reason(self) -> str | None:
        """Which optimum is recommended, and why the other one differs; None where the table has one objective alone."""
        if self.other_params is None or self.size_effect is None:
            return None
        other = "loss" if self.objective == "return" else "return"
        size, low, high = (self.other_params[k] for k in ("recommended", "q05", "q95"))
        told = f"The size is chosen for the {_BEST[self.objective]}. For the {_BEST[other]} it would be"
        if abs(np.log(size / self.params)) < _SAME:
            return f"{told} nearly the same, {count(size)} parameters."
        effect = self.size_effect
        return (
            f"{told} {count(size)} parameters ({count(low)} to {count(high)}): at equal loss, a model ten times larger "
            f"is expected to score {decimals(effect['median'], 2)} times as high ({decimals(effect['q05'], 2)} to "
            f"{decimals(effect['q95'], 2)})."
        )

    def regret_of(self, params: float) -> dict[str, float]:
        """Expected relative loss (and return) given away by training a model of this size instead, same budget.

        Raises ForecastError outside the sizes that were weighed.
        """
        check_size(number("params", params), self.regret["params"].tolist())
        grid = np.log(self.regret["params"].to_numpy())
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
            "reason": self.reason,
            "assumed": self.assumed,
            "measured": None if self.measured is None else asdict(self.measured),
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
    unique_samples: float | None = None,
) -> Recommendation:
    """The N and D that maximise posterior expected return, or minimise expected loss, for a budget in FLOPs.

    objective: "return", "loss", or "auto" for return where the table has returns.
    max_samples: samples that a run may see; a model that would need more leaves the rest of its budget unspent.
    unique_samples: distinct samples there are; a run may see them again, which teaches less (`forecast.model.laws`).

    Expectations are over the posterior, not of a law with mean exponents. Where a row of the table within budget and
    limits did better than luck among so many rows explains, that row is recommended (`Recommendation.measured`).
    Raises ForecastError for bad numbers and for constraints that leave nothing.
    """
    of_kind("posterior", posterior, Posterior, "what forecast.fit returned")
    name = posterior.group_name(group)
    limits = Limits(max_params, max_samples, unique_samples)
    check_recommend(posterior.runs, flops=flops, group=group, objective=objective, **limits._asdict())
    objective = objective_of(posterior, objective)
    weighed = weigh(posterior, name, flops, objective, limits)
    best = int(np.argmax(weighed.score))
    params, samples = float(weighed.params[best]), float(weighed.samples[best])
    predicted = posterior.predict(params, samples, group=name, unique_samples=unique_samples)
    spent = float(posterior.cost[name](params) * samples)
    table = posterior.runs.group_table(name)
    measured = better_row(table, flops, limits, objective, predicted)
    if measured is not None:
        params, samples, spent = measured.params, measured.samples, measured.flops
        unique_samples = measured.unique_samples
        predicted = posterior.predict(params, samples, group=name, flops=spent, unique_samples=unique_samples)
    log_params, log_samples = weighed.optimum()
    ahead = float(np.log10(spent / posterior.largest_flops(name)))
    draws = {"loss": predicted.loss, "return": predicted.returns}
    return Recommendation(
        group=name,
        flops=flops,
        objective=objective,
        params=params,
        samples=samples,
        optimum_params=quantiles(np.exp(log_params)),
        optimum_samples=quantiles(np.exp(log_samples)),
        loss=None if predicted.loss is None else quantiles(predicted.loss[:, 0]),
        returns=None if predicted.returns is None else quantiles(predicted.returns[:, 0]),
        quantiles={k: np.quantile(v[:, 0], LEVELS) for k, v in draws.items() if v is not None},
        regret=weighed.regret(),
        flops_spent=spent,
        constraints=limits.bound,
        ahead=ahead,
        provenance=posterior.provenance.at(ahead, outside(params, table)),
        unique_samples=unique_samples,
        measured=measured,
        assumed=_fresh(table, limits),
        **_other_optimum(posterior, weighed),
    )


def _fresh(table: pd.DataFrame, limits: Limits) -> str | None:
    """That samples are taken to be fresh, where a row of the table has seen some again and nothing else was asked."""
    distinct = distinct_samples(table)
    if limits.unique_samples is not None or not (table["samples"] > _AGAIN * distinct).any():
        return None
    most = float(distinct.max())
    if limits.max_samples is not None:
        return (
            f"No run sees more than {count(limits.max_samples)} samples, each time counted. Rows of the table have "
            f"seen theirs again; if a run may, ask with unique_samples in place of max_samples (--unique-samples "
            f"{scientific(limits.max_samples)})."
        )
    return (
        f"Every sample is taken to be fresh. Rows of the table have seen {count(most)} distinct samples at most, some "
        f"of them again; if there are no more, ask with unique_samples (--unique-samples {scientific(most)})."
    )


def _other_optimum(posterior: Posterior, weighed: Weighed) -> dict[str, Mapping[str, float]]:
    """`other_params` and `size_effect` of a recommendation, nothing where the table has one objective alone."""
    law = posterior.parameters.return_law
    if law is None or weighed.loss is None or weighed.returns is None:
        return {}
    other = replace(weighed, objective="loss" if weighed.objective == "return" else "return")
    best = float(other.params[int(np.argmax(other.score))])
    effect = 10 ** np.asarray(law.size)[:, posterior.groups.index(weighed.group)]
    return {
        "other_params": {"recommended": best, **quantiles(np.exp(other.optimum()[0]))},
        "size_effect": quantiles(effect),
    }


def objective_of(posterior: Posterior, objective: str) -> str:
    """return or loss, which `auto` decides by the table; raises ForecastError for what the table does not have."""
    check_objective(posterior.runs, objective)
    if objective == "return" and not posterior.has_returns:  # the rows that have one were set aside
        raise ForecastError(f"no row of {posterior.runs.source} that was fitted has a return; use the objective loss.")
    return ("return" if posterior.has_returns else "loss") if objective == "auto" else objective


def quantiles(draws: np.ndarray) -> dict[str, float]:
    """Of draws [S], by name: median, q05, q25, q75, q95."""
    values = dict(zip(QUANTILE_NAMES, map(float, np.quantile(draws, QUANTILES)), strict=True))
    return {"median": values.pop("median"), **values}


def _span(q: Mapping[str, float]) -> str:
    return f"{digits(q['median'])} ({digits(q['q05'])} to {digits(q['q95'])})"
