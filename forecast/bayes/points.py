"""Predictions at points that a file lists."""

import io
import zlib
from pathlib import Path

import numpy as np
import pandas as pd

from forecast.bayes.posterior import Posterior
from forecast.bayes.provenance import Provenance
from forecast.errors import Problem, TableError
from forecast.runs.files import read_within
from forecast.runs.reach import outside
from forecast.runs.table import Runs


def read_points(path: str | Path) -> pd.DataFrame:
    """Points to predict at: a CSV with columns params, samples and optionally flops, unique_samples and
    group; others are ignored.

    Raises TableError with every wrong row and column.
    """
    example = "write a CSV with the columns params and samples, one point a row"
    try:
        content = read_within(Path(path), str(path))
        table = pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False)
    except TableError:
        raise
    except (OSError, EOFError, ValueError, zlib.error) as error:  # ValueError: not text, not a table
        raise TableError(str(path), [Problem((), "", f"cannot be read ({error})", example)]) from None
    table.columns = [str(c).strip() for c in table.columns]
    missing = [c for c in ("params", "samples") if c not in table]
    if missing or table.empty:
        what = "is missing" if missing else "the file has no points"
        raise TableError(str(path), [Problem((), c, what, example) for c in missing or [""]])
    problems = []
    for name in [c for c in ("params", "samples", "flops", "unique_samples") if c in table]:
        values = pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=float)
        bad = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
        if bad.size:
            rows = tuple(int(i) + 2 for i in bad)
            problems.append(Problem(rows, name, "is not a positive number", "write numbers such as 3e7"))
        table[name] = values
    if problems:
        raise TableError(str(path), problems)
    return table


def check_points(runs: Runs, points: pd.DataFrame, group: str | None = None) -> None:
    """Raise ForecastError where points are of a group that the table does not have, or of none where it has several."""
    for name in _by_group(points, group):
        runs.group_name(name or None)


def _by_group(points: pd.DataFrame, group: str | None) -> dict[str | None, pd.DataFrame]:
    """The points of each group in the order of the table; of `group` all of them, if that is named."""
    if "group" not in points or group is not None:
        return {group: points}
    named = points["group"].str.strip()
    return {name: points[named == name] for name in dict.fromkeys(named)}


def predict_points(posterior: Posterior, points: pd.DataFrame, *, group: str | None = None) -> pd.DataFrame:
    """Predictions of new runs: target, params, samples, q05, q25, median, q75, q95, beyond_table (compute over the
    largest of the group's rows), and group where there are several.

    A `group` column of the points names the group of each; `group` names one for all points and replaces the column.

    Raises ForecastError for unknown groups.
    """
    check_points(posterior.runs, points, group)
    frames = []
    for name, chosen in _by_group(points, group).items():
        given = {c: chosen[c].to_numpy() for c in ("flops", "unique_samples") if c in chosen}
        params, samples = chosen["params"].to_numpy(), chosen["samples"].to_numpy()
        predicted = posterior.predict(params, samples, group=name or None, **given)
        table = predicted.table()
        ahead = predicted.flops / posterior.largest_flops(name or None)
        table["beyond_table"] = np.tile(ahead, len(table) // len(ahead))
        if len(posterior.groups) > 1:
            table["group"] = posterior.group_name(name or None)
        frames.append(table)
    return pd.concat(frames, ignore_index=True)


def at_the_furthest(posterior: Posterior, predicted: pd.DataFrame) -> Provenance:
    """What predictions are based on, as of those furthest beyond the table. predicted: of `predict_points`."""
    sole = posterior.groups[0]
    names = predicted["group"] if "group" in predicted else pd.Series(sole, index=predicted.index)
    larger = [outside(rows, posterior.runs.group_table(str(name))) for name, rows in predicted["params"].groupby(names)]
    return posterior.provenance.at(float(np.log10(predicted["beyond_table"].max())), max(larger))
