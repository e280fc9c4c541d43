"""What read_runs accepts, and with which rows and columns it refuses."""

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import frame

from forecast.errors import ForecastError, TableError
from forecast.runs.read import read_columns, read_runs
from forecast.runs.table import Runs


def put(column: str, values: dict[int, object], table: pd.DataFrame | None = None) -> pd.DataFrame:
    """A table with the given cells, by line number, replaced."""
    table = (frame() if table is None else table).astype({column: object}) if column in frame() else table
    assert table is not None
    for line, value in values.items():
        table.loc[line - 2, column] = value
    return table


def refused(source: object, **kwargs: object) -> list[tuple[tuple[int, ...], str]]:
    """Rows and column of every problem; the test fails if the table is accepted."""
    with pytest.raises(TableError) as caught:
        read_runs(source, **kwargs)  # type: ignore[arg-type]
    assert str(caught.value)
    return [(p.rows, p.column) for p in caught.value.problems]


def message(source: object, **kwargs: object) -> str:
    with pytest.raises(TableError) as caught:
        read_runs(source, **kwargs)  # type: ignore[arg-type]
    return str(caught.value)


# --- what is accepted


def test_defaults_fill_group_and_run_and_say_so():
    runs = read_runs(frame())
    assert list(runs.table.columns) == ["group", "run", "params", "samples", "flops", "loss"]
    assert runs.table.index.tolist() == list(range(2, 11))
    assert runs.table.index.name == "row"
    assert runs.groups == ("all",)
    assert runs.table["run"].is_unique
    assert not runs.has_trajectories
    assert not runs.has_returns
    assert [note[:28] for note in runs.notes] == ["There is no `group` column, ", "There is no `run` column, so"]
    assert [str(t) for t in runs.table.dtypes] == ["string", "string"] + ["float64"] * 4


def test_csv_gz_parquet_and_frame_are_the_same_table(tmp_path: Path):
    table = frame(run=["a"] * 3 + ["b"] * 3 + ["c"] * 3, seed=[1, 2, None] * 3, comment="x")
    table.to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress((tmp_path / "t.csv").read_bytes()))
    table.to_parquet(tmp_path / "t.parquet")
    table.to_parquet(tmp_path / "t.pq")
    read = [read_runs(s) for s in (table, *(tmp_path / f"t.{e}" for e in ("csv", "csv.gz", "parquet", "pq")))]
    assert len({r.sha256 for r in read}) == 1
    for other in read[1:]:
        pd.testing.assert_frame_equal(
            other.table.drop(columns="comment"), read[0].table.drop(columns="comment"), check_exact=True
        )
        assert other.table["comment"].tolist() == ["x"] * 9
    assert read[0].table["seed"].fillna("-").tolist() == ["1", "2", "-"] * 3


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


def test_text_of_a_csv_is_not_reinterpreted(tmp_path: Path):
    table = frame(run=[f"0{i}" for i in range(9)], group="1e3", tag="007", epoch=range(9))
    table.to_csv(tmp_path / "t.csv", index=False)
    got = read_runs(tmp_path / "t.csv").table
    assert got["run"].tolist() == [f"0{i}" for i in range(9)]
    assert set(got["group"]) == {"1e3"}
    assert set(got["tag"]) == {"007"}
    assert got["epoch"].tolist() == list(range(9))
    assert got["epoch"].dtype == "float64"


def test_bom_blank_lines_and_spaced_names_keep_true_line_numbers(tmp_path: Path):
    lines = frame().rename(columns={"loss": "  loss "}).to_csv(index=False).splitlines()
    lines.insert(3, "")
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    assert read_runs(tmp_path / "t.csv").table.index.tolist() == [2, 3, 5, 6, 7, 8, 9, 10, 11]


def test_line_numbers_count_lines_inside_quotes(tmp_path: Path):
    table = put("loss", {4: -1.0}, frame(comment=["two\nlines"] + ["one"] * 8))
    table.to_csv(tmp_path / "t.csv", index=False)
    assert refused(tmp_path / "t.csv") == [((5,), "loss")]


def test_wandb_export_is_read_through_a_mapping(tmp_path: Path):
    table = frame()
    lines = ['"Name","State","config.params_m","frames","compute","val/loss","eval/return","eval/n","Seed"']
    for i, row in enumerate(table.itertuples()):
        played = '"12.5","10"' if i != 1 else '"NaN",""'
        head = f'"run-{i}","finished","{row.params / 1e6}","{row.samples!r}"'
        lines.append(f'{head},"{row.flops / 1e15!r}","{row.loss!r}",{played},"{i}"')
    (tmp_path / "wandb.csv").write_text("\n".join(lines))
    mapping = {
        "run": "Name",
        "params": "config.params_m*1e6",
        "samples": "frames",
        "flops": "compute * 1e15",
        "loss": "val/loss",
        "return_mean": "eval/return",
        "episodes": "eval/n",
        "seed": "Seed",
    }
    runs = read_runs(tmp_path / "wandb.csv", columns=mapping)
    numbers = ["params", "samples", "flops", "loss"]
    np.testing.assert_array_equal(runs.table[numbers].to_numpy(), table[numbers].to_numpy())
    assert runs.table["return_mean"].isna().tolist() == [False, True] + [False] * 7
    assert runs.table["State"].tolist() == ["finished"] * 9
    assert "config.params_m" not in runs.table
    assert any("config.params_m" in n and "1e6" in n for n in runs.notes)


