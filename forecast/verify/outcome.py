"""A frozen forecast, scored against the run that carried it out.

    forecast.score("recommendation.toml", "runs.csv").sentence

The score is the continuous ranked probability score (`forecast.verify.crps`). Of losses it is that of the natural log,
as in back-tests; of returns, which may be negative, that of the return itself.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
import pandas as pd

from forecast.arguments import of_kind
from forecast.errors import ForecastError
from forecast.numbers import count, decimals, digits, ordinal, percentile, plain, scientific, share
from forecast.runs.read import as_runs
from forecast.runs.table import Runs
from forecast.shown import html_table
from forecast.verify.crps import crps
from forecast.verify.frozen import Frozen, read_frozen

SIZE_SLACK, COMPUTE_SLACK = 0.20, 0.05
"""How far params and FLOPs of a run may lie from the recommended ones, as a part of these. Small policies come in steps
of up to 40%, and near an optimum the loss hardly depends on the size."""
_NEAREST = 3  # runs named where none carried the recommendation out
_COLUMNS = {"loss": ("loss", "loss_se"), "return": ("return_mean", "return_se")}


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One outcome against its forecast, both in nats where the target is loss."""

    target: str
    """loss or return."""
    outcome: float
    """What was measured."""
    se: float | None
    """Standard error of the outcome, None where the table has none."""
    median: float
    """Median of the forecast."""
    q05: float
    """5% quantile of the forecast."""
    q25: float
    """25% quantile of the forecast."""
    q75: float
    """75% quantile of the forecast."""
    q95: float
    """95% quantile of the forecast."""
    percentile: float
    """Share of the forecast below the outcome, 0 to 1; outside all quantiles of the file, the outermost level."""
    beyond: str
    """`<` or `>` where the outcome lies outside all quantiles of the file, else empty."""
    log_ratio: float | None
    """log(outcome / median), None where one is not positive."""
    crps: float
    """Score of the log of a loss (log nats), or of a return in its own units; lower is better."""

    @property
    def in_50(self) -> bool:
        """Whether the outcome lies inside the 50% interval."""
        return self.q25 <= self.outcome <= self.q75

    @property
    def in_90(self) -> bool:
        """Whether the outcome lies inside the 90% interval."""
        return self.q05 <= self.outcome <= self.q95

    @property
    def percentile_text(self) -> str:
        """63rd, below 1st."""
        side = {"": "", "<": "below ", ">": "above "}[self.beyond]
        return side + ordinal(round(100 * self.percentile))

    @property
    def place(self) -> str:
        """At the 63rd percentile, below the 1st percentile."""
        return percentile(self.percentile, self.beyond)

    @property
    def measured(self) -> str:
        """The outcome with its standard error, where that is known."""
        return digits(self.outcome, 4) + ("" if self.se is None else f" ± {digits(self.se, 2)}")

    @property
    def clause(self) -> str:
        """loss 0.187 ± 0.0003 is inside the 90% interval, 0.15 to 0.22, 3.2% above the median of 0.181, at the 63rd
        percentile."""
        low, high = (self.q25, self.q75) if self.in_50 else (self.q05, self.q95)
        where = "inside" if self.in_90 else "below" if self.outcome < self.q05 else "above"
        side = "" if self.log_ratio is None else f", {share(abs(np.expm1(self.log_ratio)))} "
        side += "" if self.log_ratio is None else "above" if self.log_ratio >= 0 else "below"
        median = f"{side} the median of {digits(self.median)}" if side else f", the median being {digits(self.median)}"
        interval = f"the {50 if self.in_50 else 90}% interval, {digits(low)} to {digits(high)}"
        return f"{self.target} {self.measured} is {where} {interval}{median}, {self.place}"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A run that carried the recommendation out, with the numbers of its last row."""

    row: int
    """Line of the row in the table of outcomes."""
    run: str
    """Name of the run."""
    seed: str | None
    """Its seed, None where the table has none."""
    params: float
    """Model size (parameters)."""
    samples: float
    """Samples it was trained on."""
    flops: float
    """Its training compute (FLOPs)."""
    scores: tuple[Scored, ...]
    """One for every target that was forecast and measured."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """A frozen forecast against its outcomes."""

    frozen: Frozen
    """The forecast."""
    source: str
    """The table of outcomes: a file, a bundled name or "DataFrame"."""
    outcomes: tuple[Outcome, ...]
    """The runs that carried the recommendation out, one or more."""

    def __repr__(self) -> str:
        return self.sentence

    def _repr_html_(self) -> str:
        """The cells."""
        return html_table(self.sentence, *self.cells())

    @property
    def sentence(self) -> str:
        """Hit or miss, in one sentence; of several runs, how many hit."""
        frozen, ahead = self.frozen, self.frozen.beyond_table
        where = f"{plain(ahead)} times the largest compute" if ahead > 1.05 else "within the compute"
        about = f"{count(frozen.params)} parameters and {scientific(frozen.flops)} FLOPs, {where} of {frozen.source}"
        coarse = "" if frozen.fine else "; the file holds only five quantiles, so percentile and CRPS are approximate"
        end = "." if frozen.level == "green" else f". When it was frozen: {frozen.verdict}"
        if len(self.outcomes) == 1:
            outcome = self.outcomes[0]
            clauses = "; ".join(s.clause for s in outcome.scores)
            return f"Forecast for {about}; the run at line {outcome.row}: {clauses}{coarse}{end}"
        clauses = []
        for target in dict.fromkeys(s.target for o in self.outcomes for s in o.scores):
            scored = [s for o in self.outcomes for s in o.scores if s.target == target]
            inside = [sum(s.in_90 for s in scored), sum(s.in_50 for s in scored)]
            middle = digits(float(np.median([s.outcome for s in scored])), 4)
            clauses.append(
                f"{target}, {inside[0]} of {len(scored)} inside the 90% interval and {inside[1]} inside the 50%, "
                f"at a median of {middle} where {digits(scored[0].median)} was forecast"
            )
        return (
            f"Forecast for {about}; {len(self.outcomes)} runs, each scored by itself: {'; '.join(clauses)}{coarse}{end}"
        )

    def table(self) -> pd.DataFrame:
        """A row for every run and target, with the fields of `Scored`, and row, run, seed, params, samples, flops."""
        rows = []
        for outcome in self.outcomes:
            of_run = {k: getattr(outcome, k) for k in ("row", "run", "seed", "params", "samples", "flops")}
            rows += [{**of_run, **_fields(s)} for s in outcome.scores]
        return pd.DataFrame(rows)

    def cells(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Head and rows as they are shown to people: a column for every run and target."""
        scored = [(o, s) for o in self.outcomes for s in o.scores]
        several = len(self.outcomes) > 1
        head = ("", *(f"{s.target}, line {o.row}" if several else s.target for o, s in scored))
        quantities = {
            "outcome": lambda s: s.measured,
            "median": lambda s: digits(s.median),
            "50% interval": lambda s: f"{digits(s.q25)} to {digits(s.q75)}: {_hit(s.in_50)}",
            "90% interval": lambda s: f"{digits(s.q05)} to {digits(s.q95)}: {_hit(s.in_90)}",
            "percentile of the outcome": lambda s: s.percentile_text,
            "outcome over median": lambda s: "–" if s.log_ratio is None else decimals(np.exp(s.log_ratio), 3),
            "its log": lambda s: "–" if s.log_ratio is None else decimals(s.log_ratio, 3, signed=True),
            "CRPS": lambda s: digits(s.crps) + (" (log loss)" if s.target == "loss" else " (return)"),
        }
        return head, [(name, *(cell(s) for _, s in scored)) for name, cell in quantities.items()]

    def to_dict(self) -> dict[str, Any]:
        """As plain types."""
        f = self.frozen
        of_runs = [{**asdict(o), "scores": [_fields(s) for s in o.scores]} for o in self.outcomes]
        return {
            "forecast": {
                **{"file": f.path, "group": f.group, "params": f.params, "flops": f.flops},
                **{"beyond_table": f.beyond_table, "quantiles": int(f.levels.size)},
                **{"table": f.source, "sha256": f.sha256},
                "diagnostics": {"level": f.level, "sentence": f.verdict},
            },
            "outcomes": self.source,
            "runs": of_runs,
            "sentence": self.sentence,
        }


