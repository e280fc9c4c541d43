"""Cells, rows and whole tables that read_runs refuses, named by row and column."""

import numpy as np
import pandas as pd
import pytest
from helpers import frame
from refusals import message, put, refused

from forecast.errors import TableError
from forecast.runs.read import read_runs


@pytest.mark.parametrize("column", ["params", "samples", "flops", "loss"])
@pytest.mark.parametrize("value", [0, -1.0, np.nan, np.inf, "", "NaN", "-Infinity", "1e5x", "1,000", "1_0", True, None])
def test_bad_required_cell_is_named_by_row_and_column(column: str, value: object):
    problems = refused(put(column, {4: value, 9: value}))
    assert ((4, 9), column) in problems
    assert {c for _, c in problems} == {column}


@pytest.mark.parametrize(
    ("column", "values", "expected"),
    [
        ("loss_se", [-0.1] + [0.1] * 8, (2,)),
        ("loss_se", [0.1] * 8 + [np.inf], (10,)),
        ("return_se", [1.0] * 4 + [-1.0] * 2 + [1.0] * 3, (6, 7)),
        ("episodes", [3.0] * 8 + [-1], (10,)),
        ("episodes", [3.0, 0.0, 0.5] + [3.0] * 6, (3, 4)),
        ("episodes", [3.0, None] + [3.0] * 7, (3,)),
        ("return_mean", [1.0] * 7 + [np.inf, 1.0], (9,)),
        ("unique_samples", [1.0] * 8 + [1e30], (10,)),
        ("unique_samples", [1.0] * 8 + [0.0], (10,)),
        ("unique_samples", ["many"] + [1.0] * 8, (2,)),
        ("group", ["a", " ", "a", None] + ["a"] * 5, (3, 5)),
        ("run", ["a", "", "b", "nan"] + ["a"] * 5, (3, 5)),
        ("group", ["a"] * 7 + ["\u200b", "\x1b"], (9, 10)),
        ("group", ["a"] * 6 + ["b c", "b\x1bc", "b\x1bc"], (8, 9, 10)),
        ("run", ["a"] * 7 + ["b", "\u202eb"], (9, 10)),
    ],
)
def test_bad_optional_cell(column: str, values: list[object], expected: tuple[int, ...]):
    table = frame(return_mean=1.0, return_se=0.1, episodes=5.0)
    problems = refused(table.assign(**{column: values}))
    assert problems[0] == (expected, column)


def test_return_needs_episodes_and_a_mean():
    assert refused(frame(return_mean=[1.0, None, 2.0] * 3)) == [((2, 4, 5, 7, 8, 10), "episodes")]
    table = frame(return_mean=[1.0, None, 2.0] * 3, return_se=0.1, episodes=4)
    assert refused(table) == [((3, 6, 9), "return_se")]
    assert refused(frame(return_se=0.1)) == [(tuple(range(2, 11)), "return_se")]


def test_all_problems_are_reported_together():
    table = put("samples", {5: "?"}, put("loss", {3: -1.0}))
    table = table.drop(columns="flops")
    assert sorted(refused(table)) == sorted([((), "flops"), ((3,), "loss"), ((5,), "samples")])


def test_long_lists_of_rows_are_short_in_text_whole_in_data():
    table = pd.concat([frame(loss=-1.0)] * 4)
    with pytest.raises(TableError) as caught:
        read_runs(table)
    assert caught.value.problems[0].rows == tuple(range(2, 38))
    assert "lines 2, 3, 4, 5, 6, 7, 8, 9 and 28 more, column `loss`" in str(caught.value)
    assert caught.value.problems[0].rows == tuple(range(2, 38))


def test_duplicate_rows_with_and_without_run_names():
    twice = pd.concat([frame(), frame().iloc[[4]]])
    assert refused(twice) == [((6, 11), "")]
    replicate = twice.assign(loss=[*frame()["loss"], 2.5])
    assert len(read_runs(replicate).table) == 10
    named = replicate.assign(run="a")
    assert refused(named) == [((6, 11), "")]
    assert len(read_runs(named.assign(run=["a"] * 9 + ["b"])).table) == 10
    assert len(read_runs(twice.assign(seed=[0] * 9 + [1])).table) == 10


def test_too_few_sizes_or_budgets_names_the_group():
    few = frame(group="thin").iloc[:6]
    assert refused(pd.concat([frame(group="wide"), few])) == [((), "params")]
    assert "group `thin` has 2 distinct sizes" in message(pd.concat([frame(group="wide"), few]))
    short = frame()[frame()["flops"] < 5e16]
    assert refused(short) == [((), "flops")]
    nearly = frame(flops=np.tile([1e15, 1.01e15, 1.02e15], 3))
    assert ((), "flops") in refused(nearly.assign(samples=nearly["flops"] / 6 / nearly["params"]))


def test_compute_that_contradicts_params_and_samples():
    assert refused(put("flops", {6: 1e19})) == [((6,), "flops")]
    assert refused(put("samples", {7: 1e3 * frame()["samples"][5]})) == [((7,), "flops")]
    text = message(frame(params=frame()["params"] / 1e8))
    assert "check the units" in text
    assert refused(frame(params=frame()["params"] / 1e8)) == [((), "flops")]
    assert refused(frame(flops=frame()["flops"] / 1e3)) == [((), "flops")]


def test_compute_trend_may_drift_with_size():
    params = np.repeat(np.logspace(3, 8, 6), 3)
    flops = np.tile([1e15, 1e16, 1e17], 6)
    per_sample = 15000 * params * (params / 1e3) ** -0.5  # ratio 15,000 falls to 47
    table = pd.DataFrame({"params": params, "samples": flops / per_sample, "flops": flops, "loss": np.arange(1, 19)})
    assert len(read_runs(table).table) == 18
    assert refused(put_flops(table, 9, 300.0)) == [((9,), "flops")]


def put_flops(table: pd.DataFrame, line: int, factor: float) -> pd.DataFrame:
    table = table.copy()
    table.loc[line - 2, "flops"] *= factor
    return table
