"""Replay of a published table: what are the runs that `forecast next` asks for worth beside an isoFLOP grid?

    python benchmarks/next_runs.py [nethack-transformer] [--starts 400 100 40] [--targets 1 10] [--seeds 0]
    python benchmarks/next_runs.py atari-cnn

From the rows of the lowest budgets, up to a part (1/400, 1/100, 1/40) of the largest budget, `next` asks
`forecast.next_runs` about a target of that largest budget or ten times it, is shown the rows of the table nearest to
what it asked for, fits again, and so on. A grid is shown all sizes of one budget after the other; `grid, one a size`
without second trainings of a size, where there are some. A training is paid for once: its checkpoint at C costs C less
what was paid for it before, and shows those before. Each group of the table is replayed by itself.

The truth is the posterior of the whole table, at which the grid ends: its best size N* for the target, and the loss
that each size is expected to give away. Two questions are asked. How far from N* is `next` when it has paid a half, or
a quarter, of what a grid has paid, for every budget of the grid? And from which FLOPs on is a strategy accurate for
good: its best size within 15% of N*, or within the 50% interval of N*, or giving away less than 0.1% more loss than N*?
The second is decided by single fits, so that its ratios scatter.
"""

import argparse
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

import forecast

SETTINGS = {"chains": 2, "draws": 300, "max_draws": 300, "warmup": 300}
STEP = 0.5  # part of what has been paid that is spent before the next fit
COUNT = 4  # runs asked for at a time
CRITERIA = ("N* to 15%", "N* to its 50%", "regret to 0.1%")
GRIDS = ("grid", "grid, one a size")
SHARES = (0.5, 0.25)  # of a grid's FLOPs


@dataclass
class Shown:
    """What a strategy has been shown of a table: FLOPs paid by run, and the rows up to there."""

    table: pd.DataFrame
    paid: dict[str, float] = field(default_factory=dict)

    @property
    def rows(self) -> pd.Series:
        """Which rows have been shown."""
        return self.table["flops"] <= self._paid() * (1 + 1e-9)

    @property
    def cost(self) -> float:
        """FLOPs paid."""
        return sum(self.paid.values())

    def hidden(self, spend: float) -> pd.DataFrame:
        """The other rows that cost no more than this, with their `cost`."""
        table = self.table.assign(cost=self.table["flops"] - self._paid())[~self.rows]
        return table[table["cost"] <= spend * (1 + 1e-9)]

    def show(self, row: pd.Series) -> float:
        """Pay for a row, and what it cost."""
        run, flops = str(row["run"]), float(row["flops"])
        before = self.paid.get(run, 0.0)
        self.paid[run] = max(flops, before)
        return self.paid[run] - before

    def _paid(self) -> pd.Series:
        return self.table["run"].map(self.paid).fillna(0.0).astype(float)


