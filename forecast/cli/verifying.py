"""Commands about how good forecasts are: score, backtest."""

from pathlib import Path
from typing import Annotated, Any

import typer

import forecast
from forecast.cli import terminal
from forecast.cli.options import (
    ColumnOpt,
    ColumnsOpt,
    FitOptions,
    GroupOpt,
    JsonOpt,
    check_file,
    check_folder,
)
from forecast.files import file_names, write_whole
from forecast.model import LAWS


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
    import pandas as pd

    check_file(out)
    table = FitOptions(columns=columns, column=column).read(runs, to_fit=False)
    result = forecast.score(recommendation, table, group=group)
    told = {**result.to_dict(), "notes": list(table.notes)}
    if out is not None:
        write_whole(out, terminal.as_json(told))
    terminal.wrote("the score", out, quiet=as_json)
    terminal.tell(table.notes, quiet=as_json)
    if as_json:
        terminal.print_json(told)
        return
    terminal.out.print(result.sentence)
    head, rows = result.cells()
    terminal.print_table(pd.DataFrame(rows, columns=list(head)), None)


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
    check_file(forecasts)
    check_folder(out)
    table = FitOptions(columns=columns, column=column).read(runs)
    plan: dict[str, Any] = {"cutoffs": cutoffs, "law": law, "seed": seed}
    plan["methods"] = tuple(method) if method else forecast.backtest.METHODS
    with terminal.progress(as_json, "back-testing", back_testing(table, **plan)) as report:
        result = forecast.backtest.backtest(table, workers=workers, progress=report, **plan)
    scores = result.scores()
    pooled = forecast.backtest.pooled(scores)
    if forecasts is not None:
        names = list(forecast.backtest.COLUMNS) + (["group"] if len(table.groups) > 1 else [])
        write_whole(forecasts, result.forecasts[names].to_csv(index=False))
    if out is not None:
        result.save(out)
        _draw_past(table, result, out)
    terminal.wrote(f"{len(result.forecasts)} forecasts", forecasts, quiet=as_json)
    terminal.wrote("the back-test and its pictures", out, quiet=as_json)
    if as_json:
        frames = {"scores": scores, "pooled": pooled, "refusals": result.refusals}
        told = {k: v.to_dict(orient="records") for k, v in frames.items()}
        terminal.print_json({"source": table.source, **told, "notes": list(table.notes)})
        return
    terminal.tell(table.notes)
    over = f", over {len(table.groups)} groups" if len(table.groups) > 1 else ""
    for target in pooled["target"].unique():
        terminal.print_table(forecast.backtest.by_method(pooled, target), f"Forecasts of {target}{over}")
    terminal.out.print(
        "CRPS of the log, by how far beyond the cut-off; the other columns up to 30 times beyond it. 90%, 50%: the "
        "share of outcomes inside these intervals; N* 90%: of best sizes."
    )
    refused = result.refusals.groupby("method", sort=False).size()
    for name, count in refused.items():
        called = forecast.backtest.NAMES[str(name)]
        terminal.out.print(
            f"{called} gave no answer at {count} cut-offs; the first: {_first_reason(result, str(name))}"
        )


def back_testing(runs: "forecast.Runs", **plan: Any) -> str:
    """What a back-test will do, and about how long; raises ForecastError for one that cannot be made."""
    fits = len(forecast.backtest.planned(runs, **plan))
    return f"Back-testing {runs.source} at {fits} cut-offs; on two cores this takes about half a minute for each."


def _first_reason(result: Any, method: str) -> str:
    return str(result.refusals.loc[result.refusals["method"] == method, "reason"].iloc[0])


def _draw_past(runs: "forecast.Runs", result: Any, out: Path) -> None:
    from forecast.report import figures  # matplotlib is slow to import

    names = file_names(runs.groups)
    for group in runs.groups:
        shown = runs.group_table(group), runs.frontier_excess(), result, group
        for method in figures.side_by_side(result, group):
            figure = figures.past_forecasts(*shown, method, figures.WIDE)
            write_whole(out / f"{names[group]}-{method}.png", figures.png(figure))
