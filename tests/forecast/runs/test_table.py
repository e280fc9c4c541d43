"""What a table of runs says of itself: groups, its hash, its best losses, its parts."""

import json

import numpy as np
import pandas as pd
import pytest
from helpers import frame
from refusals import put

from forecast.errors import ForecastError
from forecast.runs.read import read_runs
from forecast.runs.table import Runs


@pytest.mark.parametrize("change", ["loss", "group", "run", "seed", "return_mean"])
def test_sha256_changes_with_every_canonical_column(change: str):
    table = frame(group="g", run="r", seed="0", return_mean=1.0, episodes=2)
    before = read_runs(table).sha256
    value = {"loss": 1.25, "return_mean": 3.0}.get(change, "other")
    changed = put(change, {4: value}, table) if change in ("loss",) else table.assign(**{change: value})
    assert read_runs(changed).sha256 != before


def test_sha256_ignores_rows_order_extras_and_made_up_run_names():
    table = frame()
    before = read_runs(table).sha256
    assert read_runs(table.iloc[::-1].assign(note="n")).sha256 == before
    saved = read_runs(table).table  # carries the made-up names
    again = read_runs(saved.iloc[::-1])
    assert again.sha256 == before
    assert not again.has_trajectories


def test_frontier_excess_is_a_lower_envelope_in_compute():
    table = frame(loss=[4.0, 2.0, 1.0, 4.4, 1.8, 1.5, 8.0, 2.0, 0.9])
    table["flops"] = [1.0e15, 1.0e16, 1.0e17, 1.1e15, 1.1e16, 1.1e17, 0.9e15, 0.9e16, 1.1e17]
    got = read_runs(table).frontier_excess()
    best = [4.0, 2.0, 1.0, 4.0, 1.8, 0.9, 8.0, 2.0, 0.9]  # the row of equal compute is seen too
    np.testing.assert_allclose(got, np.log(table["loss"].to_numpy() / best), atol=1e-15)
    assert got.index.tolist() == list(range(2, 11))


def test_frontier_excess_stays_within_groups():
    table = pd.concat([frame(group="easy"), frame(group="hard").assign(loss=lambda t: 10 * t["loss"])])
    runs = read_runs(table)
    excess = runs.frontier_excess().to_numpy()
    np.testing.assert_allclose(excess[:9], excess[9:], atol=1e-12)


def test_a_plateau_is_the_part_before_the_best_loss_falls():
    table = frame()
    assert read_runs(table).plateau(None) == 0
    more = pd.concat([table.assign(flops=table["flops"] / f, samples=table["samples"] / f) for f in (1, 1e3)])
    start = float(table["loss"].max()) * 1.01
    begun = more.assign(loss=np.where(more["flops"] <= 1e14, start, more["loss"]))
    assert read_runs(begun).plateau(None) == pytest.approx(2 / 5)
    rising = table.assign(loss=1 / table["loss"])
    assert read_runs(rising).plateau(None) == 1


def test_subset_keeps_lines_and_refuses_bad_masks():
    runs = read_runs(frame())
    part = runs.subset(runs.table["flops"] < 5e16)
    assert part.table.index.tolist() == [2, 3, 5, 6, 8, 9]
    assert (part.source, part.notes) == (runs.source, runs.notes)
    assert part.sha256 != runs.sha256
    with pytest.raises(ValueError, match="keeps none"):
        runs.subset(np.zeros(9, dtype=bool))
    with pytest.raises(ValueError, match="shape"):
        runs.subset([True])
    with pytest.raises(ValueError, match="index"):
        runs.subset(pd.Series([True] * 9))


def test_group_table_and_summary():
    runs = read_runs(pd.concat([frame(group="b"), frame(group="a", return_mean=1.0, episodes=3)]))
    assert runs.groups == ("a", "b")
    assert runs.group_table("a").index.tolist() == list(range(11, 20))
    with pytest.raises(ForecastError, match="a, b"):
        runs.group_table("c")
    summary = runs.summary()
    assert json.loads(json.dumps(summary)) == summary
    assert {k: summary[k] for k in ("rows", "groups", "runs", "sizes", "budgets", "flops", "rows_with_return")} == {
        "rows": 18,
        "groups": ["a", "b"],
        "runs": None,
        "sizes": 3,
        "budgets": 3,
        "flops": [1e15, 1e17],
        "rows_with_return": 9,
    }


@pytest.mark.parametrize("name", ["\x1b[31mx", "\u200bx ", "two\nlines", " a\tb", "\u202eevil\x07", "..", "-lead"])
def test_a_group_is_found_by_its_name_here_and_in_the_file(name: str):
    runs = read_runs(pd.concat([frame(group=name), frame(group="other")]))
    (shown,) = set(runs.groups) - {"other"}
    assert shown.isprintable()
    assert shown == shown.strip() != ""
    assert runs.group_name(name) == runs.group_name(shown) == shown
    with pytest.raises(ForecastError, match="has no group"):
        runs.group_name("\u200b")


def test_runs_is_frozen():
    runs = read_runs(frame())
    assert isinstance(runs, Runs)
    with pytest.raises(AttributeError):
        runs.source = "other"  # type: ignore[misc]
