"""The tables of the page: cells as they are printed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from forecast import classical
from forecast.bayes.diagnostics import AMBER
from forecast.bayes.posterior import Posterior
from forecast.bayes.prediction import QUANTILES
from forecast.classical import Columns, Interval, ReturnFrontier
from forecast.decide.recommend import Recommendation
from forecast.decide.sensitivity import bounds_lowered, enough_to_tell
from forecast.errors import FitError
from forecast.model.parameters import SCALE_KNOTS, SKILL_KNOTS
from forecast.model.weights import NEIGHBOUR
from forecast.numbers import count, decimals, digits, percent, scientific, share
from forecast.report.figures import View
from forecast.report.figures.style import METHOD_NAMES, method_name
from forecast.verify.backtest import NAMES, Backtest
from forecast.verify.outcome import Score

_RETURN_BOUNDS = {
    "return at the reference": "return at the reference point",
    "highest return": "return that no compute passes",
    "return of random play": "return of random play, which no run falls below",
}


@dataclass(frozen=True, kw_only=True)
class Table:
    """Cells as they are printed. text: how many columns, from the left, hold words; the others are numbers.

    A row shorter than the head ends in a remark that spans the rest.
    """

    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    text: int = 1


def recommended(rec: Recommendation) -> Table:
    """What to train, where the optimum may lie, and what a new run will give."""
    rows = [
        ("parameters N", count(rec.params), *_spread(rec.optimum_params, count)),
        ("samples D", count(rec.samples), *_spread(rec.optimum_samples, count)),
    ]
    if rec.loss is not None:
        rows.append(("loss of the new run", "", *_spread(rec.loss, digits)))
    if rec.returns is not None:
        rows.append(("return of the new run", "", *_spread(rec.returns, digits)))
    return Table(head=("", "to train", "median", "50% interval", "90% interval"), rows=rows)


def scored(score: Score) -> Table:
    """A frozen forecast against its outcome: a column for every run and target."""
    head, rows = score.cells()
    return Table(head=head, rows=rows)


def overview(recommendations: Sequence[Recommendation]) -> Table:
    """The recommendations of several groups, a row each."""
    targets = ["loss", "return"] if any(rec.loss is not None for rec in recommendations) else ["return"]
    head = ("group", "FLOPs", "parameters N", "samples D", *(c for name in targets for c in (name, "90% interval")))
    rows = []
    for rec in recommendations:
        of = {"loss": rec.loss, "return": rec.returns}
        cells = [c for name in targets for c in _median(of[name])]
        rows.append((rec.group, scientific(rec.flops), count(rec.params), count(rec.samples), *cells))
    return Table(head=head, rows=rows)


def _median(q: Mapping[str, float] | None) -> tuple[str, str]:
    """Median and 90% interval."""
    return ("–", "–") if q is None else (digits(q["median"]), _between(q["q05"], q["q95"], digits))


def sources(view: View) -> Table:
    """90% intervals of loss and return as one source of uncertainty after the other is added."""
    posterior, rec = view.posterior, view.recommendation
    point = np.array([rec.params]), np.array([rec.samples])
    unique = rec.unique_samples
    law, paced = (
        posterior.log_loss(*point, group=view.group, pace=pace, unique_samples=unique) for pace in (False, True)
    )
    run = posterior.predict(*point, group=view.group, unique_samples=unique)
    first = "the law and the drift of its exponents" if posterior.spec.law == "drifting" else "the law"
    head: tuple[str, ...] = ("what is uncertain",)
    rows: list[tuple[str, ...]] = [(first,), ("… and its pace beyond the data",), ("… and the noise of a run",)]
    if run.loss is not None:
        head = (*head, "loss, 90% interval")
        rows = [(*row, _interval(x)) for row, x in zip(rows, [np.exp(law), np.exp(paced), run.loss], strict=True)]
    if run.returns is not None:
        returns = [posterior.returns_at(x, point[0], group=view.group, new_run=False) for x in (law, paced)]
        head = (*head, "return, 90% interval")
        rows = [(*row, _interval(r)) for row, r in zip(rows, [*returns, run.returns], strict=True)]
    return Table(head=head, rows=rows)


def seen_again(view: View) -> str | None:
    """What samples are worth that are seen again, in words; None where that plays no part."""
    learned = view.posterior.spec.repeats
    if not learned and view.unique_samples is None:
        return None
    low, middle, high = (digits(x, 2) for x in np.quantile(view.posterior.repeats(view.group), (0.05, 0.5, 0.95)))
    source = "learned from rows that saw theirs again" if learned else "by the prior, because no row saw one again"
    fresh = "" if view.unique_samples is not None else " The forecast and the figures are for fresh samples."
    return (
        f"Samples seen again: all passes after the first together are worth at most {middle} passes ({low} to {high}, "
        f"90%), {source}.{fresh}"
    )


def lowered(view: View) -> Table:
    """What the recommended run would be expected to reach if a bound lay 10% lower."""
    found = bounds_lowered(view.posterior, view.recommendation)
    targets = [t for t in ("loss", "return") if found[t].notna().any()]
    rows = [
        (
            str(row["bound"]),
            digits(row["value"]),
            *(f"{digits(row[f'{t}_if'])} for {digits(row[t])}" if np.isfinite(row[t]) else "–" for t in targets),
        )
        for row in found.to_dict(orient="records")
    ]
    return Table(head=("10% lower", "its median", *(f"{t} of the new run" for t in targets)), rows=rows)


def known_bounds(view: View) -> str | None:
    """What is known of the group's demonstrator and bounds its runs, in words; None where nothing is."""
    posterior, name = view.posterior, view.group
    bounds = [
        f"{what} {digits(by_group[name])}"
        for what, by_group in (("loss", posterior.expert_loss), ("return", posterior.expert_return))
        if name in by_group
    ]
    if not bounds or not posterior.has_losses:
        return None
    return f"Known of the demonstrator, and taken for the best that a clone can do: {' and '.join(bounds)}."


