"""What can be asked of a table: checked by the functions that answer, and by commands before they fit.

Every check raises ForecastError.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from forecast.arguments import number, of_kind, one_of, whole
from forecast.errors import ROWS_SHOWN, ForecastError
from forecast.numbers import count, scientific
from forecast.runs.cost import CostLaw, group_costs
from forecast.runs.reach import check_reach
from forecast.runs.table import Runs


class Limits(NamedTuple):
    """What binds a run besides its budget."""

    max_params: float | None = None
    """The largest model (parameters)."""
    max_samples: float | None = None
    """Samples that a run may see."""
    unique_samples: float | None = None
    """Distinct samples there are; a run that sees more sees them again."""

    @property
    def bound(self) -> dict[str, float]:
        """Those that are set, by name."""
        return {name: value for name, value in self._asdict().items() if value is not None}


_MORE_SIZES = 200  # at most, beyond the usual range, where few samples call for larger models


def check_recommend(
    runs: Runs,
    *,
    flops: float,
    group: str | None = None,
    objective: str = "auto",
    max_params: float | None = None,
    max_samples: float | None = None,
    unique_samples: float | None = None,
    params: float | None = None,
) -> None:
    """The arguments of `recommend`, and a size whose regret is to be told (parameters)."""
    name = runs.group_name(group)
    check_objective(runs, objective)
    check_budget(runs, name, "flops", flops)
    limits = Limits(max_params, max_samples, unique_samples)
    for what, value in limits.bound.items():
        if number(what, value) < 1:
            raise ForecastError(f"{what} is {value:g}; give a number of 1 or more.")
    if unique_samples is not None:
        check_reach(runs.group_table(name), runs.source, unique_samples=unique_samples)
    smallest = float(runs.sizes(name, flops)[0])
    if max_params is not None and max_params < smallest:
        raise ForecastError(f"max_params {count(max_params)} is below every size weighed, from {count(smallest)} up.")
    if params is not None:
        sizes, _ = affordable(runs, group_costs(runs)[name], name, flops, limits)
        check_size(number("params", params), sizes.tolist())


def check_objective(runs: Runs, objective: str) -> None:
    """auto, return or loss, where the table has it."""
    one_of("objective", objective, ("auto", "return", "loss"))
    if objective == "return" and not runs.has_returns:
        raise ForecastError(f"{runs.source} has no returns; use the objective loss.")
    if objective == "loss" and not runs.has_losses:
        raise ForecastError(f"{runs.source} has no losses; use the objective return.")


def check_budget(runs: Runs, group: str, what: str, flops: float) -> None:
    """A positive number of FLOPs that lies within reach of the table."""
    check_reach(runs.group_table(group), runs.source, **{what: number(what, flops)})


def check_size(params: float, sizes: Sequence[float]) -> None:
    """A size (parameters) between the smallest and the largest of those that were weighed, which ascend."""
    if not sizes[0] <= params <= sizes[-1]:
        shown = count(params) if 0 < params < math.inf else f"{params:g}"
        raise ForecastError(
            f"{shown} parameters is not between {count(sizes[0])} and {count(sizes[-1])}, the sizes weighed."
        )


def check_required(
    runs: Runs,
    *,
    loss: float | None = None,
    returns: float | None = None,
    probability: float = 0.5,
    group: str | None = None,
) -> None:
    """The arguments of `required`."""
    if (loss is None) == (returns is None):
        raise ForecastError("give one target: either a loss or a return.")
    if returns is not None and not runs.has_returns:
        raise ForecastError(f"{runs.source} has no returns; ask for a loss, or add return_mean and episodes.")
    if loss is not None and not runs.has_losses:
        raise ForecastError(f"{runs.source} has no losses; ask for a return.")
    if loss is not None:
        number("loss", loss)
    if returns is not None:
        number("return", returns, positive=False)
    if not 0 < number("probability", probability, positive=False) < 1:
        raise ForecastError(f"probability is {probability:g}; give a number between 0 and 1.")
    runs.group_name(group)


def share_of_expert(
    runs: Runs,
    experts: Mapping[str, float] | float,
    expert_share: float,
    *,
    returns: float | None = None,
    group: str | None = None,
) -> float:
    """The return that is this part of the expert's. experts: by group, or one for all."""
    if returns is not None:
        raise ForecastError("give one target: either a return or a share of the expert's.")
    name = runs.group_name(group)
    known = experts.get(name) if isinstance(experts, Mapping) else experts
    if known is None:
        raise ForecastError(
            f"the expert's return is not known, so no share of it can be asked for; give expert_return, or a column of "
            f"that name in {runs.source}."
        )
    return number("expert_share", expert_share) * float(known)