def _fields(scored: Scored) -> dict[str, Any]:
    return {**asdict(scored), "in_50": scored.in_50, "in_90": scored.in_90}


def _hit(inside: bool) -> str:
    return "inside" if inside else "outside"


def score(recommendation: str | Path, runs: Runs | str | Path | pd.DataFrame, *, group: str | None = None) -> Score:
    """Score the forecast in a recommendation.toml against the runs that carried it out.

    runs: a run table, or a file, a bundled name or a DataFrame, which are read by `forecast.read_runs`.
    Such a run ends, at the last row of its training, within 20% of the recommended params and 5% of its FLOPs, in the
    forecast's group where the table has that, or in `group`. Several of them (seeds) are scored each by itself.
    Raises ForecastError if the file is no recommendation, if no run carried it out (the nearest are named), if none of
    them has what was forecast, or if the forecast was made from this very table and so has seen the outcome.
    """
    of_kind("recommendation", recommendation, (str, PathLike), "the file that Recommendation.to_toml was written to")
    of_kind("group", group, (str, NoneType), "its name")
    frozen, runs = read_frozen(recommendation), as_runs(runs, to_fit=False)
    last = _last_rows(runs, frozen, group)
    off = np.log(last[["params", "flops"]].to_numpy(float) / [frozen.params, frozen.flops])
    near = (np.abs(np.expm1(off)) <= np.array([SIZE_SLACK, COMPUTE_SLACK]) * (1 + 1e-9)).all(axis=1)
    configuration = f"{count(frozen.params)} parameters and {scientific(frozen.flops)} FLOPs"
    if not near.any():
        order = np.argsort(np.abs(off).sum(axis=1), kind="stable")[:_NEAREST]
        nearest = [
            f"line {row} ({count(n)} parameters, {scientific(c)} FLOPs)"
            for row, n, c in zip(last.index[order], last["params"].iloc[order], last["flops"].iloc[order], strict=True)
        ]
        raise ForecastError(
            f"no run of {runs.source} carried out {frozen.path}: none ends within 20% of {count(frozen.params)} "
            f"parameters and 5% of {scientific(frozen.flops)} FLOPs; the nearest end at {', '.join(nearest)}."
        )
    carried = last[near]
    if runs.sha256 == frozen.sha256:
        raise ForecastError(
            f"{frozen.path} was made from this {runs.source}, whose line {carried.index[0]} is the outcome: a forecast "
            "that has seen its outcome cannot be scored; use the recommendation made before the run."
        )
    outcomes = [_outcome(frozen, row) for row in carried.reset_index().to_dict(orient="records")]
    scored = tuple(o for o in outcomes if o.scores)
    if not scored:
        raise ForecastError(
            f"the runs of {runs.source} with {configuration} have no {' and no '.join(frozen.quantiles)}, which was "
            "forecast; add what was measured."
        )
    return Score(frozen=frozen, source=runs.source, outcomes=scored)


