"""What a back-test found, how it is scored, and how it is kept."""

import gzip
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd

from forecast.bayes.prediction import QUANTILE_NAMES
from forecast.classical import SHORT_NAMES
from forecast.errors import SavedFileError
from forecast.files import write_whole
from forecast.numbers import decimals, share
from forecast.published.catalogue import BACKTESTS
from forecast.runs.table import Runs
from forecast.shown import html_frame, names

COLUMNS = (
    *("method", "target", "cutoff", "params", "samples", "flops", "observed"),
    *("q05", "q25", "median", "q75", "q95", "crps"),
)
"""Of a forecast as it is written out: FLOPs, nats or return, and CRPS of the log."""
CHOICES = (
    *("flops", "params", "best_params", "regret"),
    *("vertex", "vertex_sd", *QUANTILE_NAMES, "size_crps"),
)
"""Of a size chosen for a later budget: see `Backtest.choices`."""
HORIZONS = (3, 10, 30, 100)
"""Factors of compute beyond the cut-off, up to which forecasts are scored."""
NAMES = {"ours": "this forecast", **SHORT_NAMES, "huber_lse_below_1": "Huber, loss < 1"}
"""What methods are called in tables; files keep their own names."""
_BESIDE = (
    *(("90%", "cover90"), ("50%", "cover50"), ("error", "error"), ("regret", "regret")),
    ("N* 90%", "size_cover90"),
)
"""Shares that stand beside the CRPS of a method, by their name in the table."""
TABLES = ("forecasts", "choices", "paths", "refusals")


@dataclass(frozen=True, kw_only=True)
class Backtest:
    """What was forecast and what happened, one row each."""

    forecasts: pd.DataFrame
    """group, method, target (loss, return), cutoff and flops (FLOPs), params, samples, observed, q05 to q95, crps (of
    the log), offset (added to returns before their log)."""
    choices: pd.DataFrame
    """group, method, cutoff, flops, params (chosen), best_params, regret (relative loss over the best there).

    vertex: the size of least loss by the parabola through the sizes of that budget, NaN where it has none; vertex_sd:
    its standard error (log); q05 to q95: quantiles of its forecast, that error included; size_crps: CRPS of its log."""
    paths: pd.DataFrame
    """group, method, cutoff, flops, q05 to q95 of the loss of the recommended run, or of its return without losses."""
    refusals: pd.DataFrame
    """group, method, cutoff, reason."""
    sha256: str
    """Hash of the table."""

    def __repr__(self) -> str:
        """How much was forecast, and by what."""
        rows = self.forecasts
        groups = sorted(self.paths["group"].unique())
        methods = [NAMES.get(str(m), str(m)) for m in self.paths["method"].unique()]
        cutoffs = self.paths[["group", "cutoff"]].drop_duplicates()
        return (
            f"Back-test of {names(groups)}: {len(rows):,} forecasts of {' and '.join(rows['target'].unique())} at "
            f"{len(cutoffs)} cut-offs by {names(methods, 10)}"
        )

    def _repr_html_(self) -> str:
        """Scores of the methods over the groups, of loss and of return."""
        scores = pooled(self.scores())
        tables = {target: by_method(scores, target) for target in scores["target"].unique()}
        shown = [html_frame(f"CRPS of the log {t} by how far ahead, and up to 30×", x) for t, x in tables.items()]
        return f"<p>{escape(repr(self))}</p>" + "".join(shown)

    def save(self, folder: str | Path) -> None:
        """Write the tables into a folder, to five digits, and the hash of what they speak of."""
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        for name in TABLES:
            text = getattr(self, name).to_csv(index=False, float_format="%.5g")
            write_whole(place / f"{name}.csv.gz", gzip.compress(text.encode(), mtime=1))  # equal tables, equal bytes
        write_whole(place / "sha256", self.sha256 + "\n")

    def scores(self) -> pd.DataFrame:
        """By group, method, target and horizon: the mean over cut-offs of the means over the rows of each.

        crps: of the natural log. cover90, cover50: share of rows inside the interval. width90, width50: of the interval
        in log. error: mean absolute error of the median, relative. cutoffs. Of the size for a budget, with losses only:
        regret: of the chosen one. size_crps: of the log of the best one. size_cover90, size_cover50: share of best
        sizes inside the interval.
        """
        rows = self.forecasts
        log = {q: _log(rows, q) for q in (*QUANTILE_NAMES, "observed")}
        scored = rows[["group", "method", "target", "cutoff"]].assign(
            crps=rows["crps"],
            cover90=rows["observed"].between(rows["q05"], rows["q95"]).astype(float),
            cover50=rows["observed"].between(rows["q25"], rows["q75"]).astype(float),
            width90=log["q95"] - log["q05"],
            width50=log["q75"] - log["q25"],
            error=np.abs(rows["median"] / rows["observed"] - 1),
        )
        keys = ["group", "method", "target"]
        scores = []
        for horizon in HORIZONS:
            near = rows["flops"] <= horizon * rows["cutoff"] * (1 + 1e-9)
            by_cutoff = scored[near].groupby([*keys, "cutoff"], sort=False).mean()
            part = by_cutoff.groupby(keys, sort=False).mean()
            part["cutoffs"] = by_cutoff.groupby(keys, sort=False).size()
            chosen = self.choices[self.choices["flops"] <= horizon * self.choices["cutoff"] * (1 + 1e-9)]
            sizes = _of_sizes(chosen).groupby(["group", "method", "cutoff"]).mean().groupby(["group", "method"]).mean()
            of_losses = part.index.get_level_values("target") == "loss"
            part = part.reindex(columns=[*part.columns, *sizes.columns])
            if len(sizes):  # none without losses
                there = sizes.reindex(part.index.droplevel("target")).to_numpy()
                part[sizes.columns] = np.where(of_losses[:, None], there, np.nan)
            scores.append(part.reset_index().assign(horizon=horizon))
        return pd.concat(scores, ignore_index=True)


