"""Commands about what to train: recommend, required, compare, watch, next."""

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
    expert_share: Annotated[
        float | None, typer.Option(help="Part of the expert's return to reach: 0.5 for half of it.")
    ] = None,
    probability: Annotated[float, typer.Option(help="How sure to be.")] = 0.5,
    group: GroupOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Find the least budget that reaches a loss or a return with a given probability."""
    from forecast.decide.checks import check_required, share_of_expert
    from forecast.runs.table import expert_returns

    if sum(target is not None for target in (loss, returns, expert_share)) != 1:
        raise ForecastError("give one target, --loss, --return or --expert-share.")
    question: dict[str, Any] = {"loss": loss, "returns": returns, "probability": probability, "group": group}
    posterior = options.open(runs)
    if isinstance(posterior, forecast.Runs):
        asked = returns
        if expert_share is not None:
            experts = options.expert_return or expert_returns(posterior.table)
            asked = share_of_expert(posterior, experts, expert_share, group=group)
        check_required(posterior, **{**question, "returns": asked})
        posterior = options.fit(posterior, quiet=as_json)
    answer = forecast.required(posterior, **question, expert_share=expert_share)
    terminal.warn(posterior, answer.provenance, quiet=as_json)
    if as_json:
        terminal.print_json({**answer.to_dict(), "notes": terminal.notes(posterior)})
    else:
        terminal.out.print(answer.sentence)


@takes_fit_options
def compare(
    options: FitOptions,
    a: Annotated[str, typer.Argument(help="A run table or saved posterior, as of the other commands.")],
    b: Annotated[str | None, typer.Argument(help="Another one; without it, two groups of the first.")] = None,
    flops: Annotated[
        float | None, typer.Option(help="The budget (FLOPs); the smaller of the two largest compute unless given.")
    ] = None,
    objective: Annotated[str, typer.Option(help="auto, loss or return; auto is loss where both have one.")] = "auto",
    group: Annotated[
        list[str] | None, typer.Option(help="Group of the first recipe, then of the second, where there are several.")
    ] = None,
    as_json: JsonOpt = False,
) -> None:
    """Compare two recipes: which is better at a budget, and how much compute one saves."""
    from forecast.decide.checks import check_recipes

    opened = [options.open(source) for source in (a, b) if source is not None]
    tables = [one if isinstance(one, forecast.Runs) else one.runs for one in opened]
    question: dict[str, Any] = {"flops": flops, "objective": objective, "groups": _groups(tables, group or [])}
    check_recipes(tables[0], tables[-1], **question)
    fitted = [options.fit(one, quiet=as_json) if isinstance(one, forecast.Runs) else one for one in opened]
    found = forecast.compare_recipes(fitted[0], fitted[-1], **question)
    for posterior, made in zip(fitted, found.provenance, strict=False):
        terminal.warn(posterior, made, quiet=as_json)
    if as_json:
        notes = [note for posterior in fitted for note in terminal.notes(posterior)]
        terminal.print_json({**found.to_dict(), "notes": notes})
        return
    terminal.out.print(found.sentence)
    first, second = found.names
    terminal.print_table(
        found.curve,
        f"At each budget what {first} (a) and {second} (b) reach, the probability that b is "
        "better, and the compute with which b reaches what a does",
    )


def _groups(tables: "list[forecast.Runs]", named: list[str]) -> tuple[str | None, str | None]:
    """The groups of the two recipes: as named, or those of a single table that has two."""
    if len(named) not in (0, 2):
        raise ForecastError(f"--group was given {len(named)} time{'s' if len(named) > 1 else ''}; give it twice.")
    if named:
        return named[0], named[1]
    if len(tables) > 1:
        return None, None
    if len(tables[0].groups) != 2:
        shown, several = ", ".join(tables[0].groups), len(tables[0].groups) > 1
        mend = "name two of them, --group X --group Y" if several else "give a second table"
        raise ForecastError(f"{tables[0].source} has the group{'s' if several else ''} {shown}; {mend}.")
    return tables[0].groups[0], tables[0].groups[1]


@takes_fit_options
def watch(
    options: FitOptions,
    runs: RunsArg,
    run: Annotated[str, typer.Option(help="Name of the run under way, whose checkpoints so far are in the table.")],
    samples: Annotated[float | None, typer.Option(help="Samples of the whole run at its end.")] = None,
    flops: Annotated[float | None, typer.Option(help="FLOPs of the whole run at its end, in place of samples.")] = None,
    goal: Annotated[float | None, typer.Option(help="A loss (nats), whose probability is told too.")] = None,
    group: GroupOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Forecast the end of a run under way from its checkpoints, and say whether to go on."""
    from forecast.decide.checks import check_watch

    question: dict[str, Any] = {"run": run, "samples": samples, "flops": flops, "goal": goal, "group": group}
    posterior = options.posterior(runs, quiet=as_json, check=partial(check_watch, **question))
    found = forecast.watch(posterior, **question)
    terminal.warn(posterior, found.provenance, quiet=as_json)
    if as_json:
        terminal.print_json({**found.to_dict(), "notes": terminal.notes(posterior)})
        return
    terminal.out.print(found.sentence)
    terminal.print_table(found.table(), "Loss at the end, with its 50% and 90% intervals")


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
    candidates: Annotated[
        Path | None,
        typer.Option(
            "--from", help="Choose among the runs of this CSV, with the columns params, samples and optionally flops."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the runs here: a TOML plan for a sweep.")] = None,
    group: GroupOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Plan the runs to train next: those that most improve the recommendation for a larger budget."""
    from forecast.decide.checks import check_next

    check_file(out)
    question: dict[str, Any] = {"target_flops": target_flops, "spend": spend, "group": group, "count": count}
    question |= {"objective": objective, "candidates": None if candidates is None else forecast.read_points(candidates)}
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
        title = "Sizes around the one that is expected to be the best at their budget"
        terminal.print_table(
            plan.table(), title if candidates is None else f"Runs of {candidates.name}, the first first"
        )
