"""Two recipes of which one needs a known part of the other's compute: is that forecast right?

    python benchmarks/recipes.py [--pairs 12] [--ahead 1 10] [--docs]

Planted: recipe A is a planted law at the sizes and samples of a table of runs; B is the same law with each size and
each sample worth a factor more or less, at other sizes and samples, both with 1% noise.

Published: A is every second size of a bundled table or game, B the sizes between, whose FLOPs are counted twice: it
needs twice the compute.

`forecast.compare_recipes` is asked at the largest compute of the smaller table and ten times beyond it. Columns: how
often the 90% interval of the compute ratio holds the true one, its median width as a factor, the median error of its
middle as a factor, and how often the recipe that is said to be likelier the better one is. Two fits a pair, some ten
minutes in all.
"""

import argparse
import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd
from public import additive, nested

import forecast
from documents import replace_block
from forecast.numbers import digits

SETTINGS = {"draws": 500, "max_draws": 1000, "warmup": 600}
NOISE = 0.01
PUBLISHED = ("nethack-transformer", "chinchilla", "constant-rate", "atari-cnn")
TWICE = 2.0  # times the compute that the second half of a published table is said to have taken
SIZES = np.geomspace(1e6, 1e13, 4001)
Law = Callable[[np.ndarray, np.ndarray], np.ndarray]


def table(law: Law, rng: np.random.Generator) -> forecast.Runs:
    """Eight sizes on six budgets, those within a factor of thirty of a plausible ratio of samples to size."""
    rows = []
    for flops in np.geomspace(1e18, 3e20, 6) * rng.uniform(0.5, 2.0):
        middle = np.sqrt(flops / 6 / 20)
        sizes = middle * np.geomspace(0.2, 5, 8) * rng.uniform(0.8, 1.25)
        rows.append(pd.DataFrame({"params": sizes, "samples": flops / (6 * sizes), "flops": flops}))
    runs = pd.concat(rows, ignore_index=True)
    exact = law(runs["params"].to_numpy(), runs["samples"].to_numpy())
    return forecast.read_runs(runs.assign(loss=exact * np.exp(NOISE * rng.standard_normal(len(runs)))))


def least(law: Law, flops: float) -> float:
    """The least loss on a budget."""
    return float(law(SIZES, flops / (6 * SIZES)).min())


def true_ratio(a: Law, b: Law, flops: float) -> float:
    """Compute with which B reaches what A does on the budget, over the budget."""
    ratios = np.geomspace(1e-3, 1e3, 1201)
    reached = np.array([least(b, flops * ratio) for ratio in ratios])
    return float(np.exp(np.interp(-least(a, flops), -reached, np.log(ratios))))


def pair(number: int) -> tuple[Law, Law]:
    """Laws of A and B."""
    rng = np.random.default_rng([number, 1])
    law = (additive, nested)[number % 2]
    of_size, of_samples = np.exp(rng.uniform(-1.2, 1.2, 2))
    return law, lambda n, d: law(n * of_size, d * of_samples)


def planted_pair(number: int) -> tuple[forecast.Runs, forecast.Runs, Callable[[float], float]]:
    """Tables of A and B, and the true ratio of compute on a budget."""
    a, b = pair(number)
    rng = np.random.default_rng([number, 2])
    first, second = (table(law, rng) for law in (a, b))
    return first, second, lambda flops: true_ratio(a, b, flops)


def published_pairs() -> list[tuple[forecast.Runs, forecast.Runs, Callable[[float], float]]]:
    """The same of every bundled table and game."""
    pairs = []
    for name in PUBLISHED:
        runs = forecast.read_runs(name)
        for group in runs.groups:
            rows = runs.group_table(group).drop(columns=["flops_nominal"], errors="ignore")
            second = rows["params"].rank(method="dense") % 2 == 0
            twice = rows[second].assign(flops=2 * rows.loc[second, "flops"])
            pairs.append((forecast.read_runs(rows[~second]), forecast.read_runs(twice), lambda _: TWICE))
    return pairs


def judged(
    source: str, a: forecast.Runs, b: forecast.Runs, truth_at: Callable[[float], float], ahead: list[float]
) -> list[dict[str, object]]:
    """A row a budget."""
    first, second = (forecast.fit(runs, seed=0, **SETTINGS) for runs in (a, b))
    smaller = min(first.largest_flops(), second.largest_flops())
    rows: list[dict[str, object]] = []
    for times in ahead:
        said = forecast.compare_recipes(first, second, flops=times * smaller, objective="loss")
        truth, q = truth_at(times * smaller), said.compute
        rows.append(
            {
                "source": source,
                "ahead": times,
                "truth": truth,
                "inside": float(q["q05"] <= truth <= q["q95"]),
                "width": q["q95"] / q["q05"],
                "error": abs(float(np.log(q["median"] / truth))),
                "right": float((said.probability > 0.5) == (truth < 1)),
            }
        )
        print("  ", rows[-1], flush=True)
    return rows


def markdown(found: pd.DataFrame) -> str:
    """The table in Markdown."""
    head = (
        "pairs",
        "times the largest compute",
        "of them",
        "90% covers",
        "width (factor)",
        "error (factor)",
        "better one named",
    )
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for (source, ahead), rows in found.groupby(["source", "ahead"], sort=False):
        cells = [
            str(source),
            f"{ahead:g}",
            f"{len(rows)}",
            f"{rows['inside'].mean():.0%}",
            digits(float(rows["width"].median())),
        ]
        cells += [f"{np.exp(rows['error'].median()):.2f}", f"{rows['right'].mean():.0%}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=12, help="of recipes")
    parser.add_argument("--ahead", type=float, nargs="+", default=[1, 10], help="times the largest compute")
    parser.add_argument("--docs", action="store_true", help="write the table of docs/how-it-was-tested.md")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    pairs = [("planted", *planted_pair(number)) for number in range(given.pairs)]
    pairs += [("published", *one) for one in published_pairs()]
    found = pd.DataFrame([row for one in pairs for row in judged(*one, given.ahead)])
    print(markdown(found))
    if given.docs:
        replace_block("recipes", markdown(found))


if __name__ == "__main__":
    main()