def told_apart(view: View) -> str | None:
    """How many games and trainings a difference of 10% takes, in words; None without returns."""
    enough = enough_to_tell(view.posterior, view.group)
    if enough is None:
        return None
    trainings = (
        f"{enough.trainings:,} trainings of each recipe, with so many games that only the spread of trainings remains"
    )
    if enough.games is None:
        return f"A return that is 10% higher is told apart (at 5%, two-sided, with a power of 80%) by {trainings}."
    return (
        f"A return that is 10% higher is told apart (at 5%, two-sided, with a power of 80%) by {enough.games:,} games "
        f"of each of two policies; that of a recipe by {trainings}."
    )


def rounding(rec: Recommendation) -> Table:
    """What sizes around the recommended one would give away."""
    sizes = rec.params * np.array([0.25, 0.5, 1.0, 2.0, 4.0])
    sizes = sizes[(sizes >= rec.regret["params"].iloc[0]) & (sizes <= rec.regret["params"].iloc[-1])]
    columns = {"loss_regret": "higher loss", "return_regret": "lower return"}
    shown = {c: name for c, name in columns.items() if c in rec.regret}
    rows = []
    for size in sizes:
        log_samples = np.interp(np.log(size), np.log(rec.regret["params"]), np.log(rec.regret["samples"]))
        regret = rec.regret_of(float(size))
        cells = [share(regret[c]) for c in shown]
        rows.append((count(float(size)), count(float(np.exp(log_samples))), *cells))
    return Table(head=("parameters N", "samples D", *shown.values()), rows=rows, text=0)


def methods(view: View) -> Table:
    """This forecast and the classical methods: exponents, and what each says of the budget."""
    rows = [("this forecast", *_own_exponents(view))]
    flops = view.recommendation.flops
    for name, fit in view.methods.items():
        if isinstance(fit, str):
            rows.append((method_name(name, view.posterior.has_losses), f"gave no answer: {fit}"))
            continue
        exponents = fit.exponents()
        best = exponents.get("loss") or exponents.get("return")
        removable = exponents.get("reducible_loss")
        cells = [_exponent(best) if best else f"{_exponent(removable)} *" if removable else "–"]
        cells += [_exponent(exponents[key]) for key in ("params", "samples")]
        params, samples = fit.optimal(flops)
        returned = isinstance(fit, ReturnFrontier)
        predicted = fit.forecast_return(flops) if returned else fit.forecast_loss(params, samples, flops)
        low, middle, high = predicted.quantile([0.05, 0.5, 0.95])
        forecast = f"{digits(float(middle))} ({_between(float(low), float(high), digits)})"
        rows.append((method_name(name, view.posterior.has_losses), *cells, forecast, count(float(params))))
    what = ("loss", "least loss") if view.posterior.has_losses else ("best return", "best return")
    head = ("method", f"exponent of {what[0]}", "of N*", "of D*", f"{what[1]} at the budget", "N* there")
    return Table(head=head, rows=rows)


