"""Commands about what to train: recommend, required, next."""

from functools import partial
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
    check_file,
    spendable,
    takes_fit_options,
)
from forecast.errors import ForecastError
from forecast.files import write_whole
from forecast.numbers import count, share


@takes_fit_options
def recommend(
    options: FitOptions,
    runs: RunsArg,
    flops: FlopsOpt = None,
    gpu_hours: HoursOpt = None,
    device: DeviceOpt = "h100",
    mfu: MfuOpt = 0.3,
    max_params: Annotated[float | None, typer.Option(help="Largest model allowed.")] = None,
    max_samples: Annotated[float | None, typer.Option(help="Samples that a run may see.")] = None,
    unique_samples: Annotated[
        float | None, typer.Option(help="Distinct samples there are; those seen again teach less.")
    ] = None,
    objective: Annotated[
        str, typer.Option(help="auto, return or loss; auto is return where there are returns.")
    ] = "auto",
    params: Annotated[
        float | None, typer.Option(help="Also say what training this size instead would give away.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write recommendation.toml here, to be scored later.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a forecast that is frozen in --out.")] = False,
    group: GroupOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Recommend the model size and samples for a budget, with intervals of everything."""
    from forecast.decide.checks import check_recommend

    spend = spendable(flops, gpu_hours, device, mfu)
    if spend is None:
        raise ForecastError("no budget was given; add --flops 1e19, or --gpu-hours 24 --device h200 --mfu 0.3.")
    check_file(out)
    if out is not None and out.is_file() and not force:
        raise ForecastError(f"{out} exists, and a frozen forecast is kept; choose another --out, or add --force.")
    question: dict[str, Any] = {"flops": spend, "group": group, "objective": objective}
    question |= {"max_params": max_params, "max_samples": max_samples, "unique_samples": unique_samples}
    posterior = options.posterior(runs, quiet=as_json, check=partial(check_recommend, **question, params=params))
    recommendation = forecast.recommend(posterior, **question)
    regret = None if params is None else recommendation.regret_of(params)
    if out is not None:
        write_whole(out, recommendation.to_toml())
    terminal.wrote("the recommendation", out, quiet=as_json)
    terminal.warn(posterior, recommendation.provenance, quiet=as_json)
    if as_json:
        terminal.print_json({**recommendation.to_dict(), "regret": regret, "notes": terminal.notes(posterior)})
        return
    terminal.out.print(recommendation.sentence)
    for remark in recommendation.remarks:
        terminal.out.print(remark)
    terminal.print_table(recommendation.table(), None)
    if params is not None and regret is not None:
        lost = ", ".join(f"{share(v)} of {k.removesuffix('_regret')}" for k, v in regret.items())
        terminal.out.print(f"Training {count(params)} parameters instead gives away an expected {lost}.")


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
    from forecast.decide.checks import check_required

    if (loss is None) == (returns is None):
        raise ForecastError("give one target, --loss or --return.")
    question: dict[str, Any] = {"loss": loss, "returns": returns, "probability": probability, "group": group}
    posterior = options.posterior(runs, quiet=as_json, check=partial(check_required, **question))
    answer = forecast.required(posterior, **question)
    terminal.warn(posterior, answer.provenance, quiet=as_json)
    if as_json:
        terminal.print_json({**answer.to_dict(), "notes": terminal.notes(posterior)})
    else:
        terminal.out.print(answer.sentence)


@takes_fit_options
def next_runs(
    options: FitOptions,
    runs: RunsArg,
    target_flops: Annotated[float, typer.Option(help="The budget in FLOPs that the recommendation is wanted for.")],
    spend: Annotated[float, typer.Option(help="FLOPs that all these runs may take together.")],
    count: Annotated[int, typer.Option(help="Runs at most.")] = 8,
    objective: Annotated[
        str, typer.Option(help="As of `recommend`: auto, return or loss; auto is return where there are returns.")
    ] = "auto",
    out: Annotated[Path | None, typer.Option(help="Write the runs here: a TOML plan for a sweep.")] = None,
    group: GroupOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Plan the runs to train next: those that most improve the recommendation for a larger budget."""
    from forecast.decide.checks import check_next

    check_file(out)
    question: dict[str, Any] = {"target_flops": target_flops, "spend": spend, "group": group, "count": count}
    question["objective"] = objective
    posterior = options.posterior(runs, quiet=as_json, check=partial(check_next, **question))
    plan = forecast.next_runs(posterior, **question)
    if out is not None:
        if plan.runs.empty:
            raise ForecastError(f"{plan.sentence} So {out} was not written.")
        write_whole(out, plan.to_toml())
    terminal.wrote("the plan", out, quiet=as_json)
    terminal.warn(posterior, plan.provenance, quiet=as_json)
    if as_json:
        terminal.print_json({**plan.to_dict(), "notes": terminal.notes(posterior)})
        return
    terminal.out.print(plan.sentence)
    if not plan.runs.empty:
        terminal.print_table(plan.table(), "Sizes around the one that is expected to be the best at their budget")
