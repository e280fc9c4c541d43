"""Which runs to train next, so that the recommendation for a larger budget gets better."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from forecast.arguments import of_kind
from forecast.bayes.posterior import Posterior
from forecast.bayes.provenance import Provenance
from forecast.decide.candidates import choose
from forecast.decide.checks import check_next
from forecast.decide.information import ViewDraws, regrets
from forecast.decide.recommend import objective_of
from forecast.model.laws import noise_scale
from forecast.model.weights import LOCALITIES
from forecast.numbers import count as counted
from forecast.numbers import scientific, share, toml
from forecast.runs.table import UNNAMED
from forecast.shown import html_frame

_DRAWS = 4000
_DRAWS_OF_CHOICE = 1000  # among candidates, each of which is weighed beside those chosen before
_OPTIONS = 61  # sizes weighed at the target
_SPACINGS = (1.5, 2.0, 3.0, 4.0)  # factors tried between two sizes
_WIDEST = 100.0  # factor between the smallest and the largest
_REACH = 3.0  # factor below the table's smallest size, where a family of policies may end
_GRID = 5, 2.0  # sizes of the isoFLOP grid to compare with, and the factor between two
_WORTH = 0.01  # of the expected regret: a plan that saves less is not worth its FLOPs


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """Runs to train next: sizes around the one that is expected to be the best at their budget, the nearest first; or
    those chosen among given candidates, in the order of choice.

    Regret is the expected excess loss of a recommended run for `target_flops` over the least loss, as a part of it; or
    the shortfall from the highest return, where `objective` is "return".
    """

    group: str
    """Name of the group."""
    objective: str
    """loss or return."""
    target_flops: float
    """Budget of the recommendation (FLOPs)."""
    spend: float
    """FLOPs available for the runs."""
    cost: float
    """FLOPs of all runs."""
    runs: pd.DataFrame
    """A row a run: `params`, `samples`, `flops` (FLOPs), `regret`, that after this run and those above, and the other
    columns of the candidates."""
    grid: pd.DataFrame
    """Runs of an isoFLOP grid of the same cost: `params`, `samples`, `flops` (FLOPs)."""
    regret_now: float
    """Expected regret without new runs, a part of 1."""
    regret_after: float
    """Expected regret after all runs, a part of 1."""
    regret_grid: float
    """Expected regret after the grid, a part of 1."""
    gain_instead: float
    """What the FLOPs of the runs would gain if the run for `target_flops` got them: expected fall of its loss or rise
    of its return, a part of 1."""
    provenance: Provenance
    """What the plan is based on."""

    def __repr__(self) -> str:
        return self.sentence

    def _repr_html_(self) -> str:
        """The table."""
        return html_frame(self.sentence, self.table())

    @property
    def sentence(self) -> str:
        """What the runs cost and save, in one sentence."""
        at = f"Expected regret at {scientific(self.target_flops)} FLOPs: {share(self.regret_now)} now"
        if self.runs.empty:
            return f"{at}; no run of up to {scientific(self.spend)} FLOPs would reduce it."
        runs = f"these {len(self.runs)} runs" if len(self.runs) > 1 else "this run"
        saved = self.regret_now - self.regret_after
        worth = "worth its FLOPs" if saved > self.gain_instead else "not worth its FLOPs"
        return (
            f"{at}, {share(self.regret_after)} after {runs} ({scientific(self.cost)} FLOPs), "
            f"{share(self.regret_grid)} after an isoFLOP grid of the same cost. The plan is {worth}: it saves "
            f"{share(saved)} of the {self.objective}; the same FLOPs, added to the run for "
            f"{scientific(self.target_flops)} FLOPs, would gain {share(self.gain_instead)}."
        )

    def table(self) -> pd.DataFrame:
        """The runs, by name where candidates have one, and the expected regret once each and those above it are made,
        in percent."""
        rows = zip(*(self.runs[c] for c in ("params", "samples", "flops", "regret")), strict=True)
        cells = [(counted(n), counted(d), scientific(c), share(r)) for n, d, c, r in rows]
        table = pd.DataFrame(cells, columns=["params", "samples", "FLOPs", "expected regret after it"])
        if "run" in self.runs:
            table.insert(0, "run", self.runs["run"])
        return table

    def to_dict(self) -> dict[str, Any]:
        """As plain types."""
        numbers = ("target_flops", "spend", "cost", "regret_now", "regret_after", "regret_grid", "gain_instead")
        return {
            **{"group": self.group, "objective": self.objective},
            **{k: getattr(self, k) for k in numbers},
            "runs": self.runs.to_dict(orient="records"),
            "grid": self.grid.to_dict(orient="records"),
            "diagnostics": self.provenance.diagnostics,
            "sentence": self.sentence,
        }

    def to_toml(self) -> str:
        """A sweep: the group that its rows belong to, and one [[grid]] a budget, ascending, with `flops` and the sizes
        `params`."""
        lines = [f"# {self.sentence}"]
        if self.group != UNNAMED:
            lines += ["", "[run]", f"group = {toml(self.group)}", ""]
        lines += ["# Budgets in FLOPs and model sizes to train on each."]
        budgets = self.runs["flops"].map(scientific)
        for budget in sorted(set(budgets), key=float):
            sizes = ", ".join(scientific(n) for n in sorted(self.runs["params"][budgets == budget]))
            lines += ["", "[[grid]]", f"flops = {budget}", f"params = [{sizes}]"]
        return "\n".join(lines) + "\n"


def next_runs(
    posterior: Posterior,
    *,
    target_flops: float,
    spend: float,
    group: str | None = None,
    objective: str = "auto",
    count: int = 8,
    candidates: pd.DataFrame | None = None,
) -> Plan:
    """Up to `count` runs within `spend` FLOPs that most reduce the expected regret of a run of `target_flops`.

    Regret is what the size that is best in expectation gives away against the size that is truly best. A plan spends
    all on one budget, no larger than the target: one size or more, evenly spaced around the one that is expected to be
    the best there. How many, and how far apart, is what reduces the expected regret most. What a run would measure has
    the noise of a run, and counts as much as its row would in the next fit (`forecast.model.weights`).

    Runs far from the best of their budget may teach more, if the law is exactly true: then they show its asymptotes.
    On the published NetHack table such runs, chosen one by one, taught less than sizes around it (benchmarks/LOG.md).

    With `candidates`, a table with the columns params, samples and optionally flops, runs are chosen among its rows:
    each the one that saves most beside those before it.

    Not followed: runs of more compute than the table's make its old rows count less in the next fit, whose own expected
    regret then falls by less than is said here (benchmarks/LOG.md).

    objective: as of `forecast.recommend`. A run is taken to measure its loss and, where the return decides, its return
    too, over so many games that only the spread between runs remains. Without losses in the table, the return counts
    from the lowest.

    Raises ForecastError for numbers that are not positive or too large, an unknown group or objective, and a spend that
    no run fits into.
    """
    of_kind("posterior", posterior, Posterior, "what forecast.fit returned")
    question: dict[str, Any] = {"target_flops": target_flops, "spend": spend, "group": group, "count": count}
    check_next(posterior.runs, **question, objective=objective, candidates=candidates)
    name, objective = posterior.group_name(group), objective_of(posterior, objective)
    few = posterior.thinned(_DRAWS)
    aim = _Aim(few, name, objective)
    options = _options(aim, target_flops)
    if candidates is None:
        plans = _plans(aim, min(spend, target_flops), spend, int(count))
        runs = pd.concat(plans, ignore_index=True)
        ends = np.cumsum([len(plan) for plan in plans])
        places = [range(end - len(plan), end) for plan, end in zip(plans, ends, strict=True)]
    else:
        runs = with_flops(posterior, candidates, name)
        places = [_chosen(replace(aim, posterior=posterior.thinned(_DRAWS_OF_CHOICE)), options, runs, question)]
    f = aim.on_budget(options, target_flops, pace=False)
    views = _views(aim, f, runs)
    regrets_by_plan = [_regrets(aim, views, place, len(runs)) for place in places]
    best = int(np.argmin([expected[-1] for expected in regrets_by_plan]))
    place, expected = places[best], regrets_by_plan[best]
    if expected[-1] > (1 - _WORTH) * expected[0] or expected[0] <= 0:
        place, expected = [], expected[:1]
    chosen = runs.iloc[list(place)].reset_index(drop=True).assign(regret=expected[1:])
    cost = float(chosen["flops"].sum())
    grid, after_grid = chosen, expected
    if len(chosen):
        grid = _around(aim, cost / _GRID[0], *_GRID)
        after_grid = _regrets(aim, _views(aim, f, grid), range(len(grid)), len(grid))
    return Plan(
        group=name,
        objective=objective,
        target_flops=float(target_flops),
        spend=float(spend),
        cost=cost,
        runs=chosen,
        grid=grid[["params", "samples", "flops"]],
        regret_now=float(expected[0]),
        regret_after=float(expected[-1]),
        regret_grid=float(after_grid[-1]),
        gain_instead=aim.gain(options, target_flops, target_flops + cost),
        provenance=posterior.provenance.at(float(np.log10(target_flops / posterior.largest_flops(name)))),
    )


@dataclass(frozen=True)
class _Aim:
    """What a recommendation shall make small, as the draws of a posterior see it."""

    posterior: Posterior
    name: str
    """Of the group."""
    objective: str
    """loss or return."""

    @property
    def rising(self) -> bool:
        """Whether the return decides."""
        return self.objective == "return"

    @property
    def measures_both(self) -> bool:
        """Whether a run measures a return that decides beside its loss."""
        return self.rising and self.posterior.has_losses

    def __call__(self, params: np.ndarray, samples: np.ndarray, *, pace: bool = True) -> np.ndarray:
        """Log loss, or minus the log of the shifted return: [S, P]."""
        log_loss = self.posterior.log_loss(params, samples, group=self.name, pace=pace)
        return self.of_return(log_loss, params) if self.measures_both else log_loss

    def of_return(self, log_loss: np.ndarray, params: np.ndarray) -> np.ndarray:
        """Minus the log of the shifted return at these log losses [S, P]."""
        returns = self.posterior.returns_at(log_loss, params, group=self.name, new_run=False)
        return -np.log(returns + self.posterior.reference(self.name).return_offset)

    def on_budget(self, params: np.ndarray, flops: float, *, pace: bool = True) -> np.ndarray:
        """The same of sizes [P] on one budget (FLOPs): [S, P]."""
        return self(params, flops / self.posterior.cost[self.name](params), pace=pace)

    def gain(self, options: np.ndarray, flops: float, more: float) -> float:
        """Expected fall of the loss, or rise of the return, from one budget to a larger one, a part of 1."""
        sign = -1 if self.rising else 1
        now, then = (sign * np.exp(sign * self.on_budget(options, c)).mean(axis=0) for c in (flops, more))
        return float(sign * (1 - then.min() / now.min()))


def _regrets(aim: _Aim, views: list[ViewDraws], place: Sequence[int], runs: int, *, last: bool = False) -> np.ndarray:
    """Expected regret before and after each run of a plan, which stands at `place` of all `runs`; or after the last."""
    columns, step = list(place), 1
    if aim.measures_both:  # the loss of a run, and its return
        columns, step = [column for run in place for column in (run, runs + run)], 2
    after = [len(columns)] if last else range(0, len(columns) + 1, step)
    return regrets(views, columns, rising=aim.rising, after=after)


def with_flops(posterior: Posterior, candidates: pd.DataFrame, group: str) -> pd.DataFrame:
    """The candidates with their compute (FLOPs), by the cost of the group's rows where the table does not say."""
    table = candidates.reset_index(drop=True)
    return table if "flops" in table else table.assign(flops=table["samples"] * posterior.cost[group](table["params"]))