def _of_sizes(chosen: pd.DataFrame) -> pd.DataFrame:
    """Scores of each size chosen, by group, method and cut-off; NaN where the table does not show the best size."""
    known = chosen["q05"].notna() & chosen["vertex"].notna()
    inside = {
        f"size_cover{share}": chosen["vertex"].between(chosen[low], chosen[high]).astype(float).where(known)
        for share, low, high in ((90, "q05", "q95"), (50, "q25", "q75"))
    }
    return chosen[["group", "method", "cutoff", "regret", "size_crps"]].assign(**inside)


def _log(rows: pd.DataFrame, column: str) -> pd.Series:
    return pd.Series(np.log(np.maximum(rows[column] + rows["offset"], 1e-12)), index=rows.index)


def pooled(scores: pd.DataFrame) -> pd.DataFrame:
    """Over the groups, by method, target and horizon: geometric mean of CRPS, means of the rest."""
    keys = ["method", "target", "horizon"]
    table = scores.drop(columns=["group", "cutoffs"])
    means = table.groupby(keys, sort=False).mean()
    logs = table.assign(crps=np.log(table["crps"].to_numpy(float)))
    means["crps"] = np.exp(logs.groupby(keys, sort=False)["crps"].mean().to_numpy())
    return means.reset_index()


def by_method(scores: pd.DataFrame, target: str) -> pd.DataFrame:
    """What `pooled` says of loss or return as text, a row a method: CRPS by horizon, and the rest up to 30 times."""
    scores = scores[scores["target"] == target]
    crps = scores.pivot(index="method", columns="horizon", values="crps")
    rest = scores[scores["horizon"] == 30].set_index("method")
    table = pd.DataFrame(
        {f"{h}×": [decimals(float(x), 3) for x in crps[h]] for h in crps.columns}, index=crps.index
    ).reindex(rest.index)
    for name, column in _BESIDE:
        if rest[column].notna().any():
            table[name] = rest[column].map(lambda x: "" if pd.isna(x) else share(x))
    return table.rename(index=NAMES).reset_index()


def load_backtest(folder: str | Path) -> Backtest:
    """A back-test written by `Backtest.save`. Raises SavedFileError if the folder does not hold one."""
    place = Path(folder)
    try:
        text = {"group": str, "method": str, "target": str, "reason": str}
        how = {"dtype": text, "keep_default_na": False, "na_values": [""]}  # a game may be called NA
        tables = {n: pd.read_csv(place / f"{n}.csv.gz", **how) for n in TABLES}
        # Those of before lack what is known of the best size.
        choices = tables["choices"]
        tables["choices"] = choices.reindex(columns=choices.columns.union(CHOICES, sort=False))
        return Backtest(**tables, sha256=(place / "sha256").read_text(encoding="utf-8").strip())
    except (OSError, ValueError) as error:
        raise SavedFileError(f"{folder} does not hold a back-test ({error}); run `forecast backtest` anew.") from None


def bundled_backtest(runs: Runs) -> Backtest | None:
    """The back-test that ships with a bundled table, if the runs are exactly that table."""
    place = BACKTESTS / runs.source
    kept = load_backtest(place) if place.is_dir() else None
    return kept if kept is not None and kept.sha256 == runs.sha256 else None
