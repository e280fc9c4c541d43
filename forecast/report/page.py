"""The page people read: one self-contained file, and the figures beside it."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from forecast.bayes.posterior import Posterior
from forecast.decide.recommend import Recommendation
from forecast.errors import ForecastError
from forecast.files import file_names, write_whole
from forecast.model.weights import LOCALITIES
from forecast.numbers import count, digits, percent, plain, scientific
from forecast.report import figures, pictures, tables
from forecast.report.figures import View
from forecast.report.grid import SIZES, grid
from forecast.report.parts import Answer, part
from forecast.runs.table import Runs, distinct_samples
from forecast.verify.backtest import Backtest
from forecast.verify.outcome import Score

_ROWS_HELD = 2000  # rows that the page holds, to be shown under the pointer and downloaded
_LONG = ("config", "data", "code", "hardware")  # columns of hashes and machines, which nobody reads there
_MARKED = re.compile(r"(?P<url>https?://[^\s,;)]*[^\s,;).])|`(?P<code>[^`]+)`")


def write_report(
    posterior: Posterior,
    recommendations: Sequence[Recommendation],
    out: Path,
    *,
    comparison: pd.DataFrame | None = None,
    backtest: Backtest | None = None,
    scores: Sequence[Score] = (),
    answers: Mapping[str, Sequence[Answer]] | None = None,
    timings: Mapping[str, float] | None = None,
    command: str | None = None,
    replicates: int = 40,
) -> Path:
    """Write `index.html` and `figures/` into the folder `out`, and return the page's path.

    recommendations: one a group, in the order of the page.
    comparison: of `forecast.compare`.
    backtest: of this table, shown beside its forecast.
    scores: of forecasts that were frozen from this table, one a group at most, shown with their outcomes.
    answers: by group, what `forecast.watch`, `forecast.compare_recipes` and `forecast.next_runs` returned.
    timings: seconds by what took them; they make two reports of equal forecasts differ.
    command: what was typed, to be shown.
    replicates: bootstrap samples of the parametric methods, most of the time this takes; 0 for no intervals of theirs.

    The page needs neither the network nor the figures beside it. Raises ForecastError without recommendations, and if a
    forecast that was scored is of another table, or of a group that is not shown or has another.
    """
    if not recommendations:
        raise ForecastError("a report got no recommendation; pass one for every group that it should show.")
    check_scored(scores, posterior.runs, [r.group for r in recommendations])
    scored = {score.frozen.group: score for score in scores}
    views = [figures.look(posterior, r, replicates=replicates) for r in recommendations]
    names = file_names(view.group for view in views)
    several = len(views) > 1
    passes = not several or distinct_samples(posterior.runs.table).lt(posterior.runs.table["samples"]).any()
    sections = [
        _section(
            view,
            names[view.group],
            backtest,
            scored.get(view.group),
            (answers or {}).get(view.group, ()),
            tile=several,
            passes=bool(passes),
        )
        for view in views
    ]
    (out / "figures").mkdir(parents=True, exist_ok=True)
    for view, section in zip(views, sections, strict=True):
        for picture in section["pictures"].values():
            write_whole(out / "figures" / f"{picture.name}.svg", picture.svg)
        write_whole(out / "figures" / f"{names[view.group]}-headline.png", figures.png(figures.headline(view)))
    page = out / "index.html"
    write_whole(page, _render(posterior, recommendations, sections, comparison, timings, command))
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
    environment.filters.update(marked=_marked, count=count, digits=digits, plain=plain, scientific=scientific)
    template = environment.from_string(_file("page.html.j2"))
    runs = posterior.runs
    return template.render(
        budgets=sorted({scientific(r.flops): r.flops for r in recommendations}.values()),
        sections=sections,
        css=Markup(_file("page.css")),
        js=Markup(_file("page.js")),
        held=_held(runs, sections),
        overview=tables.overview(recommendations),
        runs=runs,
        summary=runs.summary(),
        posterior=posterior,
        law=posterior.spec.law,
        views=[percent(np.expm1(of_excess)) for of_excess, _ in LOCALITIES],
        verdict=posterior.diagnostics.verdict,
        checks=tables.checks(posterior.diagnostics.checks),
        comparison=None if comparison is None else tables.comparison(comparison),
        nominal=tables.nominal(posterior) if "flops_nominal" in runs.table and runs.has_losses else None,
        aside_counts=posterior.set_aside.value_counts().sort_index().items(),
        aside=tables.aside(posterior),
        timings=dict(timings or {}),
        command=command or _command(posterior, recommendations),
        draws=np.prod(posterior.diagnostics.diverging.shape),
        version=version("game-scaling"),
    )


def check_scored(scores: Sequence[Score], runs: Runs, groups: Sequence[str]) -> None:
    """Raise ForecastError for a forecast of another table or of a group that is not shown, and for two of one group."""
    for frozen in (score.frozen for score in scores):
        if frozen.sha256 != runs.sha256:
            raise ForecastError(
                f"{frozen.path} was made from another table than {runs.source} ({frozen.source}, sha256 "
                f"{frozen.sha256[:12]}…, not {runs.sha256[:12]}…); give the table that it was made from."
            )
        if frozen.group not in groups:
            raise ForecastError(
                f"{frozen.path} is of group {frozen.group!r}, and the report shows {', '.join(groups)}."
            )
    if len({score.frozen.group for score in scores}) < len(scores):
        raise ForecastError("two of the scored forecasts are of one group; a report shows one for each.")


def _section(
    view: View,
    slug: str,
    past: Backtest | None,
    score: Score | None,
    answers: Sequence[Answer],
    *,
    tile: bool,
    passes: bool,
) -> dict[str, Any]:
    """What the page says of one group; slug: begins the names of its figures and headings.

    tile: whether to draw it as one of several. passes: whether the slider answers for samples that are seen again.
    """
    if past is not None and view.group not in set(past.paths["group"]):
        past = None
    drawn = pictures.of_forecast(view, slug, tile=tile)
    outcomes = {} if score is None else pictures.of_outcome(view, slug, score)
    pasts = {} if past is None else pictures.of_past(view, slug, past)
    parts = [part(answer, view.table, slug) for answer in answers]
    rec = view.recommendation
    reached = rec.returns if rec.returns is not None else rec.loss
    assert reached is not None
    return {
        "slug": slug,
        "view": view,
        "rec": rec,
        "target": view.headline_column.removesuffix("_mean"),
        "short": f"{count(rec.params)} parameters for {view.headline_column.removesuffix('_mean')} "
        f"{digits(reached['median'])} ({digits(reached['q05'])} to {digits(reached['q95'])})",
        "reference": view.posterior.reference(view.group),
        "pictures": {**drawn, **outcomes, **pasts, **{k: v for one in parts for k, v in one.pictures.items()}},
        "outcomes": list(outcomes),
        "pasts": list(pasts),
        "parts": parts,
        "passes": passes,
        "grid": grid(view, passes=passes),
        "score": score,
        "scored": None if score is None else tables.scored(score),
        "recommended": tables.recommended(rec),
        "sources": tables.sources(view),
        "pace": view.posterior.pace(view.group).sentence,
        "seen_again": tables.seen_again(view),
        "lowered": tables.lowered(view),
        "known": tables.known_bounds(view),
        "told_apart": tables.told_apart(view),
        "rounding": tables.rounding(rec),
        "methods": tables.methods(view),
        "past": None if past is None else tables.past(past, view.group),
        "parameters": tables.parameters(view.posterior, view.group),
    }


def _held(runs: Runs, sections: Sequence[dict[str, Any]]) -> Markup:
    """What the page's script reads: the grids, the rows, and where the rows lie in the pictures; as JSON."""
    table = runs.table
    rows = None
    if len(table) <= _ROWS_HELD:
        shown = [c for c in table.columns if c not in _LONG and table[c].notna().any()]
        cells = json.loads(table[shown].to_json(orient="values", double_precision=15))
        rows = {
            "columns": ["row", *shown],
            "data": [[int(i), *map(_short, c)] for i, c in zip(table.index, cells, strict=True)],
        }
    places = {
        f"{s['slug']}-{name}": picture.places(table.index)
        for s in sections
        for name, picture in s["pictures"].items()
        if (picture.rows is not None and rows is not None) or name == "headline"
    }
    grids = {s["slug"]: s["grid"] for s in sections}
    head = sections[0]["recommended"].head
    content = {"grids": grids, "sizes": SIZES, "head": head, "rows": rows, "pictures": places}
    return Markup(json.dumps(content, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"))


def _short(cell: Any) -> Any:
    """A number to nine digits, whole where it is."""
    if not isinstance(cell, float):
        return cell
    return int(cell) if cell.is_integer() else float(f"{cell:.9g}")


def _file(name: str) -> str:
    return (files("forecast.report") / name).read_text(encoding="utf-8")


def fit_options(posterior: Posterior) -> list[str]:
    """Options of the command that make this posterior again."""
    chains, draws = posterior.diagnostics.diverging.shape
    options = {"law": posterior.spec.law, "seed": posterior.seed, "chains": chains, "draws": draws, "max-draws": draws}
    for name, by_group in (
        ("expert-return", posterior.expert_return),
        ("expert-loss", posterior.expert_loss),
        ("start-loss", posterior.start_loss),
    ):
        if len(set(by_group.values())) == 1:
            options[name] = next(iter(by_group.values()))
    return [part for name, value in options.items() for part in (f"--{name}", str(value))]


def _command(posterior: Posterior, recommendations: Sequence[Recommendation]) -> str:
    budget = scientific(recommendations[0].flops)
    return shlex.join(["forecast", "report", posterior.runs.source, "--flops", budget, *fit_options(posterior)])


def _marked(text: str) -> Markup:
    """Text with its addresses as links and its `names` as code."""
    parts, at = [], 0
    for match in _MARKED.finditer(text):
        pattern = "<code>{0}</code>" if match["code"] else '<a href="{0}">{0}</a>'
        parts += [escape(text[at : match.start()]), Markup(pattern).format(match["code"] or match["url"])]
        at = match.end()
    return Markup("").join([*parts, escape(text[at:])])