def _own_exponents(view: View) -> tuple[str, ...]:
    """Slopes over the last factor of ten of the table's compute, and the answer at the budget, of each draw."""
    frontier, log_flops = view.frontier, np.log(view.frontier.flops)
    ends = np.log(view.largest) + np.array([-np.log(10), 0.0])
    cells = []
    best = frontier.best
    if not view.posterior.has_losses and not (best > 0).all():
        cells.append("–")  # a return that may be negative has no exponent
        best = None
    for draws in (best, frontier.params, frontier.samples):
        if draws is None:
            continue
        at = np.array([np.interp(ends, log_flops, row) for row in np.log(draws)])
        q = np.quantile((at[:, 1] - at[:, 0]) / np.log(10), (0.5, 0.05, 0.95))
        cells.append(_exponent(Interval(value=q[0], lower=q[1], upper=q[2], level=0.9)))
    i = int(np.argmin(np.abs(log_flops - np.log(view.recommendation.flops))))
    params = np.median(frontier.params[:, i])
    there = frontier.best[:, [i]]
    return (*cells, f"{digits(float(np.median(there)))} ({_interval(there)})", count(float(params)))


def past(backtest: Backtest, group: str) -> Table:
    """Scores of the forecasts made at past cut-offs, up to 30 times beyond each."""
    scores = backtest.scores()
    scores = scores[(scores["group"] == group) & (scores["horizon"] == 30)]
    by_key = {(str(r["target"]), str(r["method"])): r for r in scores.to_dict(orient="records")}
    losses = any(target == "loss" for target, _ in by_key)
    returns = losses and any(target == "return" for target, _ in by_key)
    measured = "loss" if losses else "return"
    rows = []
    for (target, method), score in by_key.items():
        if target != measured:
            continue
        cells = [digits(score["crps"]), *(share(score[c]) for c in ("cover90", "cover50", "error"))]
        if losses:
            cells += [share(score["regret"]), digits(score["size_crps"]), share(score["size_cover90"])]
        if returns:
            of_return = by_key.get(("return", method), {"crps": np.nan, "cover90": np.nan})
            cells += [digits(of_return["crps"]), share(of_return["cover90"])]
        rows.append((METHOD_NAMES.get(method, NAMES[method]), *cells, count(score["cutoffs"])))
    head: tuple[str, ...] = ("method", f"CRPS, log {measured}", "in 90%", "in 50%", "error")
    head += ("N* regret", "CRPS, log N*", "in 90%") if losses else ()
    head += ("CRPS, log return", "in 90%") if returns else ()
    return Table(head=(*head, "cut-offs"), rows=rows)


def parameters(posterior: Posterior, group: str) -> Table:
    """The law's parameters, in units to argue with: median and 90% interval."""
    k, law, noise = posterior.groups.index(group), posterior.parameters.law, posterior.parameters.noise
    drifts, losses = law.params_exponents.shape[-1] > 1, posterior.has_losses
    at = SCALE_KNOTS.below if drifts else 0
    removable = "the removable loss" if losses else "what may still be gained"
    quantities: list[tuple[str, Any]] = [
        *_bounds(posterior, k),
        (f"share of {removable} owed to model size", law.share[:, k]),
        ("exponent of model size, α, at the reference", law.params_exponents[:, k, at]),
        ("exponent of samples, β, at the reference", law.samples_exponents[:, k, at]),
    ]
    if posterior.spec.law in ("interaction", "drifting"):
        quantities.append(("interaction of the two, g (1: they add)", law.interaction[:, k]))
    for site, what in (("params_drift", "size"), ("samples_drift", "samples")):
        if drifts:
            name = f"drift of the exponent of {what}: standard deviation of its log for a factor of ten"
            quantities.append((name, _site(posterior, site)))
    if law.start is not None and losses:
        quantities.append(
            ("loss that the law never exceeds, where the frontier starts (nats)", np.exp(law.start[:, k]))
        )
    quantities.append(("relative noise of a run at the reference", noise["noise"][:, k]))
    if "memory" in noise:
        quantities.append(("over what log samples a run's noise persists", noise["memory"]))
    quantities += _return_parameters(posterior, k)
    rows = [(name, digits(float(np.median(x))), _interval(np.asarray(x)[:, None])) for name, x in quantities]
    return Table(head=("parameter", "median", "90% interval"), rows=rows)


def _bounds(posterior: Posterior, k: int) -> list[tuple[str, Any]]:
    """Where the law is at its reference, and what it cannot pass."""
    law = posterior.parameters.law
    level = np.exp(law.level[:, k])
    if posterior.has_losses:
        return [
            ("loss at the reference point (nats)", level),
            ("loss that no compute removes, E (nats)", level * law.floor[:, k]),
            ("… as a share of the loss at the reference (floor)", law.floor[:, k]),
        ]
    return [(_RETURN_BOUNDS[name], draws) for name, (draws, _) in posterior.bounds(k).items()]


