"""Every table there is here: does the fit converge, how long does it take, and how good is the forecast?

    python benchmarks/public.py [NAMES] [--seeds 0] [--cutoffs 5] [--docs]

Published tables (NetHack, five Atari games, two of language models), planted ones whose law is known, and large ones.
Each is fitted once a seed at the defaults; published ones are also back-tested beside a power law of minimal loss and
the Huber fit. Of a planted table the truth is known: the loss of a new run and the best size at the largest compute,
ten times and a hundred times it. The table printed:

- fitted: seeds of which every diagnostic passed; seconds: the slowest, with whatever had to be compiled.
- CRPS: of log loss, to 30 times the cut-off, mean over cut-offs; of planted tables at the three budgets.
- 90%, width: coverage and width in log of those intervals; regret: of the recommended size.
- / Huber, / line: CRPS over that of the Huber fit and of the power law, at cut-offs where both answered.
- floor known: the planted table once more, whose irreducible loss the fit is told (`expert_loss`).
- N*: of the planted tables, how many of the 90% intervals of the best size hold the true one.

About half an hour on two cores.
"""

import argparse
import time
import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd

import forecast
from documents import replace_block
from forecast.verify import backtest
from forecast.verify.crps import LEVELS, crps_at_levels

ATARI = ("BankHeist", "BattleZone", "Breakout", "NameThisGame", "Qbert")
PUBLISHED = ("nethack-transformer", *ATARI, "chinchilla", "constant-rate")
NOISE = 0.003
"""Relative noise of the planted tables."""


def additive(n: np.ndarray, d: np.ndarray) -> np.ndarray:
    """L = E + A/N^alpha + B/D^beta, with the constants of Besiroglu et al. (2024)."""
    return 1.82 + 482 / n**0.348 + 2085 / d**0.366


def nested(n: np.ndarray, d: np.ndarray) -> np.ndarray:
    """The form of Kaplan et al. (2020), (N-term^(a/b) + D-term)^b, above a floor."""
    return 1.5 + ((6e13 / n) ** (0.08 / 0.1) + 2e13 / d) ** 0.1


def bent(n: np.ndarray, d: np.ndarray) -> np.ndarray:
    """The additive law whose exponent of samples grows by a third around 1e10 samples."""
    return 1.82 + 482 / n**0.348 + 2085 / d**0.33 / (1 + (d / 1e10) ** 2) ** 0.05


def transient(n: np.ndarray, d: np.ndarray) -> np.ndarray:
    """The additive law with a transient that fades with samples, longer for large models."""
    return additive(n, d) + 2.0 * np.exp(-((d / (4 * n)) ** 0.5))


LAWS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    f.__name__: f for f in (additive, nested, bent, transient)
}


FLOORS = {"additive": 1.82, "nested": 1.5, "bent": 1.82, "transient": 1.82}
"""What no compute removes, by law."""
KNOWN = ", floor known"
"""Ends the name of a planted table whose floor the fit is told, as the loss of a demonstrator."""


def planted(law: str, seed: int) -> forecast.Runs:
    """The losses of a law at the sizes and samples of the Chinchilla table."""
    table = forecast.read_runs("chinchilla").table[["params", "samples", "flops"]].reset_index(drop=True)
    noise = np.random.default_rng(seed).standard_normal(len(table))
    exact = LAWS[law](table["params"].to_numpy(), table["samples"].to_numpy())
    return forecast.read_runs(table.assign(loss=exact * np.exp(NOISE * noise)))


def curves(checkpoints: int, seed: int) -> forecast.Runs:
    """Twenty trainings of the additive law at a constant learning rate, each with noise that persists."""
    rng, rows = np.random.default_rng(seed), []
    for i, n in enumerate(np.geomspace(1e7, 1e9, 20)):
        d = np.geomspace(2e8, 2e10, checkpoints)
        walk = np.cumsum(rng.standard_normal(checkpoints)) / np.sqrt(checkpoints)
        loss = additive(np.full(checkpoints, n), d) * np.exp(NOISE * (rng.standard_normal() + walk))
        rows.append(pd.DataFrame({"params": n, "samples": d, "flops": 6 * n * d, "loss": loss, "run": f"size {i}"}))
    return forecast.read_runs(pd.concat(rows))


