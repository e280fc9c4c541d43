"""The `forecast` command."""

import shlex
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

import forecast
from forecast.bayes.laws import LAWS
from forecast.cli import terminal
from forecast.cli.devices import budget
from forecast.cli.options import (
    ColumnOpt,
    ColumnsOpt,
    DeviceOpt,
    FitOptions,
    FlopsOpt,
    GroupOpt,
    HoursOpt,
    JsonOpt,
    MfuOpt,
    RunsArg,
    takes_fit_options,
)
from forecast.errors import ForecastError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help=forecast.__doc__,
)


@app.command(epilog="Example: forecast datasets")
def datasets(as_json: JsonOpt = False) -> None:
    """List the bundled run tables and where they come from."""
    found = [
        {"name": d.name, "title": d.title, "description": d.description.strip(), "source": d.source, "url": d.url,
         "notes": list(d.notes), **forecast.read_runs(d.name).summary()}
        for d in forecast.datasets().values()
    ]  # fmt: skip
    if as_json:
        terminal.print_json(found)
        return
    for d in found:
        terminal.out.print(f"{d['name']}: {d['rows']} rows, {d['sizes']} sizes, groups {', '.join(d['groups'])}")
        terminal.out.print(f"  {' '.join(d['description'].split())}\n  {d['source']}")


@app.command(epilog="Example: forecast fit nethack-transformer --out posterior.nc")
@takes_fit_options
def fit(
    options: FitOptions,
    runs: RunsArg,
    out: Annotated[Path | None, typer.Option(help="Save the posterior (netCDF), to be used in place of RUNS.")] = None,
    compare: Annotated[bool, typer.Option(help="Compare the laws by PSIS-LOO, whole trajectories left out.")] = False,
    prior: Annotated[bool, typer.Option(help="Only show what the priors expect of each row, without fitting.")] = False,
    as_json: JsonOpt = False,
) -> None:
    """Fit the scaling law of a run table, with uncertainty, and say whether the fit may be believed."""
    _check_folder(out)
    table = options.read(runs)
    if prior:
        expected = forecast.prior_predictive(table, law=options.law, seed=options.seed).reset_index()
        terminal.print_json(expected.to_dict(orient="records")) if as_json else terminal.print_table(
            expected, "Before anything measured is seen"
        )
        return
    posterior = options.fit(table, quiet=as_json)
    compared = forecast.compare(table, **options.of_sampler) if compare else None
    if out is not None:
        posterior.save(out)
    summary = posterior.summary()
    if as_json:
        terminal.print_json(
            {
                "table": table.summary(),
                "law": options.law,
                "parameters": summary.to_dict(orient="records"),
                "set_aside": {str(k): v for k, v in posterior.set_aside.items()},
                "diagnostics": terminal.diagnostics(posterior),
                "comparison": None if compared is None else compared.to_dict(orient="records"),
                "saved": None if out is None else str(out),
            }
        )
        return
    terminal.print_table(summary, "Parameters")
    terminal.print_table(posterior.diagnostics.checks, "Diagnostics")
    if compared is not None:
        terminal.print_table(compared, "Laws by PSIS-LOO, whole trajectories left out")
    for reason, count in posterior.set_aside.value_counts().items():
        terminal.out.print(f"Set aside: {count} of {len(table.table)} rows, {reason}.")
    terminal.out.print(posterior.diagnostics.sentence)


