"""The page people read: one self-contained file, and the figures beside it."""

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from forecast import classical, figures
from forecast.classical import Columns, Interval
from forecast.figures import View, count, digits, plain, scientific
from forecast.figures.style import METHOD_NAMES
from forecast.model import SCALE_KNOTS, SKILL_KNOTS
from forecast.posterior import QUANTILES, Posterior
from forecast.recommend import Recommendation

_MARKED = re.compile(r"(?P<url>https?://[^\s,;)]*[^\s,;).])|`(?P<code>[^`]+)`")


@dataclass(frozen=True, kw_only=True)
class Table:
    """Cells as they are printed. text: how many columns, from the left, hold words; the others are numbers.

    A row shorter than the head ends in a remark that spans the rest.
    """

    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    text: int = 1


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure as it stands on the page, and its file."""

    name: str
    file: str
    svg: bytes

    @property
    def uri(self) -> str:
        """The figure inside an address, so that the page needs no other file."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg).decode()


def write_report(
    posterior: Posterior,
    recommendations: Sequence[Recommendation],
    out: Path,
    *,
    comparison: pd.DataFrame | None = None,
    timings: Mapping[str, float] | None = None,
    command: str | None = None,
    replicates: int = 40,
) -> Path:
    """Write `index.html` and `figures/` into the folder `out`, and return the page's path.

    recommendations: one a group, in the order of the page. comparison: of `forecast.compare`. timings: seconds by what
    took them; they make two reports of equal forecasts differ. command: what was typed, to be shown. replicates:
    bootstrap samples of the parametric methods, most of the time this takes; 0 for no intervals of theirs. The page
    needs neither the network nor the figures beside it. Raises ValueError without recommendations.
    """
    if not recommendations:
        raise ValueError("a report got no recommendation; pass one for every group that it should show.")
    views = [figures.look(posterior, r, replicates=replicates) for r in recommendations]
    sections = [_section(view) for view in views]
    (out / "figures").mkdir(parents=True, exist_ok=True)
    for view, section in zip(views, sections, strict=True):
        for picture in section["pictures"].values():
            (out / picture.file).write_bytes(picture.svg)
        (out / "figures" / f"{_slug(view.group)}-headline.png").write_bytes(figures.png(figures.headline(view)))
    page = out / "index.html"
    page.write_text(_render(posterior, recommendations, sections, comparison, timings, command), encoding="utf-8")
    return page


def _render(
    posterior: Posterior,
    recommendations: Sequence[Recommendation],
    sections: Sequence[dict[str, Any]],
    comparison: pd.DataFrame | None,
    timings: Mapping[str, float] | None,
    command: str | None,
) -> str:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(marked=_marked, count=count, plain=plain, scientific=scientific)
    template = environment.from_string((files("forecast") / "report.html.j2").read_text(encoding="utf-8"))
    runs = posterior.runs
    return template.render(
        budgets=sorted({r.flops for r in recommendations}),
        sections=sections,
        overview=_overview(recommendations),
        runs=runs,
        summary=runs.summary(),
        posterior=posterior,
        law=posterior.spec.law,
        verdict=posterior.diagnostics,
        checks=_checks(posterior.diagnostics.checks),
        comparison=None if comparison is None else _comparison(comparison),
        nominal=_nominal(posterior) if "flops_nominal" in runs.table else None,
        aside_counts=posterior.set_aside.value_counts().sort_index().items(),
        aside=_aside(posterior),
        timings=dict(timings or {}),
        command=command or _command(posterior, recommendations),
        draws=np.prod(posterior.diagnostics.diverging.shape),
        version=version("game-scaling"),
    )


def _section(view: View) -> dict[str, Any]:
    """What the page says of one group."""
    drawn = {
        "headline": figures.headline,
        "isoflop": figures.isoflop,
        "minimal_loss": figures.minimal_loss,
        "optimum": figures.optimum,
        "return_on_loss": figures.return_on_loss if view.posterior.has_returns else None,
        "regret": figures.regret,
    }
    slug = _slug(view.group)
    return {
        "slug": slug,
        "view": view,
        "rec": view.recommendation,
        "reference": view.posterior.reference(view.group),
        "pictures": {
            name: Picture(name=name, file=f"figures/{slug}-{name}.svg", svg=figures.svg(draw(view)))
            for name, draw in drawn.items()
            if draw is not None
        },
        "recommended": _recommended(view.recommendation),
        "sources": _sources(view),
        "rounding": _rounding(view.recommendation),
        "methods": _methods(view),
        "parameters": _parameters(view.posterior, view.group),
    }


def _recommended(rec: Recommendation) -> Table:
    """What to train, where the optimum may lie, and what a new run will give."""
    rows = [
        ("parameters N", count(rec.params), *_spread(rec.optimum_params, count)),
        ("samples D", count(rec.samples), *_spread(rec.optimum_samples, count)),
        ("loss of the new run", "", *_spread(rec.loss, digits)),
    ]
    if rec.returns is not None:
        rows.append(("return of the new run", "", *_spread(rec.returns, digits)))
    return Table(head=("", "to train", "median", "50% interval", "90% interval"), rows=rows)


