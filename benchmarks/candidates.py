"""Choosing among given runs: `forecast next --from` beside V-optimal and random choice, on tables whose rest is known.

    python benchmarks/candidates.py [chinchilla nethack-transformer constant-rate FILE...] [--parts 0.03 0.1] [--docs]

Of each table the rows up to a fortieth of the largest compute are shown; those up to a quarter of it are the
candidates, each at its full cost, and a part of their cost may be spent. Each way of choosing pays for its rows, the
table of what has been shown is fitted, and its recommendation for the largest compute is judged by the posterior of the
whole table: the distance of its N* from that one's, and the expected loss that it gives away. V-optimal choice makes
the mean variance of the forecast loss at the sizes of the target smallest; random choice takes affordable candidates
until none is left (means over `--draws` of them). A few minutes a table on two cores.
"""

import argparse
import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd

import forecast
from documents import replace_block
from forecast.decide.candidates import choose
from forecast.decide.next_runs import _Aim, _options, _views

SETTINGS = {"chains": 2, "draws": 500, "max_draws": 1000, "warmup": 500}
TABLES = ("chinchilla", "nethack-transformer", "constant-rate")
COUNT = 16


def v_optimal(posterior: forecast.Posterior, target: float, spend: float, runs: pd.DataFrame) -> list[int]:
    """Greedy choice by the mean variance of the log loss of the target's sizes, linear in what is measured."""
    aim = _Aim(posterior.thinned(1000), posterior.groups[0], "loss")
    views = _views(aim, aim.on_budget(_options(aim, target), target, pace=False), runs)

    def variance_after(place: Sequence[int]) -> float:
        return float(np.mean([_variance(view.f, view.y[:, list(place)], view.noise[list(place)]) for view in views]))

    return choose(runs["flops"].to_numpy(float), spend, COUNT, variance_after)


def _variance(f: np.ndarray, y: np.ndarray, noise: np.ndarray) -> float:
    f, y = f - f.mean(axis=0), y[:, np.isfinite(noise)]
    y, noise = y - y.mean(axis=0), noise[np.isfinite(noise)]
    between = f.T @ y / len(f)
    gain = between @ np.linalg.solve(y.T @ y / len(y) + np.diag(noise), between.T) if y.shape[1] else np.zeros((1, 1))
    return float((f**2).mean(axis=0).mean() - np.trace(gain) / f.shape[1])


def at_random(costs: np.ndarray, spend: float, rng: np.random.Generator) -> list[int]:
    """Candidates in random order, each that is still affordable."""
    chosen: list[int] = []
    for j in rng.permutation(len(costs)).tolist():
        if len(chosen) < COUNT and costs[[*chosen, j]].sum() <= spend:
            chosen.append(j)
    return chosen


def compared(name: str, parts: list[float], draws: int) -> list[dict[str, object]]:
    """A row a way of choosing and spend."""
    runs = forecast.read_runs(name)
    table, target = runs.table, float(runs.table["flops"].max())
    whole = forecast.recommend(forecast.fit(runs), flops=target, objective="loss")
    shown = table["flops"] <= target / 40 * (1 + 1e-9)
    pool = table[~shown & (table["flops"] <= target / 4 * (1 + 1e-9))]
    start = forecast.fit(runs.subset(shown), **SETTINGS)
    costs = pool["flops"].to_numpy(float)

    def judged(chosen: list[int]) -> dict[str, float]:
        rows = shown | table.index.isin(pool.index[chosen])
        answer = forecast.recommend(forecast.fit(runs.subset(rows), **SETTINGS), flops=target, objective="loss")
        sizes = whole.regret["params"]
        at = float(np.clip(answer.params, sizes.min(), sizes.max()))
        away = whole.regret_of(at)["loss_regret"] - whole.regret["loss_regret"].min()
        return {"runs": len(chosen), "error": abs(float(np.log(answer.params / whole.params))), "regret": away}

    found: list[dict[str, object]] = []
    print(f"{name}: {shown.sum()} rows shown, {len(pool)} candidates", flush=True)
    for part in parts:
        spend = part * costs.sum()
        candidates = pool[["params", "samples", "flops"]]
        plan = forecast.next_runs(
            start,
            target_flops=target,
            spend=spend,
            objective="loss",
            count=COUNT,
            candidates=candidates.assign(j=range(len(pool))),
        )
        ways = {
            "next": [plan.runs["j"].tolist() if len(plan.runs) else []],
            "V-optimal": [v_optimal(start, target, spend, candidates)],
            "random": [at_random(costs, spend, np.random.default_rng([seed, 7])) for seed in range(draws)],
        }
        for way, choices in ways.items():
            mean = pd.DataFrame([judged(chosen) for chosen in choices]).mean()
            found.append({"table": name.split("/")[-1].removesuffix(".csv"), "spend": part, "way": way, **mean})
            print("  ", found[-1], flush=True)
    return found


def markdown(found: pd.DataFrame) -> str:
    """The table in Markdown."""
    lines = [
        "| table | FLOPs spent, of all candidates | chosen by | runs | error of log N* | loss given away |",
        "|---" * 6 + "|",
    ]
    for row in found.itertuples():
        numbers = f"{row.runs:.0f} | {row.error:.3f} | {row.regret:.3%}"
        lines.append(f"| {row.table} | {row.spend:.0%} | {row.way} | {numbers} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", default=TABLES, help="names of bundled tables with one group, or files")
    parser.add_argument("--parts", type=float, nargs="+", default=[0.03, 0.1], help="of what all candidates cost")
    parser.add_argument("--draws", type=int, default=4, help="of random choice")
    parser.add_argument("--docs", action="store_true", help="write the table of docs/how-it-was-tested.md")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    found = pd.DataFrame([row for name in given.tables for row in compared(name, given.parts, given.draws)])
    print(markdown(found))
    mean = found.groupby("way", sort=False)[["error", "regret"]].mean()
    print("\n" + mean.to_string())
    if given.docs:
        replace_block("candidates", markdown(found))


if __name__ == "__main__":
    main()