def _chosen(aim: _Aim, options: np.ndarray, runs: pd.DataFrame, question: dict[str, Any]) -> list[int]:
    """Places of the candidates to train, in the order of choice."""
    views = _views(aim, aim.on_budget(options, question["target_flops"], pace=False), runs)

    def regret_after(place: Sequence[int]) -> float:
        return float(_regrets(aim, views, place, len(runs), last=True)[0])

    return choose(runs["flops"].to_numpy(float), question["spend"], int(question["count"]), regret_after)


def _plans(aim: _Aim, most: float, spend: float, count: int) -> list[pd.DataFrame]:
    """Runs of one budget each, as large as the spend allows and at most `most`."""
    runs = aim.posterior.runs
    table = runs.group_table(aim.name)
    least = float(table["flops"].min())
    plans = []
    for sizes in range(1, count + 1):
        budget = _rounded_down(min(most, spend / sizes))
        if sizes == 1 or budget >= 0.999 * least:
            spacings = [s for s in _SPACINGS if s ** (sizes - 1) <= _WIDEST]
            plans += [_around(aim, budget, sizes, s) for s in spacings[: None if sizes > 1 else 1]]
    low = table["params"].min() / _REACH
    return [plan for plan in plans if plan["params"].min() >= low] or plans


def _around(aim: _Aim, budget: float, sizes: int, spacing: float) -> pd.DataFrame:
    """Runs of a budget whose sizes lie around the one that is best in expectation, the nearest to it first."""
    all_sizes = aim.posterior.sizes(aim.name, budget)
    expected = aim.on_budget(all_sizes, budget).mean(axis=0)
    steps = np.array(sorted(np.arange(sizes) - (sizes - 1) / 2, key=abs))
    params = np.array([float(f"{n:.2g}") for n in all_sizes[np.argmin(expected)] * spacing**steps])
    return pd.DataFrame({"params": params, "samples": budget / aim.posterior.cost[aim.name](params), "flops": budget})


