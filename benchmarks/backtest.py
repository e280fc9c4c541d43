"""Expanding-window back-test of the loss forecast on the bundled tables: ours against the classical methods.

    python benchmarks/backtest.py [--cutoffs 6] [--tables nethack,Qbert]

For cut-offs spread over the table's compute, every method is fitted on the rows at or below and forecasts the
near-frontier rows (loss within 15% of the running minimum) between the cut-off and 100 times it. Prints, by table and
over all, the CRPS of log loss, the coverage of the 90% and 50% intervals, the mean absolute error of the median in log
loss and the mean width of the 90% interval; means over cut-offs.
"""

import argparse
import warnings

import numpy as np
import pandas as pd

import forecast
from forecast import classical

QUANTILES = np.linspace(0.005, 0.995, 199)
METHODS = ("power_law", "parabola", "huber_lse", "varpro")
SETTINGS = {"chains": 4, "draws": 200, "warmup": 400}


def tables() -> dict[str, forecast.Runs]:
    found = {"nethack": forecast.read_runs("nethack-transformer")}
    atari = forecast.read_runs("atari-cnn")
    found |= {g: atari.subset(atari.table["group"] == g) for g in atari.groups}
    drop = ["return_mean", "return_se", "episodes"]
    return {k: forecast.Runs(table=r.table.drop(columns=drop), source=k) for k, r in found.items()}


def ours(past: forecast.Runs, later: pd.DataFrame) -> np.ndarray:
    """Quantiles of log loss [Q, P]."""
    posterior = forecast.fit(past, **SETTINGS)
    drawn = posterior.predict(later["params"], later["samples"], flops=later["flops"])
    return np.quantile(np.log(drawn.loss), QUANTILES, axis=0)


def theirs(method: str, past: forecast.Runs, later: pd.DataFrame) -> np.ndarray:
    replicates = 100 if method in ("huber_lse", "varpro") else 0
    fitted = classical.fit(past, method, replicates=replicates)
    return np.log(fitted.forecast_loss(later["params"], later["samples"], later["flops"]).quantile(QUANTILES))


def score(quantiles: np.ndarray, observed: np.ndarray) -> dict[str, float]:
    """CRPS as twice the mean quantile (pinball) loss over an even grid of levels."""
    error = observed - quantiles
    pinball = np.maximum(QUANTILES[:, None] * error, (QUANTILES[:, None] - 1) * error)
    low, q25, mid, q75, high = (
        np.interp(q, QUANTILES, np.arange(QUANTILES.size)) for q in (0.05, 0.25, 0.5, 0.75, 0.95)
    )
    at = lambda i: quantiles[round(float(i))]  # noqa: E731
    return {
        "crps": float(2 * pinball.mean()),
        "cover90": float(np.mean((observed >= at(low)) & (observed <= at(high)))),
        "cover50": float(np.mean((observed >= at(q25)) & (observed <= at(q75)))),
        "error": float(np.mean(np.abs(observed - at(mid)))),
        "width90": float(np.mean(at(high) - at(low))),
    }


def backtest(name: str, runs: forecast.Runs, cutoffs: int) -> pd.DataFrame:
    log_c, excess = np.log10(runs.table["flops"].to_numpy()), runs.frontier_excess().to_numpy()
    rows = []
    for cut in np.linspace(log_c.min() + 1.3, log_c.max() - 0.3, cutoffs):
        later = runs.table[(log_c > cut + 1e-3) & (log_c <= cut + 2) & (excess < 0.15)]
        if later.empty:
            continue
        past = runs.subset(log_c <= cut + 1e-3)
        for method in ("ours", *METHODS):
            try:
                q = ours(past, later) if method == "ours" else theirs(method, past, later)
            except ValueError as error:
                print(f"{name} at {10**cut:.1e}: {method} refused ({error})")
                continue
            rows.append({"table": name, "cutoff": cut, "method": method, **score(q, np.log(later["loss"].to_numpy()))})
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cutoffs", type=int, default=6)
    parser.add_argument("--tables", default="", help="comma-separated; all where not given")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    wanted = {k: v for k, v in tables().items() if not given.tables or k in given.tables.split(",")}
    scores = pd.concat([backtest(k, v, given.cutoffs) for k, v in wanted.items()])
    by_table = scores.drop(columns="cutoff").groupby(["table", "method"], sort=False).mean()
    print(by_table.round(3).to_string())
    overall = by_table.groupby("method", sort=False).mean()
    overall["crps"] = np.exp(np.log(by_table["crps"]).groupby("method", sort=False).mean())
    print("\nOver tables (CRPS: geometric mean)")
    print(overall.round(3).to_string())


if __name__ == "__main__":
    main()