def check_next(
    runs: Runs,
    *,
    target_flops: float,
    spend: float,
    group: str | None = None,
    objective: str = "auto",
    count: int = 8,
    candidates: pd.DataFrame | None = None,
) -> None:
    """The arguments of `next_runs`."""
    name = runs.group_name(group)
    check_objective(runs, objective)
    number("spend", spend)
    whole("count", count, 1)
    check_budget(runs, name, "target_flops", target_flops)
    if candidates is not None:
        _check_candidates(runs, name, candidates, spend)
        return
    least, most = float(runs.group_table(name)["flops"].min()), min(spend, target_flops)
    if most < 0.999 * least:
        raise ForecastError(
            f"no run fits into {scientific(most)} FLOPs: the smallest run of {runs.source} took "
            f"{scientific(least)}; raise spend, or target_flops where that is the smaller."
        )


def _check_candidates(runs: Runs, name: str, candidates: pd.DataFrame, spend: float) -> None:
    """Raises ForecastError for candidates that are no table of runs, and where none fits into the spend."""
    of_kind("candidates", candidates, pd.DataFrame, "a table with the columns params and samples, one run a row")
    for column in ("params", "samples", *(["flops"] if "flops" in candidates else [])):
        values = pd.to_numeric(candidates.get(column, pd.Series(dtype=float)), errors="coerce").to_numpy(float)
        if not len(values) or not (np.isfinite(values) & (values > 0)).all():
            raise ForecastError(
                f"candidates need a positive number in each row of the column {column}; mend that column."
            )
    if "flops" in candidates:
        cheapest = float(candidates["flops"].min())
    else:
        cheapest = float((candidates["samples"] * group_costs(runs)[name](candidates["params"])).min())
    given = {c: candidates[c].to_numpy(float) for c in ("params", "samples", "flops") if c in candidates}
    check_reach(runs.group_table(name), runs.source, **given)
    if cheapest > spend * (1 + 1e-9):
        raise ForecastError(
            f"no candidate fits into {scientific(spend)} FLOPs: the cheapest takes {scientific(cheapest)}; raise spend."
        )


class Compared(NamedTuple):
    """Two recipes and what they are compared by."""

    groups: tuple[str, str]
    """Group of each in its table."""
    names: tuple[str, str]
    """What to call them."""
    flops: float
    """The budget (FLOPs)."""
    objective: str
    """loss or return."""


def check_recipes(
    a: Runs,
    b: Runs,
    *,
    flops: float | None = None,
    objective: str = "auto",
    groups: tuple[str | None, str | None] = (None, None),
) -> Compared:
    """The arguments of `compare_recipes`, with what follows from the tables filled in."""
    one_of("objective", objective, ("auto", "return", "loss"))
    first, second = a.group_name(groups[0]), b.group_name(groups[1])
    if a is b and first == second:
        raise ForecastError(f"{a.source} and {first} were given twice; name two groups, or two tables.")
    common = [x for x in ("loss", "return") if all(r.has_losses if x == "loss" else r.has_returns for r in (a, b))]
    if not common or objective not in ("auto", *common):
        wanted = "a loss or a return" if objective == "auto" else f"a {objective}"
        raise ForecastError(
            f"{a.source} and {b.source} do not both have {wanted}; compare tables that measured the same."
        )
    if flops is None:
        flops = min(a.largest_flops(first), b.largest_flops(second))
    check_budget(a, first, "flops", flops)
    check_budget(b, second, "flops", flops)
    names = (first, second)
    if first == second:
        names = (Path(a.source).stem, Path(b.source).stem)
        names = names if names[0] != names[1] else ("A", "B")
    return Compared((first, second), names, float(flops), common[0] if objective == "auto" else objective)