class Replay:
    """Fits of parts of a table, each made once, judged by the posterior of the whole."""

    def __init__(self, runs: forecast.Runs, seed: int) -> None:
        self.runs, self.seed = runs, seed
        self.whole = forecast.fit(runs, chains=4, draws=500, max_draws=500, warmup=500)
        self._fits: dict[tuple[int, ...], forecast.Posterior] = {}

    def fit(self, shown: Shown) -> forecast.Posterior:
        """The posterior of what has been shown."""
        rows = shown.table.index[shown.rows]
        if tuple(rows) not in self._fits:
            part = self.runs.subset(self.runs.table.index.isin(rows))
            self._fits[tuple(rows)] = forecast.fit(part, seed=self.seed, **SETTINGS)
        return self._fits[tuple(rows)]

    def step(self, shown: Shown, target: float) -> dict[str, float]:
        """What has been paid, and the errors of the best size for the target."""
        best = forecast.recommend(self.whole, flops=target, objective="loss")
        params = forecast.recommend(self.fit(shown), flops=target, objective="loss").params
        sizes, regret = best.regret["params"].to_numpy(), best.regret["loss_regret"].min()
        away = best.regret_of(float(np.clip(params, sizes[0], sizes[-1])))["loss_regret"] - regret
        low, high = best.optimum_params["q25"], best.optimum_params["q75"]
        error = abs(float(np.log(params / best.params)))
        return {
            **{"cost": shown.cost, "params": params, "error": error, "regret": away},
            **{"N* to 15%": error <= 0.15, "N* to its 50%": low <= params <= high, "regret to 0.1%": away <= 0.001},
        }

    def of_grid(self, table: pd.DataFrame, start: float, target: float) -> pd.DataFrame:
        """All sizes of one budget after the other."""
        shown, path, budgets = Shown(table), [], budgets_of(table)
        for budget in np.unique(budgets):
            for _, row in table[budgets == budget].iterrows():
                shown.show(row)
            if budget >= start * 0.999:
                path.append(self.step(shown, target))
        return pd.DataFrame(path)

    def of_next(self, start: float, target: float, most: float) -> pd.DataFrame:
        """What `forecast.next_runs` asks for, until the whole table has been paid for."""
        table = self.runs.table
        shown, path = Shown(table), []
        for _, row in table[budgets_of(table) <= start * 1.001].iterrows():
            shown.show(row)
        while shown.cost < 0.999 * most:
            path.append(self.step(shown, target))
            show_nearest(self.fit(shown), shown, target, most - shown.cost)
        return pd.DataFrame([*path, self.step(shown, target)])


def budgets_of(table: pd.DataFrame) -> pd.Series:
    """The budget (FLOPs) that a row was one of a grid at: the nominal one, where the true cost differs between rows."""
    return table["flops_nominal" if "flops_nominal" in table else "flops"]


def show_nearest(posterior: forecast.Posterior, shown: Shown, target: float, most: float) -> None:
    """Show the rows nearest to those asked for; twice as much is spent until something is worth its FLOPs."""
    left = spend = min(STEP * shown.cost, most)
    while True:
        plan = forecast.next_runs(
            posterior,
            target_flops=target,
            spend=max(spend, float(shown.table["flops"].min())),
            objective="loss",
            count=COUNT,
        )
        for wanted in plan.runs.itertuples():
            hidden = shown.hidden(left)
            if hidden.empty:
                break
            away = np.abs(np.log(hidden["params"] / wanted.params)) + np.abs(np.log(hidden["flops"] / wanted.flops))
            left -= shown.show(hidden.loc[away.idxmin()])
        if left < spend:
            return
        if spend >= most:  # nothing is worth its FLOPs, or all rows cost more
            hidden = shown.hidden(np.inf)
            shown.show(hidden.loc[hidden["cost"].idxmin()])
            return
        left = spend = min(2 * spend, most)


def settled(path: pd.DataFrame, what: str) -> float:
    """FLOPs paid from which on a strategy is accurate; nan if it is not at its end."""
    outside = np.flatnonzero(~path[what].to_numpy(bool))
    if outside.size and outside[-1] == len(path) - 1:
        return float("nan")
    return float(path["cost"].iloc[outside[-1] + 1 if outside.size else 0])


def at_shares(paths: dict[str, pd.DataFrame]) -> list[dict[str, object]]:
    """Errors of each grid at each of its budgets, and of `next` when it had paid at most a share of that."""
    found = []
    for grid in GRIDS:
        for share in SHARES:
            for step in paths[grid].itertuples() if grid in paths else ():
                before = paths["next"][paths["next"]["cost"] <= share * step.cost * (1 + 1e-9)]
                if len(before):
                    ours = before.iloc[-1]
                    found.append({
                        **{"beside": grid, "share": share, "error": step.error, "regret": step.regret},
                        **{"error of next": ours["error"], "regret of next": ours["regret"]},
                    })  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", nargs="?", default="nethack-transformer", help="bundled name of a table, or its file")
    parser.add_argument("--groups", nargs="+", help="all of the table unless given")
    parser.add_argument("--starts", type=float, nargs="+", default=[400, 100, 40], help="parts of the largest budget")
    parser.add_argument("--targets", type=float, nargs="+", default=[1, 10], help="times the largest budget")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    given = parser.parse_args()
    runs = forecast.read_runs(given.table)
    found, shares = [], []
    for group in given.groups or runs.groups:
        for seed in given.seeds:
            of_group = runs.subset(runs.table["group"] == group)
            ends, errors = replayed(of_group, given.starts, given.targets, seed)
            found += [{"group": group, "seed": seed, **row} for row in ends]
            shares += [{"group": group, "seed": seed, **row} for row in errors]
    report(pd.DataFrame(found), pd.DataFrame(shares))


