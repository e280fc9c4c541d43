"""Which runs to train next, so that the recommendation for a larger budget gets better."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from forecast.encode import LOCALITIES, localities
from forecast.knowledge import Draws, choose, regrets
from forecast.model import noise_scale
from forecast.posterior import Posterior
from forecast.words import count as counted
from forecast.words import scientific, share

_DRAWS = 2000  # half of them choose, half of them judge
_FEWEST = 400  # draws, below which all of them do both
_OPTIONS = 61  # sizes weighed at the target
_SIZE_STEPS = 6  # sizes tried a factor of ten
_REACH = 3.0  # factor beyond the table's sizes
_GRID = 2.0 ** np.arange(-2, 3)  # sizes of an isoFLOP grid over the best
_THRIFTS = (1.0, 0.5, 0.0)  # powers of cost that savings are divided by; the best of the three plans is taken


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """Runs to train next, in the order of what they are worth.

    runs: `params`, `samples`, `flops`, and `regret`, the expected regret at the target once it and those above it are
    made. Regrets are parts of the least loss (of the highest return where `objective` is "return"), that a recommended
    run for `target_flops` is expected to give away. cost: FLOPs of all runs. grid: runs of an isoFLOP grid of the same
    cost. passed, verdict: of the posterior's diagnostics.
    """

    group: str
    objective: str
    target_flops: float
    spend: float
    cost: float
    runs: pd.DataFrame
    grid: pd.DataFrame
    regret_now: float
    regret_after: float
    regret_grid: float
    passed: bool
    verdict: str

    @property
    def sentence(self) -> str:
        """What the runs cost and save, in one sentence."""
        at = f"Expected regret at {scientific(self.target_flops)} FLOPs: {share(self.regret_now)} now"
        if self.runs.empty:
            return f"{at}; no run of up to {scientific(self.spend)} FLOPs would make it less."
        many = f"these {len(self.runs)} runs" if len(self.runs) > 1 else "this run"
        return (
            f"{at}; after {many} ({scientific(self.cost)} FLOPs) {share(self.regret_after)}; "
            f"an isoFLOP grid of the same cost {share(self.regret_grid)}."
        )

    def table(self) -> pd.DataFrame:
        """The runs, and the expected regret once each and those above it are made, in percent."""
        rows = zip(*(self.runs[c] for c in ("params", "samples", "flops", "regret")), strict=True)
        cells = [(counted(n), counted(d), scientific(c), share(r)) for n, d, c, r in rows]
        return pd.DataFrame(cells, columns=["params", "samples", "FLOPs", "expected regret after it"])

    def to_dict(self) -> dict[str, Any]:
        """As plain types."""
        numbers = ("target_flops", "spend", "cost", "regret_now", "regret_after", "regret_grid")
        return {
            **{"group": self.group, "objective": self.objective},
            **{k: getattr(self, k) for k in numbers},
            "runs": self.runs.to_dict(orient="records"),
            "grid": self.grid.to_dict(orient="records"),
            "diagnostics": {"passed": self.passed, "sentence": self.verdict},
            "sentence": self.sentence,
        }

    def to_toml(self) -> str:
        """A sweep: one [[grid]] a budget, ascending, with `flops` and the sizes `params`."""
        lines = [f"# {self.sentence}", "# Budgets in FLOPs and model sizes to train on each."]
        for flops, rows in self.runs.groupby("flops", sort=True):
            sizes = ", ".join(scientific(n) for n in sorted(rows["params"]))
            lines += ["", "[[grid]]", f"flops = {scientific(float(str(flops)))}", f"params = [{sizes}]"]
        return "\n".join(lines) + "\n"


def next_runs(
    posterior: Posterior,
    *,
    target_flops: float,
    spend: float,
    group: str | None = None,
    count: int = 8,
    candidates: pd.DataFrame | None = None,
) -> Plan:
    """Up to `count` runs within `spend` FLOPs that most reduce the expected regret of a run of `target_flops`.

    Regret is what the size that is best in expectation gives away against the size that is truly best. Runs tried:
    sizes from a third of the table's smallest to three times its largest, budgets 1, 2 and 5 times powers of ten from
    the table's smallest to the spend. What a run would measure has the noise of a run, and counts as much as
    `forecast.encode.row_weights` would let its row count in the next fit. They are chosen one by one by what each saves
    a FLOP (`forecast.knowledge`), or over the root of its FLOPs, or outright, or after an isoFLOP grid of three or five
    of them, which tell together what none tells alone: whichever saves most in all. Where there are draws enough, one
    half of them chooses and the other judges.

    Not followed: runs of more compute than the table's make its old rows count less in the next fit, whose own expected
    regret then falls by less than is said here (benchmarks/LOG.md).

    candidates: the runs to choose from in their place, with columns `params` and `flops`, and `cost` where that is not
    the FLOPs, as of a training that is continued. The loss decides; without losses in the table, the return over the
    lowest. Raises ValueError for numbers that are not positive, an unknown group, and a spend that no run fits into.
    """
    name = posterior.group_name(group)
    for what, value in {"target_flops": target_flops, "spend": spend, "count": count}.items():
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"{what} is {value:g}; give a positive number.")
    few = posterior.thinned(_DRAWS)
    runs = _candidates(few, name, min(spend, target_flops)) if candidates is None else _given(few, name, candidates)
    options = _options(few, name, target_flops)
    f = few.log_loss(options, target_flops / few.cost[name](options), group=name, pace=False)
    chooses, judges = (slice(0, None, 2), slice(1, None, 2)) if len(f) >= _FEWEST else (slice(None), slice(None))
    views = _views(few, name, f, runs)
    cost = runs["cost"].to_numpy(float)
    starts = [(t, ()) for t in _THRIFTS] + [(1.0, s) for s in _starts(few, name, runs, spend, int(count))]
    halves = [v.part(chooses) for v in views]
    plans = [choose(halves, cost, spend, int(count), thrift=t, first=s) for t, s in starts]
    order = max(plans, key=lambda plan: plan[1])[0]
    rising = not posterior.has_losses
    told = after_grid = regrets([v.part(judges) for v in views], order, rising=rising)
    chosen = runs.drop(columns="cost").iloc[order].reset_index(drop=True).assign(regret=told[1:])
    grid = chosen
    if order:
        grid = _iso_flop(few, name, float(cost[order].sum()))
        views = _views(few, name, f, grid)
        after_grid = regrets([v.part(judges) for v in views], range(len(grid)), rising=rising)
    return Plan(
        group=name,
        objective="return" if rising else "loss",
        target_flops=float(target_flops),
        spend=float(spend),
        cost=float(cost[order].sum()),
        runs=chosen,
        grid=grid[["params", "samples", "flops"]],
        regret_now=float(told[0]),
        regret_after=float(told[-1]),
        regret_grid=float(after_grid[-1]),
        passed=posterior.diagnostics.passed,
        verdict=posterior.diagnostics.sentence,
    )


def _candidates(posterior: Posterior, name: str, most: float) -> pd.DataFrame:
    """Runs that may be trained: params, samples, flops."""
    table = posterior.runs.group_table(name)
    least = float(table["flops"].min())
    if most < 0.999 * least:
        raise ValueError(
            f"no run fits into {scientific(most)} FLOPs: the smallest of {posterior.runs.source} took "
            f"{scientific(least)}; spend more."
        )
    decades = range(int(np.floor(np.log10(least))), int(np.ceil(np.log10(most))) + 1)
    budgets = [float(f"{m}e{e}") for e in decades for m in (1, 2, 5) if 0.999 * least <= float(f"{m}e{e}") <= most]
    low, high = table["params"].min() / _REACH, table["params"].max() * _REACH
    steps = int(np.ceil(np.log10(high / low) * _SIZE_STEPS)) + 1
    sizes = np.unique([float(f"{n:.1e}") for n in np.geomspace(low, high, steps)])
    every = pd.DataFrame([(n, c) for c in budgets or [_rounded_down(most)] for n in sizes], columns=["params", "flops"])
    return _with_samples(posterior, name, every)


def _given(posterior: Posterior, name: str, candidates: pd.DataFrame) -> pd.DataFrame:
    """Runs that were given to choose from, checked."""
    missing = [c for c in ("params", "flops") if c not in candidates]
    if missing or candidates.empty:
        raise ValueError(
            f"the candidates have no {missing[0] if missing else 'rows'}; give runs with params and flops."
        )
    found = _with_samples(posterior, name, candidates.reset_index(drop=True))
    numbers = found.to_numpy(float)
    bad = np.flatnonzero(~(np.isfinite(numbers) & (numbers > 0)).all(axis=1))
    if bad.size:
        raise ValueError(f"candidate {bad[0] + 1} has a number that is not positive and finite; correct it.")
    return found


def _with_samples(posterior: Posterior, name: str, runs: pd.DataFrame) -> pd.DataFrame:
    """params, samples, flops, and cost, which is the FLOPs unless it is given."""
    samples = runs["flops"] / posterior.cost[name](runs["params"])
    cost = runs["cost"] if "cost" in runs else runs["flops"]
    return runs.assign(samples=samples, cost=cost)[["params", "samples", "flops", "cost"]]


def _options(posterior: Posterior, name: str, flops: float) -> np.ndarray:
    """Sizes that may be best at a budget [P]: where draws have their optimum, and twice as far out."""
    sizes = posterior.sizes(name, flops)
    at = np.argmin(posterior.log_loss(sizes, flops / posterior.cost[name](sizes), group=name, pace=False), axis=1)
    low, high = np.quantile(np.log(sizes[at]), (0.01, 0.99))
    room = max(0.5 * (high - low), np.log(2))
    return np.exp(np.linspace(low - room, high + room, _OPTIONS))


def _views(posterior: Posterior, name: str, f: np.ndarray, runs: pd.DataFrame) -> list[Draws]:
    """What each run would measure in each view, with how much noise, beside what the sizes lose at the target.

    A Student t with ν degrees of freedom tells of its location as much as a normal of variance (ν + 3) / (ν + 1) times
    its squared scale (Lange, Little and Taylor, 1989, JASA 84, 881-896). A row that a view gives a weight w tells that
    view w times as much. Precisions are averaged over the draws of a view.
    """
    params, samples, flops = (runs[c].to_numpy() for c in ("params", "samples", "flops"))
    y = posterior.log_loss(params, samples, group=name)
    k, parameters = posterior.groups.index(name), posterior.parameters
    noise, level = parameters.noise, np.asarray(parameters.law.level)[:, k, None]
    scale = noise_scale(noise["noise"][:, k, None], noise["noise_growth"][:, None], y - level)
    dof = np.asarray(noise["dof"])[:, None]
    precision = (dof + 1) / (dof + 3) / np.asarray(scale) ** 2
    chains, length = next(iter(posterior.draws.values())).shape[:2]
    view, excess = np.repeat(np.arange(chains) % len(LOCALITIES), length), _excess(posterior, name, y, flops)
    found = []
    for v, locality in enumerate(localities(posterior.runs, name)[: view.max() + 1]):
        own = view == v
        told = (locality.weigh(np.exp(y[own]), excess[own], flops) * precision[own]).mean(axis=0)
        heard = told > 1e-6 * precision[own].mean(axis=0)
        found.append(Draws(f=f[own], y=y[own], noise=np.where(heard, 1 / np.where(heard, told, 1.0), np.inf)))
    return found


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


def _iso_flop(posterior: Posterior, name: str, cost: float) -> pd.DataFrame:
    """Five sizes, each twice the last, around the one best in expectation, on equal budgets."""
    budget = cost / len(_GRID)
    sizes = posterior.sizes(name, budget)
    expected = posterior.log_loss(sizes, budget / posterior.cost[name](sizes), group=name).mean(axis=0)
    best = sizes[np.argmin(expected)]
    return _with_samples(posterior, name, pd.DataFrame({"params": best * _GRID, "flops": budget}))


def _starts(posterior: Posterior, name: str, runs: pd.DataFrame, spend: float, count: int) -> Iterator[tuple[int, ...]]:
    """Positions among the runs of isoFLOP grids that fit into the spend: three and five sizes around the best."""
    for factors in (_GRID[1:-1], _GRID):
        fits = runs[runs["cost"] <= spend / len(factors) * (1 + 1e-9)]
        if len(factors) > count or fits.empty:
            continue
        there = fits[fits["flops"] == fits["flops"].max()]
        middle = _iso_flop(posterior, name, float(there["flops"].iloc[0]) * len(_GRID))["params"].iloc[len(_GRID) // 2]
        away = np.abs(np.log(there["params"].to_numpy()[:, None] / (middle * factors)))
        found = tuple(dict.fromkeys(int(i) for i in there.index[away.argmin(axis=0)]))
        if len(found) == len(factors):
            yield found


def _rounded_down(number: float) -> float:
    """To two digits."""
    exponent = np.floor(np.log10(number)) - 1
    return float(f"{np.floor(number / 10**exponent * (1 + 1e-9)):.0f}e{exponent:.0f}")