def _overview(recommendations: Sequence[Recommendation]) -> Table:
    head = ("group", "FLOPs", "parameters N", "samples D", "loss", "90% interval", "return", "90% interval")
    rows = []
    for rec in recommendations:
        loss = digits(rec.loss["median"]), _between(rec.loss["q05"], rec.loss["q95"], digits)
        q = rec.returns
        returns = ("–", "–") if q is None else (digits(q["median"]), _between(q["q05"], q["q95"], digits))
        rows.append((rec.group, scientific(rec.flops), count(rec.params), count(rec.samples), *loss, *returns))
    return Table(head=head, rows=rows)


def _sources(view: View) -> Table:
    """90% intervals of loss and return as one source of uncertainty after the other is let in."""
    posterior, rec = view.posterior, view.recommendation
    point = np.array([rec.params]), np.array([rec.samples])
    law, paced = (posterior.log_loss(*point, group=view.group, pace=pace) for pace in (False, True))
    run = posterior.predict(*point, group=view.group)
    known = "the law and the drift of its exponents" if posterior.spec.law == "drifting" else "the law"
    steps = [(known, np.exp(law)), ("… and its pace beyond the data", np.exp(paced))]
    steps.append(("… and the luck of a run", run.loss))
    head, rows = ("what is uncertain", "loss, 90% interval"), [(name, _interval(loss)) for name, loss in steps]
    if run.returns is not None:
        given = [posterior.returns_at(x, point[0], group=view.group, new_run=False) for x in (law, paced)]
        head = (*head, "return, 90% interval")
        rows = [(*row, _interval(r)) for row, r in zip(rows, [*given, run.returns], strict=True)]
    return Table(head=head, rows=rows)


def _rounding(rec: Recommendation) -> Table:
    """What sizes around the recommended one would give away."""
    sizes = rec.params * np.array([0.25, 0.5, 1.0, 2.0, 4.0])
    sizes = sizes[(sizes >= rec.regret["params"].iloc[0]) & (sizes <= rec.regret["params"].iloc[-1])]
    columns = {"loss_regret": "higher loss", "return_regret": "lower return"}
    known = {c: name for c, name in columns.items() if c in rec.regret}
    rows = []
    for size in sizes:
        log_samples = np.interp(np.log(size), np.log(rec.regret["params"]), np.log(rec.regret["samples"]))
        given = rec.regret_of(float(size))
        cells = [f"{100 * given[c]:.1f}%" for c in known]
        rows.append((count(float(size)), count(float(np.exp(log_samples))), *cells))
    return Table(head=("parameters N", "samples D", *known.values()), rows=rows, text=0)


def _methods(view: View) -> Table:
    """This forecast and the classical methods: exponents, and what each says of the budget."""
    rows = [("this forecast", *_own_exponents(view))]
    flops = view.recommendation.flops
    for name, fit in view.methods.items():
        if isinstance(fit, str):
            rows.append((METHOD_NAMES[name], f"gave no answer: {fit}"))
            continue
        exponents = fit.exponents()
        loss = exponents.get("loss")
        removable = exponents.get("reducible_loss")
        cells = [_exponent(loss) if loss else f"{_exponent(removable)} *" if removable else "–"]
        cells += [_exponent(exponents[key]) for key in ("params", "samples")]
        params, samples = fit.optimal(flops)
        low, middle, high = fit.forecast_loss(params, samples, flops).quantile([0.05, 0.5, 0.95])
        forecast = f"{digits(float(middle))} ({_between(float(low), float(high), digits)})"
        rows.append((METHOD_NAMES[name], *cells, forecast, count(float(params))))
    head = ("method", "exponent of loss", "of N*", "of D*", "least loss at the budget", "N* there")
    return Table(head=head, rows=rows)


def _own_exponents(view: View) -> tuple[str, ...]:
    """Slopes over the last factor of ten of the table's compute, and the answer at the budget, of each draw."""
    frontier, log_flops = view.frontier, np.log(view.frontier.flops)
    ends = np.log(view.largest) + np.array([-np.log(10), 0.0])
    cells = []
    for draws in (frontier.loss, frontier.params, frontier.samples):
        at = np.array([np.interp(ends, log_flops, row) for row in np.log(draws)])
        q = np.quantile((at[:, 1] - at[:, 0]) / np.log(10), (0.5, 0.05, 0.95))
        cells.append(_exponent(Interval(value=q[0], lower=q[1], upper=q[2], level=0.9)))
    i = int(np.argmin(np.abs(log_flops - np.log(view.recommendation.flops))))
    params = np.median(frontier.params[:, i])
    loss = frontier.loss[:, [i]]
    return (*cells, f"{digits(float(np.median(loss)))} ({_interval(loss)})", count(float(params)))