def affordable(runs: Runs, cost: CostLaw, group: str, flops: float, limits: Limits) -> tuple[np.ndarray, np.ndarray]:
    """Sizes that a budget (FLOPs) may be spent on within the limits, ascending, and the samples of each: [P] both."""
    sizes = runs.sizes(group, flops)
    max_params, max_samples, distinct = limits
    # The sizes that spend the budget on all samples there are: the best one often lies in such a corner.
    for available in [x for x in (max_samples, distinct) if x is not None]:
        corner = cost.params(flops / available)
        if corner > sizes[-1]:
            steps = np.ceil(np.log(corner / sizes[-1]) / np.log(sizes[1] / sizes[0]))
            sizes = np.append(sizes, np.geomspace(sizes[-1], corner, int(min(steps, _MORE_SIZES)) + 1)[1:])
        elif corner > sizes[0]:
            sizes = np.sort(np.append(sizes, corner))
    if max_params is not None and max_params < sizes[-1]:
        sizes = np.append(sizes[sizes < max_params], max_params)
    samples = flops / cost(sizes)
    return sizes, samples if max_samples is None else np.minimum(samples, max_samples)


class UnderWay(NamedTuple):
    """A run under way and its end."""

    group: str
    """Its group."""
    params: float
    """Its size (parameters)."""
    samples_now: float
    """Samples at its last checkpoint."""
    loss_now: float
    """Loss there (nats)."""
    samples: float
    """Samples at its end."""
    flops: float
    """Compute at its end (FLOPs)."""
    flops_left: float
    """Compute from the last checkpoint to the end (FLOPs)."""


def check_watch(
    runs: Runs,
    *,
    run: str,
    samples: float | None = None,
    flops: float | None = None,
    goal: float | None = None,
    group: str | None = None,
) -> UnderWay:
    """The arguments of `watch`, with what follows from the table filled in."""
    of_kind("run", run, str, "the name of a training")
    if not runs.has_losses:
        raise ForecastError(f"{runs.source} has no losses, which `watch` follows; give a table that has them.")
    if not runs.has_trajectories:
        raise ForecastError(f"{runs.source} names no runs; name the training of each row in a column `run`.")
    if goal is not None:
        number("goal", goal)
    known = runs.table if group is None else runs.group_table(group)
    own = known[known["run"] == run].sort_values("samples")
    if own.empty:
        trainings = sorted(known["run"].unique())
        shown = ", ".join(trainings[:ROWS_SHOWN]) + (" …" if len(trainings) > ROWS_SHOWN else "")
        raise ForecastError(f"{runs.source} has no run {run!r}; name one of {shown}.")
    if own["group"].nunique() > 1:
        raise ForecastError(f"{run!r} is a run of several groups; name the group too.")
    name, last = str(own["group"].iloc[-1]), own.iloc[-1]
    if (samples is None) == (flops is None):
        raise ForecastError("say where the run ends, once: by samples or by flops.")
    per_sample = float(last["flops"] / last["samples"])
    end = number("samples", samples) if samples is not None else number("flops", flops or 0.0) / per_sample
    if end <= float(last["samples"]) * (1 + 1e-9):
        raise ForecastError(
            f"{run} already has {count(last['samples'])} samples, and its end was given at {count(end)}; give the "
            "samples or flops of the whole run."
        )
    left = (end - float(last["samples"])) * per_sample
    check_reach(runs.group_table(name), runs.source, samples=end, flops=[left, end * per_sample])
    return UnderWay(
        group=name,
        params=float(last["params"]),
        samples_now=float(last["samples"]),
        loss_now=float(last["loss"]),
        samples=end,
        flops=end * per_sample,
        flops_left=left,
    )
