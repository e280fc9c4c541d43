"""The command that writes the report."""

import shlex
import sys
import webbrowser
from pathlib import Path
from typing import Annotated, Any

import typer

import forecast
from forecast.cli import terminal
from forecast.cli.options import (
    DeviceOpt,
    FitOptions,
    FlopsOpt,
    GroupOpt,
    HoursOpt,
    JsonOpt,
    MfuOpt,
    RunsArg,
    check_folder,
    spendable,
    takes_fit_options,
)
from forecast.cli.verifying import back_testing
from forecast.errors import ForecastError
from forecast.files import file_names, write_whole


@takes_fit_options
def report(
    options: FitOptions,
    runs: RunsArg,
    out: Annotated[Path, typer.Option(help="Folder for index.html, its figures and recommendation.toml.")] = Path(
        "report"
    ),
    flops: FlopsOpt = None,
    gpu_hours: HoursOpt = None,
    device: DeviceOpt = "h100",
    mfu: MfuOpt = 0.3,
    group: GroupOpt = None,
    compare: Annotated[bool, typer.Option(help="Add the comparison of the laws by PSIS-LOO (fits each law).")] = False,
    backtest: Annotated[
        bool, typer.Option(help="Back-test this table anew (minutes); bundled tables bring theirs.")
    ] = False,
    scored: Annotated[
        list[Path] | None,
        typer.Option(help="A recommendation.toml made from RUNS, to be shown with its --outcome; one a group."),
    ] = None,
    outcome: Annotated[Path | None, typer.Option(help="Run table that holds the runs which carried them out.")] = None,
    unique_samples: Annotated[float | None, typer.Option(help="Distinct samples there are, as of `recommend`.")] = None,
    next_spend: Annotated[
        float | None, typer.Option(help="Add the runs that would teach most, as of `next`, for so many FLOPs.")
    ] = None,
    watch: Annotated[str | None, typer.Option(help="Add the end of this run under way, as of `watch`.")] = None,
    watch_samples: Annotated[float | None, typer.Option(help="Samples of that whole run at its end.")] = None,
    against: Annotated[
        str | None, typer.Option(help="Add a comparison with the recipe of this table or posterior, as of `compare`.")
    ] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace forecasts that are frozen in --out.")] = False,
    as_json: JsonOpt = False,
) -> None:
    """Write the report: the forecast and the recommendation for ten times the largest budget, unless one is given.

    With --scored and --outcome it also shows the forecast that was frozen there beside what then happened, and the
    budget is that of the forecast unless another is given.
    """
    from forecast.cli.answers import Further
    from forecast.decide.checks import check_recommend
    from forecast.report.page import check_scored, write_report  # matplotlib is slow to import

    spend = spendable(flops, gpu_hours, device, mfu)
    check_folder(out)
    further = Further(
        options=options, spend=next_spend, run=watch, samples=watch_samples, against=against, quiet=as_json
    )
    scores = _scores(options, runs, scored or [], outcome)

    def questions(table: forecast.Runs) -> list[dict[str, Any]]:
        groups = table.groups if group is None else (table.group_name(group),)
        given = {} if unique_samples is None else {"unique_samples": unique_samples}
        return [_question(table, g, spend, scores) | given for g in groups]

    def check(table: forecast.Runs) -> None:
        for question in questions(table):
            check_recommend(table, **question)
            further.check(table, question)
        check_scored(scores, table, [question["group"] for question in questions(table)])
        if backtest:
            back_testing(table, seed=options.seed)
        frozen = [place for place in _places(out, [q["group"] for q in questions(table)]) if place.exists()]
        if frozen and not force:
            raise ForecastError(
                f"{frozen[0]} exists, and a frozen forecast is kept; choose another --out, or add --force."
            )

    posterior = options.posterior(runs, quiet=as_json, check=check)
    recommendations = [forecast.recommend(posterior, **question) for question in questions(posterior.runs)]
    answers = {one.group: further.answers(posterior, one) for one in recommendations}
    further_answers = [answer for of_group in answers.values() for answer in of_group]
    compared = options.compare(posterior.runs, quiet=as_json) if compare else None
    past = forecast.backtest.bundled_backtest(posterior.runs)
    if backtest:
        with terminal.progress(as_json, "back-testing", back_testing(posterior.runs, seed=options.seed)) as bar:
            past = forecast.backtest.backtest(posterior.runs, seed=options.seed, progress=bar)
    shown: dict[str, Any] = {"comparison": compared, "backtest": past, "scores": scores, "answers": answers}
    terminal.say("Drawing the page.", quiet=as_json)
    page = write_report(posterior, recommendations, out, **shown, command=_typed(posterior, runs))
    for one, place in zip(recommendations, _places(out, [one.group for one in recommendations]), strict=True):
        write_whole(place, one.to_toml())
    least_sure = max(recommendations, key=lambda one: (len(one.provenance.verdict.weak), one.ahead))
    terminal.warn(posterior, least_sure.provenance, quiet=as_json)
    if as_json:
        content = {"recommendations": recommendations, "scores": scores, "answers": further_answers}
        told = {k: [one.to_dict() for one in v] for k, v in content.items()}
        terminal.print_json({"page": str(page), **told, "notes": terminal.notes(posterior)})
        return
    for one in recommendations:
        told = [f"{one.group}:" if len(recommendations) > 1 else "", one.sentence, *one.remarks]
        terminal.out.print(" ".join(filter(None, told)))
    for told in [*scores, *further_answers]:
        terminal.out.print(told.sentence)
    terminal.out.print(f"The report is {page}{'' if open_page else '; open it in a browser'}.")
    if open_page:
        webbrowser.open(page.resolve().as_uri())


def _places(out: Path, groups: list[str]) -> list[Path]:
    """The file of each group's recommendation."""
    if len(groups) == 1:
        return [out / "recommendation.toml"]
    names = file_names(groups)
    return [out / f"recommendation-{names[group]}.toml" for group in groups]


def _scores(options: FitOptions, runs: str, scored: list[Path], outcome: Path | None) -> "list[forecast.Score]":
    """The frozen forecasts against their outcomes, none where neither was named.

    The table of outcomes is read through the column mapping of RUNS; a saved posterior has none.
    """
    if bool(scored) != (outcome is not None):
        raise ForecastError(
            "--scored and --outcome belong together; give the recommendation.toml and the table of its run."
        )
    if outcome is None:
        return []
    reading = FitOptions() if Path(runs).suffix == ".nc" else options
    carried_out = reading.read(outcome, to_fit=False)
    return [forecast.score(frozen, carried_out) for frozen in scored]


def _question(runs: "forecast.Runs", group: str, spend: float | None, scores: "list[forecast.Score]") -> dict[str, Any]:
    """What a report asks of `forecast.recommend`: for the budget given, as frozen, or for ten times the largest."""
    score = next((score for score in scores if score.frozen.group == group), None)
    if spend is None and score is not None:
        choice: dict[str, Any] = {"objective": score.frozen.objective, **score.frozen.constraints}
        return {"flops": score.frozen.budget, "group": group, **choice}
    return {"flops": 10 * runs.largest_flops(group) if spend is None else spend, "group": group}


def _typed(posterior: "forecast.Posterior", source: str) -> str:
    """What the user typed, to be shown in the report; after the fit, if that was saved."""
    typed = shlex.join(["forecast", *sys.argv[1:]])
    if Path(source).suffix != ".nc":
        return typed
    from forecast.report.page import fit_options

    fitted = ["forecast", "fit", posterior.runs.source, *fit_options(posterior), "--out", source]
    return shlex.join(fitted) + "\n" + typed
