"""Rows of failed runs, of several versions of the code, and of several sets of demonstrations."""

from pathlib import Path

import helpers
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast.errors import TableError
from forecast.runs.read import read_runs


def frame() -> pd.DataFrame:
    return helpers.frame(state="finished")


def with_failures(states: dict[int, str], column: str = "state", **cells: object) -> pd.DataFrame:
    """`frame()` with a row of a failed run inserted before each given position, nothing measured in it."""
    rows = frame().rename(columns={"state": column}).to_dict(orient="records")
    for at, state in sorted(states.items()):
        rows.insert(at, {"params": 0.0, "samples": 0.0, "flops": 0.0, "loss": np.nan, column: state, **cells})
    return pd.DataFrame(rows)


@settings(max_examples=40, deadline=None)
@given(
    states=st.dictionaries(
        st.integers(0, 8), st.sampled_from(["failed", "crashed", "killed", "Failed", " KILLED "]), min_size=1
    ),
    column=st.sampled_from(["state", "State"]),
)
def test_failed_runs_leave_the_table_and_others_keep_their_lines(states: dict[int, str], column: str):
    table = with_failures(states, column)
    runs = read_runs(table)
    finished = [i + 2 for i, s in enumerate(table[column]) if s == "finished"]
    assert runs.table.index.tolist() == finished
    assert runs.table["loss"].tolist() == frame()["loss"].tolist()
    assert runs.sha256 == read_runs(frame()).sha256
    left_out = [note for note in runs.notes if "left out" in note]
    assert len(left_out) == 1
    failed = [i + 2 for i, s in enumerate(table[column]) if s != "finished"]
    assert all(f"line {line} (" in left_out[0] for line in failed[:8])


def test_the_note_gives_the_reason():
    runs = read_runs(with_failures({3: "failed"}, reason="out of memory."))
    assert "1 row of a failed run is left out: line 5 (failed, out of memory)." in runs.notes
    runs = read_runs(with_failures({0: "killed", 3: "failed"}))
    assert "2 rows of failed runs are left out: line 2 (killed), line 5 (failed)." in runs.notes


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_failed_rows_of_files_are_left_out(tmp_path: Path, suffix: str):
    table, path = with_failures({4: "failed"}, return_mean=np.nan, episodes=np.nan), tmp_path / f"t.{suffix}"
    table.to_csv(path, index=False) if suffix == "csv" else table.to_parquet(path)
    assert read_runs(path).table.index.tolist() == [2, 3, 4, 5, 7, 8, 9, 10, 11]


@pytest.mark.parametrize("column", ["state", "Status", "run.state"])
def test_the_last_loss_of_a_crashed_run_is_left_out(column: str):
    table = frame().rename(columns={"state": column})
    table.loc[4, column] = "crashed"
    runs = read_runs(table)
    assert runs.table.index.tolist() == [2, 3, 4, 5, 7, 8, 9, 10]
    assert "1 row of a failed run is left out: line 6 (crashed)." in runs.notes


def test_an_unfinished_row_that_did_not_fail_is_still_refused():
    with pytest.raises(TableError, match="line 4"):
        read_runs(with_failures({2: "running"}))


def test_a_table_of_failures_alone_is_refused():
    table = with_failures({0: "failed"}).iloc[:1]
    with pytest.raises(TableError, match="every row belongs to a failed run"):
        read_runs(table)


def test_tables_without_losses_lose_their_failed_rows_too():
    table = with_failures({2: "failed"}, return_mean=np.nan)
    table["return_mean"] = np.where(table["loss"].notna(), 10 / table["loss"], np.nan)
    runs = read_runs(table.drop(columns="loss").assign(episodes=100.0))
    assert len(runs.table) == 9
    assert not runs.has_losses


def test_several_versions_of_the_code_are_noted():
    two = read_runs(frame().assign(code=["0a1b2c3"] * 5 + ["4d5e6f7"] * 3 + [None]))
    assert "Rows were made by 2 versions of the code: 0a1b2c3 (5), 4d5e6f7 (3); 1 row names no version." in two.notes
    one = read_runs(frame().assign(code="0a1b2c3"))
    assert not any("versions" in note for note in one.notes)


def test_several_sets_of_demonstrations_are_noted():
    sets = ["0a1b"] * 5 + ["4d5e"] * 3 + [None]
    mixed, apart = (
        read_runs(frame().assign(data=sets, group=g), to_fit=False) for g in ("a", ["a"] * 5 + ["b"] * 3 + ["a"])
    )
    assert "Rows of one group were trained on different data, and one law is fitted to them all: a (2)." in mixed.notes
    assert not any("different data" in note for note in apart.notes)


def test_a_table_of_one_outcome_is_read_when_not_to_be_fitted():
    one = frame().iloc[[4]]
    with pytest.raises(TableError, match="at least 3"):
        read_runs(one)
    assert len(read_runs(one, to_fit=False).table) == 1