@app.command(epilog="Example: forecast predict nethack-transformer --at points.csv --out predicted.csv")
@takes_fit_options
def predict(
    options: FitOptions,
    runs: RunsArg,
    at: Annotated[Path, typer.Option(help="CSV with columns params, samples and optionally flops and group.")],
    out: Annotated[Path | None, typer.Option(help="CSV to write; printed when not given.")] = None,
    group: GroupOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Predict loss and return of new runs at given sizes and samples; without losses in the table, the return."""
    points = forecast.read_points(at)
    posterior = options.posterior(runs, quiet=as_json)
    table = forecast.predict_points(posterior, points, group=group)
    terminal.warn(posterior)
    if out is not None:
        table.to_csv(out, index=False)
    if as_json:
        terminal.print_json(table.to_dict(orient="records"))
    elif out is None:
        sys.stdout.write(table.to_csv(index=False))
    else:
        terminal.err.print(f"Wrote {len(table)} rows to {out}.")


@app.command(epilog="Example: forecast recommend nethack-transformer --flops 1e19 --max-samples 1e11")
@takes_fit_options
def recommend(
    options: FitOptions,
    runs: RunsArg,
    flops: FlopsOpt = None,
    gpu_hours: HoursOpt = None,
    device: DeviceOpt = "h100",
    mfu: MfuOpt = 0.3,
    max_params: Annotated[float | None, typer.Option(help="Largest model allowed.")] = None,
    max_samples: Annotated[float | None, typer.Option(help="Samples there are; demonstrations are finite.")] = None,
    objective: Annotated[
        str, typer.Option(help="auto, return or loss; auto is return where there are returns.")
    ] = "auto",
    params: Annotated[
        float | None, typer.Option(help="Also say what training this size instead would give away.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write recommendation.toml here, to be scored later.")] = None,
    group: GroupOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Recommend the model size and samples for a budget, with intervals of everything."""
    spend = _budget(flops, gpu_hours, device, mfu)
    if spend is None:
        raise ForecastError("no budget was given; add --flops 1e19, or --gpu-hours 24 --device h200 --mfu 0.3.")
    posterior = options.posterior(runs, quiet=as_json)
    found = forecast.recommend(
        posterior, flops=spend, group=group, objective=objective, max_params=max_params, max_samples=max_samples
    )
    regret = None if params is None else found.regret_of(params)
    if out is not None:
        out.write_text(found.to_toml(), encoding="utf-8")
    terminal.warn(posterior)
    if as_json:
        terminal.print_json({**found.to_dict(), "regret": regret})
        return
    terminal.out.print(found.sentence)
    terminal.print_table(found.table(), None)
    if params is not None and regret is not None:
        lost = ", ".join(f"{v:.2%} of {k.removesuffix('_regret')}" for k, v in regret.items())
        terminal.out.print(f"Training {params:.3g} parameters instead gives away an expected {lost}.")


@app.command(epilog="Example: forecast required nethack-transformer --return 6000 --probability 0.5")
@takes_fit_options
def required(
    options: FitOptions,
    runs: RunsArg,
    loss: Annotated[float | None, typer.Option(help="Loss to reach (nats).")] = None,
    returns: Annotated[float | None, typer.Option("--return", help="Mean return to reach.")] = None,
    probability: Annotated[float, typer.Option(help="How sure to be.")] = 0.5,
    group: GroupOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Find the least budget that reaches a loss or a return with a given probability."""
    if (loss is None) == (returns is None):
        raise ForecastError("give one target, --loss or --return.")
    posterior = options.posterior(runs, quiet=as_json)
    found = forecast.required(posterior, loss=loss, returns=returns, probability=probability, group=group)
    terminal.warn(posterior)
    if as_json:
        terminal.print_json(found.to_dict())
    else:
        terminal.out.print(found.sentence)


@app.command("next", epilog="Example: forecast next runs.csv --target-flops 1e19 --spend 1e17 --out plan.toml")
@takes_fit_options
def next_runs(
    options: FitOptions,
    runs: RunsArg,
    target_flops: Annotated[float, typer.Option(help="The budget in FLOPs that the recommendation is wanted for.")],
    spend: Annotated[float, typer.Option(help="FLOPs that all these runs may take together.")],
    count: Annotated[int, typer.Option(help="Runs at most.")] = 8,
    out: Annotated[Path | None, typer.Option(help="Write the runs here: a TOML plan for a sweep.")] = None,
    group: GroupOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Plan the runs to train next: those that most improve the recommendation for a larger budget."""
    _check_folder(out)
    posterior = options.posterior(runs, quiet=as_json)
    found = forecast.next_runs(posterior, target_flops=target_flops, spend=spend, group=group, count=count)
    if out is not None:
        if found.runs.empty:
            raise ForecastError(f"{found.sentence} So {out} was not written.")
        out.write_text(found.to_toml(), encoding="utf-8")
    terminal.warn(posterior)
    if as_json:
        terminal.print_json(found.to_dict())
        return
    terminal.out.print(found.sentence)
    if not found.runs.empty:
        terminal.print_table(found.table(), "Sizes around the one that is expected to be the best at their budget")


@app.command(epilog="Example: forecast score recommendation.toml --runs runs.csv")
def score(
    recommendation: Annotated[Path, typer.Argument(help="The recommendation.toml of `forecast recommend --out`.")],
    runs: Annotated[Path, typer.Option(help="CSV or Parquet run table that holds the run which carried it out.")],
    group: GroupOpt = None,
    columns: ColumnsOpt = None,
    column: ColumnOpt = None,
    out: Annotated[Path | None, typer.Option(help="Write the score here, as JSON.")] = None,
    as_json: JsonOpt = False,
) -> None:
    """Score a frozen forecast against the run that carried it out; several seeds each by itself."""
    _check_folder(out)
    table = FitOptions(columns=columns, column=column).read(runs, to_fit=False)
    found = forecast.score(recommendation, table, group=group)
    if out is not None:
        out.write_text(terminal.as_json(found.to_dict()), encoding="utf-8")
    if as_json:
        terminal.print_json(found.to_dict())
        return
    terminal.out.print(found.sentence)
    head, rows = found.cells()
    terminal.print_table(pd.DataFrame(rows, columns=list(head)), None)


@app.command(epilog="Example: forecast backtest nethack-transformer --forecasts forecasts.csv")
def backtest(
    runs: Annotated[str, typer.Argument(help="A CSV or Parquet run table, or a bundled name.")],
    forecasts: Annotated[Path | None, typer.Option(help="CSV to write every single forecast to.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for all that was found and a picture a group.")] = None,
    cutoffs: Annotated[int | None, typer.Option(help="Of each group; 10, fewer where there are many groups.")] = None,
    method: Annotated[list[str] | None, typer.Option(help="Only this method; may be repeated.")] = None,
    columns: ColumnsOpt = None,
    column: ColumnOpt = None,
    law: Annotated[str, typer.Option(help=f"Of this forecast; one of {', '.join(LAWS)}.")] = "drifting",
    seed: Annotated[int, typer.Option(help="Same seed, same forecasts.")] = 0,
    workers: Annotated[int | None, typer.Option(help="Processes; one for every four cores unless given.")] = None,
    as_json: JsonOpt = False,
) -> None:
    """Score the forecasts that would have been made from the smaller budgets of a table against its larger ones."""
    _check_folder(forecasts, out)
    table = FitOptions(columns=columns, column=column).read(runs)
    methods = tuple(method) if method else forecast.backtest.METHODS
    with terminal.progress(as_json, "back-testing") as report:
        found = forecast.backtest.backtest(
            table, methods=methods, cutoffs=cutoffs, law=law, seed=seed, workers=workers, progress=report
        )
    scores = found.scores()
    pooled = forecast.backtest.pooled(scores)
    if forecasts is not None:
        names = list(forecast.backtest.COLUMNS) + (["group"] if len(table.groups) > 1 else [])
        found.forecasts[names].to_csv(forecasts, index=False)
    if out is not None:
        found.save(out)
        _draw_past(table, found, out)
    if as_json:
        told = {"scores": scores, "pooled": pooled, "refusals": found.refusals}
        terminal.print_json({"source": table.source, **{k: v.to_dict(orient="records") for k, v in told.items()}})
        return
    over = f", over {len(table.groups)} groups" if len(table.groups) > 1 else ""
    for target in pooled["target"].unique():
        terminal.print_table(terminal.by_method(pooled[pooled["target"] == target]), f"Forecasts of {target}{over}")
    terminal.out.print("CRPS of the log, by how far beyond the cut-off; the other columns up to 30 times beyond it.")
    refused = found.refusals.groupby("method", sort=False).size()
    for name, count in refused.items():
        terminal.out.print(f"{name} gave no answer at {count} cut-offs; the first: {_first_reason(found, str(name))}")


def _first_reason(found: Any, method: str) -> str:
    return str(found.refusals.loc[found.refusals["method"] == method, "reason"].iloc[0])


def _draw_past(runs: forecast.Runs, found: Any, out: Path) -> None:
    from forecast.report import figures  # matplotlib is slow to import

    for group in runs.groups:
        figure = figures.past_forecasts(runs.group_table(group), runs.frontier_excess(), found, group)
        (out / f"{group.replace('/', '-')}.png").write_bytes(figures.png(figure))


@app.command(epilog="Example: forecast report nethack-transformer --out reports/nethack-transformer")
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
    as_json: JsonOpt = False,
) -> None:
    """Write the report: the forecast and the recommendation for ten times the largest budget, unless one is given.

    With --scored and --outcome it also shows the forecast that was frozen there beside what then happened, and the
    budget is that of the forecast unless another is given.
    """
    from forecast.report.page import write_report  # matplotlib is slow to import, and no other command draws

    spend = _budget(flops, gpu_hours, device, mfu)
    if out.exists() and not out.is_dir():
        raise ForecastError(f"{out} is a file; give a folder.")
    if (not scored) != (outcome is None):
        raise ForecastError(
            "--scored and --outcome belong together; give the recommendation.toml and the table of its run."
        )
    scores = []
    if scored and outcome is not None:
        told = FitOptions() if Path(runs).suffix == ".nc" else options
        carried_out = told.read(outcome, to_fit=False)
        scores = [forecast.score(frozen, carried_out) for frozen in scored]
    posterior = options.posterior(runs, quiet=as_json)
    wanted = posterior.groups if group is None else (posterior.group_name(group),)
    found = [_asked(posterior, g, spend, scores) for g in wanted]
    compared = forecast.compare(posterior.runs, **options.of_sampler) if compare else None
    past = forecast.backtest.bundled_backtest(posterior.runs)
    if backtest:
        with terminal.progress(as_json, "back-testing") as bar:
            past = forecast.backtest.backtest(posterior.runs, seed=options.seed, progress=bar)
    shown: dict[str, Any] = {"comparison": compared, "backtest": past, "scores": scores}
    page = write_report(posterior, found, out, **shown, command=_typed(posterior, runs))
    for one in found:
        name = "recommendation.toml" if len(found) == 1 else f"recommendation-{one.group}.toml"
        (out / name).write_text(one.to_toml(), encoding="utf-8")
    terminal.warn(posterior)
    if as_json:
        told = {"recommendations": [one.to_dict() for one in found], "scores": [score.to_dict() for score in scores]}
        terminal.print_json({"page": str(page), **told})
        return
    for one in found:
        terminal.out.print((f"{one.group}: " if len(found) > 1 else "") + one.sentence)
    for score in scores:
        terminal.out.print(score.sentence)
    terminal.out.print(f"The report is {page}; open it in a browser.")


def _asked(
    posterior: forecast.Posterior, group: str, spend: float | None, scores: list[forecast.Score]
) -> forecast.Recommendation:
    """The recommendation that a report is about: for the budget given, as frozen, or for ten times the largest."""
    score = next((score for score in scores if score.frozen.group == group), None)
    if spend is None and score is not None:
        asked: dict[str, Any] = {"objective": score.frozen.objective, **score.frozen.constraints}
        return forecast.recommend(posterior, flops=score.frozen.budget, group=group, **asked)
    return forecast.recommend(posterior, flops=spend or 10 * posterior.largest_flops(group), group=group)


def main() -> None:
    """Run the command: exit code 2 and one sentence for what the user can mend, 1 and a traceback for a bug of ours."""
    try:
        app()
    except (ForecastError, OSError) as error:
        terminal.err.print(f"forecast: {error}", markup=False)
        raise SystemExit(2) from None
    except Exception:
        traceback.print_exc()
        terminal.err.print(
            "forecast: this is a bug of ours, not of your input. Please report it to the authors of game-scaling with "
            f"the traceback above and this command: {shlex.join(['forecast', *sys.argv[1:]])}",
            markup=False,
        )
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        terminal.err.print("forecast: interrupted; nothing was written.")
        raise SystemExit(130) from None


def _check_folder(*places: Path | None) -> None:
    """Refuse files that cannot be written, before anything is computed for them."""
    for place in places:
        if place is not None and not place.parent.is_dir():
            raise ForecastError(f"the folder {place.parent} does not exist; create it first.")


def _budget(flops: float | None, gpu_hours: float | None, device: str, mfu: float) -> float | None:
    if flops is not None and gpu_hours is not None:
        raise ForecastError("give the budget once, as --flops or as --gpu-hours.")
    return budget(gpu_hours, device, mfu) if gpu_hours is not None else flops


def _typed(posterior: forecast.Posterior, source: str) -> str:
    """What the user typed, to be shown in the report; after the fit, if that was saved."""
    typed = shlex.join(["forecast", *sys.argv[1:]])
    if Path(source).suffix != ".nc":
        return typed
    from forecast.report.page import fit_options

    fitted = ["forecast", "fit", posterior.runs.source, *fit_options(posterior), "--out", source]
    return shlex.join(fitted) + "\n" + typed