def table_of(name: str, seed: int) -> forecast.Runs:
    """A table by its name."""
    if name in ATARI:
        runs = forecast.read_runs("atari-cnn")
        return runs.subset(runs.table["group"] == name)
    if name.removesuffix(KNOWN) in LAWS:
        return planted(name.removesuffix(KNOWN), seed)
    return curves(int(name.split()[0]) // 20, seed) if name.endswith("rows") else forecast.read_runs(name)


def against_truth(posterior: forecast.Posterior, law: Callable) -> pd.DataFrame:
    """The forecast at three budgets against the law: crps, cover90, width90, regret, n_inside."""
    rows = []
    largest = float(posterior.runs.table["flops"].max())
    sizes = np.geomspace(1e6, 1e13, 20_001)
    for ahead in (1, 10, 100):
        budget = ahead * largest
        losses = law(sizes, budget / (6 * sizes))
        best = int(np.argmin(losses))
        chosen = forecast.recommend(posterior, flops=budget, objective="loss")
        drawn = posterior.predict(sizes[best], budget / (6 * sizes[best])).loss
        assert drawn is not None
        quantiles = np.quantile(np.log(drawn), LEVELS, axis=0)
        low, high = np.quantile(drawn, (0.05, 0.95))
        there = law(np.array([chosen.params]), np.array([budget / (6 * chosen.params)]))
        rows.append(
            {
                "crps": float(crps_at_levels(quantiles, np.log(losses[best : best + 1]))[0]),
                "cover90": float(low <= losses[best] <= high),
                "width90": float(np.log(high / low)),
                "regret": float(there[0] / losses[best] - 1),
                "n_inside": float(chosen.optimum_params["q05"] <= sizes[best] <= chosen.optimum_params["q95"]),
            }
        )
    return pd.DataFrame(rows)


def scored(runs: forecast.Runs, cutoffs: int) -> dict[str, float]:
    """The back-test of a table, to 30 times its cut-offs."""
    tested = backtest.backtest(runs, methods=("ours", "huber_lse", "power_law"), cutoffs=cutoffs)
    scores = tested.scores()
    ours = scores[(scores["method"] == "ours") & (scores["target"] == "loss") & (scores["horizon"] == 30)].iloc[0]
    losses = tested.forecasts[tested.forecasts["target"] == "loss"]
    losses = losses[losses["flops"] <= 30 * losses["cutoff"] * (1 + 1e-9)]
    by_cutoff = losses.groupby(["cutoff", "method"])["crps"].mean().unstack("method")
    row = {name: float(ours[name]) for name in ("crps", "cover90", "width90", "regret")}
    for method, column in (("huber_lse", "huber"), ("power_law", "line")):
        both = by_cutoff.dropna(subset=["ours", method]) if method in by_cutoff else by_cutoff[:0]
        row[column] = both["ours"].mean() / both[method].mean() if len(both) else np.nan
    returns = scores[(scores["method"] == "ours") & (scores["target"] == "return") & (scores["horizon"] == 30)]
    row["crps_return"] = float(returns["crps"].iloc[0]) if len(returns) else np.nan
    row["cover_return"] = float(returns["cover90"].iloc[0]) if len(returns) else np.nan
    return row


def measured(name: str, seeds: list[int], cutoffs: int) -> dict[str, object]:
    """One row of the table."""
    seconds, passed, truths = [], 0, []
    for seed in seeds:
        runs = table_of(name, seed)
        begun = time.perf_counter()
        floor = FLOORS[name.removesuffix(KNOWN)] if name.endswith(KNOWN) else None
        posterior = forecast.fit(runs, seed=seed, expert_loss=floor)
        seconds.append(time.perf_counter() - begun)
        passed += posterior.diagnostics.verdict.level == "green"
        if name not in PUBLISHED:
            truths.append(against_truth(posterior, LAWS.get(name.removesuffix(KNOWN), additive)))
    row: dict[str, object] = {"table": name, "fitted": f"{passed} of {len(seeds)}", "seconds": max(seconds)}
    if name in PUBLISHED:
        return {**row, **scored(table_of(name, 0), cutoffs)}
    truth = pd.concat(truths)
    return {**row, **truth.drop(columns="n_inside").mean(), "n": f"{truth['n_inside'].sum():.0f} of {len(truth)}"}


COLUMNS = {
    "table": "table",
    "fitted": "fitted",
    "seconds": "seconds",
    "crps": "CRPS of log loss",
    "cover90": "90% covers",
    "width90": "width",
    "regret": "regret of N*",
    "huber": "/ Huber",
    "line": "/ line",
    "n": "N* inside 90%",
    "crps_return": "CRPS of log return",
    "cover_return": "90% covers",
}


def markdown(rows: list[dict[str, object]]) -> str:
    """The table in Markdown, without the columns that no row has."""
    forms = {"seconds": "{:.0f}", "crps": "{:.4f}", "cover90": "{:.0%}", "width90": "{:.3f}", "regret": "{:.2%}"}
    forms |= {"huber": "{:.2f}", "line": "{:.2f}", "crps_return": "{:.3f}", "cover_return": "{:.0%}"}

    def cell(column: str, value: object) -> str:
        if isinstance(value, float):
            return forms[column].format(value) if np.isfinite(value) else ""
        return str(value)

    cells = [{c: cell(c, row.get(c, "")) for c in COLUMNS} for row in rows]
    used = [c for c in COLUMNS if any(row[c] for row in cells)]
    lines = ["| " + " | ".join(COLUMNS[c] for c in used) + " |", "|---" * len(used) + "|"]
    lines += ["| " + " | ".join(row[c] for c in used) + " |" for row in cells]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = (*PUBLISHED, *LAWS, *(law + KNOWN for law in LAWS), "5000 rows", "50000 rows")
    parser.add_argument("names", nargs="*", default=names, help=f"of {', '.join(names)}; all unless named")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the sampler, and of planted tables")
    parser.add_argument("--cutoffs", type=int, default=5, help="of each back-test")
    parser.add_argument("--docs", action="store_true", help="write the table of docs/how-it-was-tested.md")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = []
    for name in options.names:
        rows.append(measured(name, options.seeds, options.cutoffs))
        print(markdown(rows[-1:]).splitlines()[-1], flush=True)
    print("\n" + markdown(rows))
    for column in ("huber", "line"):
        ratios = [float(str(row[column])) for row in rows if column in row and row[column] == row[column]]
        if ratios:
            print(f"CRPS {COLUMNS[column]}, geometric mean: {np.exp(np.mean(np.log(ratios))):.2f}")
    if options.docs:
        replace_block("public", markdown(rows))


if __name__ == "__main__":
    main()