def replayed(
    runs: forecast.Runs, starts: list[float], targets: list[float], seed: int
) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Of one group: FLOPs until each strategy is accurate for good, and errors at shares of a grid's FLOPs."""
    table = runs.table
    longest = table.sort_values("flops").groupby("params")["run"].last()
    once = table[table["run"].isin(longest)]
    replay, largest = Replay(runs, seed), float(budgets_of(table).max())
    found, shares = [], []
    for target in (times * float(table["flops"].max()) for times in targets):
        best = forecast.recommend(replay.whole, flops=target, objective="loss")
        q = {k: f"{v / 1e6:.3g}" for k, v in best.optimum_params.items()}
        of_n = f"N* {best.params / 1e6:.3g} M, 50% {q['q25']} to {q['q75']} M"
        print(f"\n{runs.groups[0]}, target {target:.3g}, seed {seed}: {of_n}", flush=True)
        for start in (largest / part for part in starts):
            paths = {"grid": replay.of_grid(table, start, target)}
            if len(once) < len(table):
                paths["grid, one a size"] = replay.of_grid(once, start, target)
            paths["next"] = replay.of_next(start, target, float(paths["grid"]["cost"].iloc[-1]))
            for name, path in paths.items():
                steps = zip(path["cost"], path["params"], path["regret"], strict=True)
                told = "  ".join(f"{c:.2g} {n / 1e6:.3g}M {100 * r:.2f}%" for c, n, r in steps)
                print(f"  from {start:.2g}, {name}: {told}", flush=True)
                about = {"target": target, "start": start, "strategy": name}
                found.append({**about, **{w: settled(path, w) for w in CRITERIA}})
            shares += at_shares(paths)
    return found, shares


def report(settled: pd.DataFrame, shares: pd.DataFrame) -> None:
    """Errors at shares of a grid's FLOPs, FLOPs until each strategy is accurate, and their ratios to the grids'."""
    print("\nErrors of N* (mean |log|, and loss given away) of a grid, and of next at a share of the grid's FLOPs")
    for (grid, share), rows in shares.groupby(["beside", "share"], sort=False):
        print(
            f"  {share:g} of {grid}: error {rows['error of next'].mean():.3f} for {rows['error'].mean():.3f}, "
            f"given away {rows['regret of next'].mean():.3%} for {rows['regret'].mean():.3%} ({len(rows)} comparisons)"
        )
        for by in ("seed", "group"):
            parts = rows.groupby(by)[["error of next", "error"]].mean()
            if len(parts) > 1:
                told = (f"{key} {a:.3f} for {b:.3f}" for key, a, b in parts.itertuples())
                print(f"    by {by}: " + ", ".join(told))
    print("\nFLOPs paid until accurate for good")
    print(settled.to_string(index=False, float_format=lambda x: f"{x:.3g}"))
    by_case = settled.set_index(["group", "target", "seed", "start", "strategy"])
    for grid in [g for g in GRIDS if g in set(settled["strategy"])]:
        ratio = by_case.xs("next", level="strategy") / by_case.xs(grid, level="strategy")
        print(f"\nnext / {grid}")
        for what in CRITERIA:
            r = ratio[what].dropna()
            span = f"{r.min():.2f} to {r.max():.2f}" if len(r) else "never"
            half = f"at most half in {(r <= 0.5).sum()} of {len(ratio)}"
            print(f"  {what}: geometric mean {np.exp(np.log(r).mean()):.2f}, {span}; {half}")


if __name__ == "__main__":
    main()
