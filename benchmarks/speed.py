"""Time of the full posterior of the NetHack table against a bootstrap of the Huber fit, and of a cold report.

    python benchmarks/speed.py

Prints seconds and ratios measured in one run. The posterior is 4 chains of 1000 draws of losses and returns together,
with its diagnostics. `cold` compiles everything (an empty cache), `again` is a second fit in the same process. The
bootstrap resamples trajectories 200 times: `refit` searches the grid of starts for every replicate, as published
bootstraps do; `warm` starts each replicate from the full fit and a few starts, as `forecast.classical.bootstrap` does.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPLICATES = 200


def seconds(action) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def refit_bootstrap(runs, replicates: int) -> None:
    import numpy as np

    from forecast import classical
    from forecast.classical.columns import columns

    table = columns(runs)
    names = np.unique(table.run)
    rng = np.random.default_rng(0)
    for _ in range(replicates):
        rows = np.concatenate([np.flatnonzero(table.run == n) for n in rng.choice(names, names.size)])
        classical.huber_lse(table.params[rows], table.samples[rows], table.flops[rows], table.loss[rows])


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FORECAST_CACHE"] = f"{folder}/cache"
        report = [
            str(Path(sys.executable).parent / "forecast"),
            "report",
            "nethack-transformer",
            "--out",
            f"{folder}/r",
        ]
        report_cold = seconds(lambda: subprocess.run(report, check=True, capture_output=True))
        os.environ["FORECAST_CACHE"] = f"{folder}/another"

        import forecast
        from forecast import classical
        from forecast.classical.bootstrap import bootstrap

        runs = forecast.read_runs("nethack-transformer")
        cold = seconds(lambda: forecast.fit(runs, max_draws=1000))
        again = seconds(lambda: forecast.fit(runs, seed=1, max_draws=1000))
        refit = seconds(lambda: refit_bootstrap(runs, REPLICATES))
        warm = seconds(lambda: bootstrap(classical.huber_lse, runs, replicates=REPLICATES))
    print(f"report, cold start: {report_cold:.0f} s")
    print(f"posterior: cold {cold:.1f} s, again {again:.1f} s; bootstrap: refit {refit:.1f} s, warm {warm:.1f} s")
    for name, fit in (("cold", cold), ("again", again)):
        print(f"posterior {name} / bootstrap: {fit / refit:.2f} of refit, {fit / warm:.2f} of warm")


if __name__ == "__main__":
    main()