def _last_rows(runs: Runs, frozen: Frozen, group: str | None) -> pd.DataFrame:
    """The last row of every training, of the group that the forecast speaks of."""
    name = frozen.group if group is None and frozen.group in runs.groups else group
    if name is None and len(runs.groups) > 1:
        raise ForecastError(
            f"{frozen.path} is of group {frozen.group!r}, which {runs.source} does not have; name with --group the one "
            f"whose run was trained for it: {', '.join(runs.groups)}."
        )
    table = runs.table if name is None else runs.group_table(name)
    # A training is continued, so its end is its row of most samples.
    ends = table.groupby([c for c in ("group", "run", "seed", "params") if c in table], dropna=False)[
        "samples"
    ].idxmax()
    return table.loc[np.sort(ends.to_numpy())]


def _outcome(frozen: Frozen, row: Mapping[Any, Any]) -> Outcome:
    scores = []
    for target, quantiles in frozen.quantiles.items():
        column, error = _COLUMNS[target]
        value, se = float(row.get(column, np.nan)), float(row.get(error, np.nan))
        if not np.isfinite(value):
            continue
        five = frozen.five[target]
        in_scale = np.log(np.append(quantiles, value)) if target == "loss" else np.append(quantiles, value)
        at, beyond = _percentile(frozen.levels, in_scale[:-1], in_scale[-1])
        positive = value > 0 and five["median"] > 0
        scores.append(
            Scored(
                target=target,
                outcome=value,
                se=se if np.isfinite(se) else None,
                **five,
                percentile=at,
                beyond=beyond,
                log_ratio=float(np.log(value / five["median"])) if positive else None,
                crps=crps(frozen.levels, in_scale[:-1], in_scale[-1]),
            )
        )
    seed = row.get("seed")
    return Outcome(
        row=int(row["row"]),
        run=str(row["run"]),
        seed=None if seed is None or pd.isna(seed) else str(seed),
        **{c: float(row[c]) for c in ("params", "samples", "flops")},
        scores=tuple(scores),
    )


def _percentile(levels: np.ndarray, quantiles: np.ndarray, value: float) -> tuple[float, str]:
    """Share of the forecast below a value, and "<" or ">" where it lies beyond the quantiles."""
    if value < quantiles[0]:
        return float(levels[0]), "<"
    if value > quantiles[-1]:
        return float(levels[-1]), ">"
    return float(np.interp(value, quantiles, levels)), ""