def _options(aim: _Aim, flops: float) -> np.ndarray:
    """Sizes that may be best at a budget [P]: where draws have their optimum, and twice as far out."""
    sizes = aim.posterior.sizes(aim.name, flops)
    at = np.argmin(aim.on_budget(sizes, flops, pace=False), axis=1)
    low, high = np.quantile(np.log(sizes[at]), (0.01, 0.99))
    room = max(0.5 * (high - low), np.log(2))
    return np.exp(np.linspace(low - room, high + room, _OPTIONS))


def _views(aim: _Aim, f: np.ndarray, runs: pd.DataFrame) -> list[ViewDraws]:
    """What each run would measure in each view, with how much noise, beside what the sizes lose at the target.

    Measured are the losses of all runs and, where they decide, the returns of all runs after them.

    A Student t with ν degrees of freedom tells of its location as much as a normal of variance (ν + 3) / (ν + 1) times
    its squared scale (Lange, Little and Taylor, 1989, JASA 84, 881-896). A row that a view gives a weight w tells that
    view w times as much. Precisions are averaged over the draws of a view.
    """
    posterior, name = aim.posterior, aim.name
    params, samples, flops = (runs[c].to_numpy() for c in ("params", "samples", "flops"))
    y = posterior.log_loss(params, samples, group=name)
    k, parameters = posterior.groups.index(name), posterior.parameters
    noise_parameters, level = parameters.noise, np.asarray(parameters.law.level)[:, k, None]
    scale = noise_scale(noise_parameters["noise"][:, k, None], noise_parameters["noise_growth"][:, None], y - level)
    dof = np.asarray(noise_parameters["dof"])[:, None]
    precision = (dof + 1) / (dof + 3) / np.asarray(scale) ** 2
    measured = [y]
    if aim.measures_both:
        noise_of_return = parameters.return_noise
        spread, dof = np.asarray(noise_of_return["spread"])[:, k, None], np.asarray(noise_of_return["dof"])[:, None]
        precision = np.hstack([precision, np.broadcast_to((dof + 1) / (dof + 3) / spread**2, y.shape)])
        measured.append(aim.of_return(y, params))
    chains, length = next(iter(posterior.draws.values())).shape[:2]
    view, excess = np.repeat(np.arange(chains) % len(LOCALITIES), length), _excess(posterior, name, y, flops)
    views = []
    for v, locality in enumerate(posterior.encoding.row_weights.localities[name][: view.max() + 1]):
        own = view == v
        weight = np.tile(locality.weigh(np.exp(y[own]), excess[own], flops), len(measured))
        information = (weight * precision[own]).mean(axis=0)
        informative = information > 1e-6 * precision[own].mean(axis=0)
        noise = np.where(informative, 1 / np.where(informative, information, 1.0), np.inf)
        views.append(ViewDraws(f=f[own], y=np.hstack(measured)[own], noise=noise))
    return views


def _excess(posterior: Posterior, name: str, y: np.ndarray, flops: np.ndarray) -> np.ndarray:
    """Log loss of each run above the best that its compute buys [S, J]; 0 without losses, as rows are then weighed."""
    excess = np.zeros_like(y)
    if posterior.has_losses:
        sizes = posterior.sizes(name, float(flops.max()))
        for budget in np.unique(flops):
            at = flops == budget
            best = posterior.log_loss(sizes, budget / posterior.cost[name](sizes), group=name).min(axis=1)
            excess[:, at] = np.maximum(y[:, at] - best[:, None], 0.0)
    return excess


def _rounded_down(number: float) -> float:
    """To two digits."""
    exponent = np.floor(np.log10(number)) - 1
    return float(f"{np.floor(number / 10**exponent * (1 + 1e-9)):.0f}e{exponent:.0f}")