def test_factor_scales_in_decimal_so_that_sizes_stay_equal():
    table = frame(params=[188793.0] * 3 + [516729.0] * 3 + [10301305.0] * 3)
    table["samples"] = table["flops"] / 6 / table["params"]
    millions = table.assign(m=["0.188793"] * 3 + ["0.516729"] * 3 + ["10.301305"] * 3).drop(columns="params")
    assert read_runs(millions, columns={"params": "m*1e6"}).sha256 == read_runs(table).sha256
    as_floats = millions.astype({"m": float})
    assert read_runs(as_floats, columns={"params": "m*1e6"}).sha256 == read_runs(table).sha256


def test_column_whose_name_has_a_star_is_taken_whole():
    table = frame().rename(columns={"loss": "nll*2"})
    got = read_runs(table, columns={"loss": "nll*2"}).table["loss"]
    np.testing.assert_array_equal(got, frame()["loss"])


def test_named_index_levels_are_columns():
    table = frame(group="qbert", run=list("aaabbbccc")).set_index(["group", "run"])
    runs = read_runs(table)
    assert runs.groups == ("qbert",)
    assert runs.has_trajectories


# --- Runs


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


# --- what is refused: cells


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


def test_partly_missing_optionals_are_fine():
    table = frame(return_mean=[1.0, None, 2.0] * 3, episodes=[5, None, 5] * 3, loss_se=[None, 0.1, 0.1] * 3)
    runs = read_runs(table)
    assert runs.table["return_mean"].isna().sum() == 3
    assert runs.table["loss_se"].isna().sum() == 3


# --- what is refused: rows and tables


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


def test_missing_column_suggests_near_names_and_the_mapping():
    text = message(frame().rename(columns={"params": "n_params", "loss": "Loss"}))
    assert "did you mean `n_params`?" in text
    assert "{'loss': 'Loss'}" in text


def test_optional_column_in_another_case_is_not_ignored():
    assert refused(frame(Group="qbert")) == [((), "group")]
    assert read_runs(frame(Group="qbert"), columns={"group": "Group"}).groups == ("qbert",)


def test_bad_mappings_list_what_there_is():
    assert "map it to one of `params`, `samples`, `flops`, `loss`" in message(frame(), columns={"params": "size*2"})
    assert refused(frame(), columns={"size": "params"}) == [((), "size")]
    assert refused(frame(name="a"), columns={"group": "name*2"}) == [((), "group")]
    assert refused(frame(), columns={"params": "params*0"}) == [((), "params")]


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


# --- what is refused: files


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("t.csv", b"", "empty"),
        ("t.csv", b"\n\n", "empty"),
        ("t.csv", b"params,samples,flops,loss\n", "no data rows"),
        ("t.csv", b"params,samples,flops,loss\n\xff\xfe", "UTF-8"),
        ("t.csv", b'params,samples,flops,loss\n"1,2,3,4\n', "not CSV"),
        ("t.csv.gz", b"params", "gzip"),
        ("t.csv.gz", gzip.compress(b"params,loss", mtime=0)[:-9], "gzip"),
        ("t.parquet", b"PAR1garbagePAR1", "Parquet"),
        ("t.pq", bytes(range(256)), "Parquet"),
        ("t.xlsx", b"PK", ".parquet"),
        ("t", b"params", ".csv"),
    ],
)
def test_unreadable_file_is_one_sentence(tmp_path: Path, name: str, content: bytes, word: str):
    (tmp_path / name).write_bytes(content)
    text = message(tmp_path / name)
    assert word in text
    assert "Traceback" not in text
    assert "\n" not in text


def test_damaged_text_in_parquet_is_refused(tmp_path: Path):
    path = tmp_path / "t.parquet"
    frame(run="abcdefg").to_parquet(path, compression="none")
    data = path.read_bytes()
    assert b"abcdefg" in data
    path.write_bytes(data.replace(b"abcdefg", b"\xff\xfedefgh"))
    assert "UTF8" in message(path)


def test_directory_and_absent_file(tmp_path: Path):
    assert "directory" in message(tmp_path)
    assert "atari-cnn, chinchilla, constant-rate, nethack-transformer" in message("no-such-table")
    assert message("a\0b.csv")
    assert message("x" * 5000 + ".csv")


def test_ragged_rows_and_equal_names(tmp_path: Path):
    lines = frame().to_csv(index=False).splitlines()
    lines[2] += ",9"
    lines[5] = "1,2"
    lines[7] += ",9"
    (tmp_path / "t.csv").write_text("\n".join(lines))
    assert refused(tmp_path / "t.csv") == [((3, 8), ""), ((6,), "")]
    (tmp_path / "t.csv").write_text(frame(x=1).to_csv(index=False).replace(",x", ", loss"))
    assert refused(tmp_path / "t.csv") == [((1,), "loss")]
    two_levels = frame().T.set_index([["a"] * 4], append=True).T
    assert "levels" in message(two_levels)


# --- mapping files


def test_read_columns(tmp_path: Path):
    path = tmp_path / "m.toml"
    path.write_text('[columns]\nparams = "config.params_m*1e6"\nloss = "val/loss"\n')
    assert read_columns(path) == {"params": "config.params_m*1e6", "loss": "val/loss"}


@pytest.mark.parametrize("content", [b"", b"[columns]", b"columns = 3", b"[columns]\nparams = 3", b"not toml", b"\xff"])
def test_bad_mapping_file(tmp_path: Path, content: bytes):
    path = tmp_path / "m.toml"
    path.write_bytes(content)
    with pytest.raises(TableError, match=r"columns|params"):
        read_columns(path)
    with pytest.raises(TableError, match="cannot be read"):
        read_columns(tmp_path / "absent.toml")


def test_runs_is_frozen():
    runs = read_runs(frame())
    assert isinstance(runs, Runs)
    with pytest.raises(AttributeError):
        runs.source = "other"  # type: ignore[misc]