def _parameters(posterior: Posterior, group: str) -> Table:
    """The law's parameters, in units to argue with: median and 90% interval."""
    k, law, noise = posterior.groups.index(group), posterior.parameters.law, posterior.parameters.noise
    level, drifts = np.exp(law.level[:, k]), law.params_exponents.shape[-1] > 1
    at = SCALE_KNOTS.below if drifts else 0
    found: list[tuple[str, Any]] = [
        ("loss at the reference point (nats)", level),
        ("loss that no compute removes, E (nats)", level * law.floor[:, k]),
        ("… as a share of the loss at the reference (floor)", law.floor[:, k]),
        ("share of the removable loss owed to model size", law.share[:, k]),
        ("exponent of model size, α, at the reference", law.params_exponents[:, k, at]),
        ("exponent of samples, β, at the reference", law.samples_exponents[:, k, at]),
    ]
    if posterior.spec.law in ("interaction", "drifting"):
        found.append(("interaction of the two, g (1: they add)", law.interaction[:, k]))
    for site, what in (("params_drift", "size"), ("samples_drift", "samples")):
        if drifts:
            found.append((f"drift of the exponent of {what}, sd of its log a factor of ten", _site(posterior, site)))
    if posterior.spec.law == "saturating":
        found.append(("loss of an untrained policy (nats)", np.exp(law.start[:, k])))
    found.append(("relative noise of a run at the reference", noise["noise"][:, k]))
    if "memory" in noise:
        found.append(("over what log samples a run's noise persists", noise["memory"]))
    found += _return_parameters(posterior, k)
    rows = [(name, digits(float(np.median(x))), _interval(np.asarray(x)[:, None])) for name, x in found]
    return Table(head=("parameter", "median", "90% interval"), rows=rows)


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


def _checks(checks: pd.DataFrame) -> Table:
    cells = zip(checks["check"], checks["value"], checks["wanted"], checks["passed"], strict=True)
    rows = [(c, digits(float(v)), str(w), "passed" if ok else "FAILED") for c, v, w, ok in cells]
    return Table(head=("check", "value", "wanted", "verdict"), rows=rows)


def _comparison(table: pd.DataFrame) -> Table:
    names = ("law", "elpd", "se", "difference", "difference_se", "pareto_k_high")
    cells = zip(*(table[c].tolist() for c in names), strict=True)
    rows = [
        (str(law), *(f"{x:.1f}".replace("-", "−") for x in numbers), f"{100 * high:.0f}%")
        for law, *numbers, high in cells
    ]
    head = ("law", "elpd", "se", "to the best", "se of that", "k over 0.7")
    return Table(head=head, rows=rows)


def _nominal(posterior: Posterior) -> Table:
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
    except ValueError:
        return ()
    return tuple(_signed(fit.exponents()[key].value) for key in ("loss", "params", "samples"))


def _aside(posterior: Posterior) -> Table:
    """Every row that was set aside and why."""
    reasons = posterior.set_aside.sort_index()
    table = posterior.runs.table.loc[reasons.index]
    columns = (table[c].tolist() for c in ("params", "samples", "flops", "loss", "group"))
    rows = [
        (str(row), f"{n:,.0f}", count(d), scientific(c), digits(loss), str(group), str(reason))
        for row, n, d, c, loss, group, reason in zip(table.index, *columns, reasons, strict=True)
    ]
    head = ("row", "parameters N", "samples D", "FLOPs", "loss", "group", "reason")
    single = len(posterior.groups) == 1
    return Table(head=head[:5] + head[6:] if single else head, rows=[r[:5] + r[6:] if single else r for r in rows])


def _command(posterior: Posterior, recommendations: Sequence[Recommendation]) -> str:
    settings = {"law": posterior.spec.law, "seed": posterior.seed}
    chains, draws = posterior.diagnostics.diverging.shape
    told = " ".join(f"--{k} {v}" for k, v in {**settings, "chains": chains, "draws": draws}.items())
    return f"forecast report {posterior.runs.source} --flops {scientific(recommendations[0].flops)} {told}"


def _spread(q: Mapping[str, float], form: Any) -> tuple[str, str, str]:
    return form(q["median"]), _between(q["q25"], q["q75"], form), _between(q["q05"], q["q95"], form)


def _between(low: float, high: float, form: Any) -> str:
    return f"{form(low)} to {form(high)}"


def _interval(draws: np.ndarray) -> str:
    """90% interval of draws [S, 1]."""
    low, high = np.quantile(draws, (QUANTILES[0], QUANTILES[-1]))
    return _between(float(low), float(high), digits)


def _exponent(found: Interval) -> str:
    if found.lower is None or found.upper is None:
        return _signed(found.value)
    return f"{_signed(found.value)} ({_signed(found.lower)} to {_signed(found.upper)})"


def _signed(number: float) -> str:
    return f"{number:.2f}".replace("-", "−")


def _slug(group: str) -> str:
    return re.sub(r"[^\w.-]+", "-", group)


def _marked(text: str) -> Markup:
    """Text with its addresses as links and its `names` as code."""
    parts, at = [], 0
    for found in _MARKED.finditer(text):
        pattern = "<code>{0}</code>" if found["code"] else '<a href="{0}">{0}</a>'
        parts += [escape(text[at : found.start()]), Markup(pattern).format(found["code"] or found["url"])]
        at = found.end()
    return Markup("").join([*parts, escape(text[at:])])