def _return_parameters(posterior: Posterior, k: int) -> list[tuple[str, Any]]:
    law = posterior.parameters.return_law
    if law is None:
        return []
    offset = posterior.reference(posterior.groups[k]).return_offset
    return [
        ("elasticity: % more return for 1% less loss, at the reference", law.elasticity[:, k, SKILL_KNOTS.below]),
        ("return of a model ten times the size at equal loss, as a factor", 10 ** law.size[:, k]),
        ("return that bounds it from above", np.exp(law.ceiling[:, k]) - offset),
        ("spread of log return between runs", posterior.parameters.return_noise["spread"][:, k]),
    ]


def _site(posterior: Posterior, name: str) -> np.ndarray:
    return posterior.draws[name].reshape(-1)


def checks(table: pd.DataFrame) -> Table:
    """The diagnostics, one by one."""
    failed = {check: "take care" if check in AMBER else "FAILED" for check in table["check"]}
    cells = zip(table["check"], table["value"], table["wanted"], table["passed"], strict=True)
    rows = [(c, digits(float(v)), str(w), "passed" if ok else failed[c]) for c, v, w, ok in cells]
    return Table(head=("check", "value", "wanted", "verdict"), rows=rows)


def comparison(table: pd.DataFrame) -> Table:
    """The laws side by side, as `forecast.compare` found them."""
    names = ("law", "elpd", "se", "difference", "difference_se", "pareto_k_high")
    cells = zip(*(table[c].tolist() for c in names), strict=True)
    rows = [(str(law), *(decimals(x, 1) for x in numbers), percent(high)) for law, *numbers, high in cells]
    head = ("law", "elpd", "se", "to the best", "se of that", "k over 0.7")
    return Table(head=head, rows=rows)


def nominal(posterior: Posterior) -> Table:
    """Exponents of the two methods of minima with published and with recomputed FLOPs."""
    rows = []
    for group in posterior.groups:
        table = posterior.runs.group_table(group)
        for method in ("power_law", "parabola"):
            cells = [_refit(table, method, column) for column in ("flops_nominal", "flops")]
            pairs = zip(*cells, strict=True) if all(len(c) == 3 for c in cells) else [("–",) * 2] * 3
            rows.append((group, METHOD_NAMES[method], *(cell for pair in pairs for cell in pair)))
    names = ("loss", "N*", "D*")
    head = ("group", "method", *(f"{n}, {which}" for n in names for which in ("published", "recomputed")))
    return Table(head=head, rows=rows, text=2)


def _refit(table: pd.DataFrame, method: str, flops: str) -> tuple[str, ...]:
    names = {"params": "params", "samples": "samples", "flops": flops, "loss": "loss"}
    try:
        fit = classical.fit(Columns(**{name: table[c].to_numpy(float) for name, c in names.items()}), method)
    except FitError:
        return ()
    return tuple(decimals(fit.exponents()[key].value, 2) for key in ("loss", "params", "samples"))


def aside(posterior: Posterior) -> Table:
    """Every row that was set aside and why, except those of a large table that a neighbour stands for."""
    reasons = posterior.set_aside.sort_index()
    reasons = reasons[reasons != NEIGHBOUR]
    table = posterior.runs.table.loc[reasons.index]
    measured = "loss" if posterior.has_losses else "return_mean"
    columns = (table[c].tolist() for c in ("params", "samples", "flops", measured, "group"))
    rows = [
        (str(row), count(n), count(d), scientific(c), digits(loss), str(group), str(reason))
        for row, n, d, c, loss, group, reason in zip(table.index, *columns, reasons, strict=True)
    ]
    head = ("row", "parameters N", "samples D", "FLOPs", measured.removesuffix("_mean"), "group", "reason")
    single = len(posterior.groups) == 1
    return Table(head=head[:5] + head[6:] if single else head, rows=[r[:5] + r[6:] if single else r for r in rows])


def _spread(q: Mapping[str, float], form: Any) -> tuple[str, str, str]:
    return form(q["median"]), _between(q["q25"], q["q75"], form), _between(q["q05"], q["q95"], form)


def _between(low: float, high: float, form: Any) -> str:
    return f"{form(low)} to {form(high)}"


def _interval(draws: np.ndarray) -> str:
    """90% interval of draws [S, 1]."""
    low, high = np.quantile(draws, (QUANTILES[0], QUANTILES[-1]))
    return _between(float(low), float(high), digits)


def _exponent(interval: Interval) -> str:
    value = decimals(interval.value, 2)
    if interval.lower is None or interval.upper is None:
        return value
    return f"{value} ({decimals(interval.lower, 2)} to {decimals(interval.upper, 2)})"
