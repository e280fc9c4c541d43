"""Commands about what a table says: datasets, example, fit, predict."""

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

import forecast
from forecast.cli import terminal
from forecast.cli.options import (
    FitOptions,
    GroupOpt,
    JsonOpt,
    RunsArg,
    check_file,
    takes_fit_options,
)
from forecast.files import write_whole


def datasets(as_json: JsonOpt = False) -> None:
    """List the bundled run tables and where they come from."""
    tables = [
        {"name": d.name, "title": d.title, "description": d.description.strip(), "source": d.source, "url": d.url,
         "notes": list(d.notes), **forecast.read_runs(d.name).summary()}
        for d in forecast.datasets().values()
    ]  # fmt: skip
    if as_json:
        terminal.print_json(tables)
        return
    for d in tables:
        terminal.out.print(f"{d['name']}: {d['rows']} rows, {d['sizes']} sizes, groups {', '.join(d['groups'])}")
        terminal.out.print(f"  {' '.join(d['description'].split())}\n  {d['source']}")


def example() -> None:
    """Print an example of a run table as CSV, to try the commands with and to see what columns they take."""
    sys.stdout.write(forecast.datasets()["example"].path.read_text(encoding="utf-8"))


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
    check_file(out)
    table = options.read(runs)
    if prior:
        expected = forecast.prior_predictive(table, law=options.law, seed=options.seed).reset_index()
        terminal.print_json(expected.to_dict(orient="records")) if as_json else terminal.print_table(
            expected, "Before anything measured is seen"
        )
        return
    posterior = options.fit(table, quiet=as_json)
    compared = options.compare(table, quiet=as_json) if compare else None
    if out is not None:
        posterior.save(out)
    terminal.wrote("the posterior", out, quiet=as_json)
    summary = posterior.summary()
    if as_json:
        terminal.print_json(
            {
                "table": table.summary(),
                "law": options.law,
                "parameters": summary.to_dict(orient="records"),
                "set_aside": {str(k): v for k, v in posterior.set_aside.items()},
                "notes": terminal.notes(posterior),
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
    for note in terminal.notes(posterior):
        terminal.out.print(note)
    terminal.out.print(posterior.diagnostics.sentence)


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
    from forecast.bayes.points import at_the_furthest, check_points

    check_file(out)
    points = forecast.read_points(at)
    posterior = options.posterior(runs, quiet=as_json, check=partial(check_points, points=points, group=group))
    table = forecast.predict_points(posterior, points, group=group)
    made = at_the_furthest(posterior, table)
    terminal.warn(posterior, made, quiet=as_json)
    if out is not None:
        write_whole(out, table.to_csv(index=False))
    terminal.wrote(f"{len(table)} rows", out, quiet=as_json)
    if as_json:
        told = {"diagnostics": made.diagnostics, "notes": terminal.notes(posterior)}
        terminal.print_json({"predictions": table.to_dict(orient="records"), **told})
    elif out is None:
        sys.stdout.write(table.to_csv(index=False))
