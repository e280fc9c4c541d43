"""How good are forecasts where samples are seen again?

    python benchmarks/finite.py [NAMES] [--seeds 0] [--docs]

Planted tables of four budgets and five sizes, with a noise of 0.3%, whose law of repeated samples is known. Each is
fitted twice: with its column `unique_samples`, and without it, as if every sample were fresh. Both recommend a size for
ten and a hundred times the largest budget with the same distinct samples. Printed, over both budgets and all seeds:

- CRPS of the log loss of the recommended run, against the truth; 90%: how many intervals hold it, and their width.
- regret: of the recommended size, on that budget and those samples.
- worth: 90% interval of the passes that all passes after the first are worth at most, in the last seed.

Tables:

- published: the law of Muennighoff et al. (2023), whose samples and parameters both saturate, at 5e8 distinct samples.
- six: all passes after the first are worth six passes; the additive law else.
- mixed: as `published`, with rows of 1e8, 5e8 and 2.5e9 distinct samples.
- fresh: as `published`, with no sample seen again, so that the prior answers; asked for 5e9 distinct samples.
"""

import argparse
import time

import numpy as np
import pandas as pd

import forecast
from documents import replace_block
from forecast.verify.crps import LEVELS, crps_at_levels

NOISE = 0.003
BUDGETS = 1e18 * 4.0 ** np.arange(4)
DISTINCT = {"published": (5e8,), "six": (5e8,), "mixed": (1e8, 5e8, 2.5e9), "fresh": (np.inf,)}
ASKED = {"fresh": 5e9}


def published(n: np.ndarray, d: np.ndarray, unique: np.ndarray | float) -> np.ndarray:
    """The law and the constants of Muennighoff et al. (2023), appendix A: samples and parameters both saturate."""
    floor, a, b, exponent, of_samples, of_params = 1.87, 521.0, 1488.0, 0.3526596, 15.387756, 5.309743
    useful = np.minimum(n, unique * (a / b) ** (1 / exponent))  # parameters that so many distinct samples call for
    larger = np.maximum(n / useful - 1, 0)
    params = useful * (1 - of_params * np.expm1(-larger / of_params))
    return floor + a / params**exponent + b / worth(d, unique, of_samples) ** exponent


def six(n: np.ndarray, d: np.ndarray, unique: np.ndarray | float) -> np.ndarray:
    """The additive law of Besiroglu et al. (2024) where all passes after the first are worth six."""
    return 1.82 + 482 / n**0.348 + 2085 / worth(d, unique, 6.0) ** 0.366


def worth(d: np.ndarray, unique: np.ndarray | float, repeats: float) -> np.ndarray:
    """Fresh samples that d samples are worth of which so many are distinct."""
    seen = np.minimum(d, unique)
    return seen * (1 - repeats * np.expm1(-(d / seen - 1) / repeats))


def law_of(name: str):
    """The law of a table."""
    return six if name == "six" else published


def planted(name: str, seed: int) -> pd.DataFrame:
    """A table by its name."""
    rng, rows = np.random.default_rng(seed), []
    for unique in DISTINCT[name]:
        for budget in BUDGETS:
            n = np.sqrt(budget / 120) * 2.0 ** np.arange(-2, 3)
            d = budget / 6 / n
            loss = law_of(name)(n, d, unique) * np.exp(NOISE * rng.standard_normal(n.size))
            columns = {"params": n, "samples": d, "flops": budget, "loss": loss}
            rows.append(pd.DataFrame({**columns, "unique_samples": np.minimum(d, unique)}))
    return pd.concat(rows, ignore_index=True)


def against_truth(name: str, posterior: forecast.Posterior, known: bool) -> pd.DataFrame:
    """The recommendation at two budgets against the law; known: whether the forecast is told the distinct samples."""
    unique = ASKED.get(name, max(DISTINCT[name]))
    rows = []
    for budget in BUDGETS[-1] * np.array([10.0, 100.0]):
        found = forecast.recommend(posterior, flops=budget, unique_samples=unique if known else None)
        sizes = np.geomspace(1e7, 1e13, 6001)
        best = law_of(name)(sizes, budget / 6 / sizes, unique).min()
        truth = float(law_of(name)(np.array([found.params]), np.array([found.samples]), unique)[0])
        drawn = posterior.predict(found.params, found.samples, unique_samples=unique if known else None).loss
        assert drawn is not None
        quantiles = np.quantile(np.log(drawn), LEVELS, axis=0)
        low, high = np.quantile(np.log(drawn), (0.05, 0.95))
        rows.append(
            {
                "crps": float(crps_at_levels(quantiles, np.log([truth]))[0]),
                "cover": float(low <= np.log(truth) <= high),
                "width": float(high - low),
                "regret": truth / best - 1,
            }
        )
    return pd.DataFrame(rows)


def measured(name: str, seeds: list[int]) -> list[dict[str, str]]:
    """Two rows of the table printed: with the column and without it."""
    rows = []
    for known in (True, False):
        begun, scores, passed = time.perf_counter(), [], 0
        for seed in seeds:
            table = planted(name, seed)
            posterior = forecast.fit(table if known else table.drop(columns="unique_samples"), seed=seed)
            passed += posterior.diagnostics.passed
            scores.append(against_truth(name, posterior, known))
        score = pd.concat(scores)
        low, high = np.quantile(posterior.repeats(), (0.05, 0.95))
        rows.append(
            {
                "table": name,
                "fitted": "with unique_samples" if known else "as if fresh",
                "passed": f"{passed} of {len(seeds)}",
                "seconds": f"{(time.perf_counter() - begun) / len(seeds):.0f}",
                "CRPS of log loss": f"{score['crps'].mean():.4f}",
                "90% covers": f"{score['cover'].sum():.0f} of {len(score)}",
                "width": f"{score['width'].mean():.3f}",
                "regret": f"{score['regret'].mean():.2%}",
                "worth": f"{low:.0f} to {high:.0f}" if known else "",
            }
        )
        print(" | ".join(rows[-1].values()), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(DISTINCT), help=f"of {', '.join(DISTINCT)}; all unless named")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the sampler and of the tables")
    parser.add_argument("--docs", action="store_true", help="write the table of docs/how-it-was-tested.md")
    options = parser.parse_args()
    rows = [row for name in options.names for row in measured(name, options.seeds)]
    lines = ["| " + " | ".join(rows[0]) + " |", "|---" * len(rows[0]) + "|"]
    lines += ["| " + " | ".join(row.values()) + " |" for row in rows]
    print("\n" + "\n".join(lines))
    if options.docs:
        replace_block("finite", "\n".join(lines))


if __name__ == "__main__":
    main()
