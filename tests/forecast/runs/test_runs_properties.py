"""Whatever it is given, read_runs returns a table that keeps its promises or says what is wrong."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forecast.errors import TableError
from forecast.runs.checks import CANONICAL, REQUIRED
from forecast.runs.plausible import _BATCHES
from forecast.runs.read import read_columns, read_runs
from forecast.runs.table import Runs

few = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
GRID = 12
T = TypeVar("T")


@pytest.fixture(scope="module")
def folder():
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


@st.composite
def valid_tables(draw: st.DrawFn) -> pd.DataFrame:
    """Four sizes at three budgets with plausible cost, and some optional columns, in any row order."""
    sizes = np.repeat(10.0 ** np.array([5, 5.7, 6.6, 7.1]), 3).round()
    flops = np.tile([1e14, 3e15, 1e17], 4) * draw(st.floats(0.5, 2))
    # About six times a usual number of samples a batch, in every row, the reader asks.
    ratio = draw(st.floats(2, 15000).filter(lambda ratio: min(abs(ratio / 6 / size - 1) for size in _BATCHES) > 2e-3))
    nats = st.floats(1e-3, 14)
    table = pd.DataFrame({"params": sizes, "samples": flops / ratio / sizes, "flops": flops})
    table["loss"] = draw(st.lists(nats, min_size=GRID, max_size=GRID, unique=True))
    if draw(st.booleans()):
        table["run"] = np.repeat(draw(st.lists(st.text("ab'\",é\n1", min_size=1), min_size=4, max_size=4)), 3)
        table["run"] = "r" + table["run"].str.strip()
    if draw(st.booleans()):
        table["group"] = draw(st.sampled_from(["qbert", "NaN quest", "1", "a,b"]))
    if draw(st.booleans()):
        played = np.array(draw(st.lists(st.booleans(), min_size=GRID, max_size=GRID)))
        table["return_mean"] = np.where(played, draw(st.floats(-1e6, 1e6)), np.nan)
        table["episodes"] = np.where(played, draw(st.integers(1, 10**6)), np.nan)
    if draw(st.booleans()):
        table["seed"] = draw(st.lists(st.none() | st.integers(0, 9), min_size=GRID, max_size=GRID))
    return table


def assert_promises(runs: Runs, rows: int) -> None:
    table = runs.table
    assert len(table) == rows
    assert table.index.is_unique
    assert table.index.min() >= 2
    numbers = table[list(REQUIRED)].to_numpy()
    assert numbers.dtype == np.float64
    assert np.isfinite(numbers).all()
    assert (numbers > 0).all()
    assert table["group"].notna().all()
    assert table["run"].notna().all()
    known = [c for c in table.columns if c in CANONICAL]
    assert known == [c for c in CANONICAL if c in table]
    if "return_mean" in table:
        assert (table.loc[table["return_mean"].notna(), "episodes"] >= 1).all()
    assert (runs.frontier_excess() >= 0).all()
    assert table.groupby("group")["params"].nunique().min() >= 3


def outcome(read: Callable[[], T]) -> T | TableError:
    try:
        return read()
    except TableError as error:
        return error


def assert_sound(result: Runs | TableError, rows: int) -> None:
    """A table that keeps its promises, or a refusal that says what is wrong."""
    if isinstance(result, Runs):
        assert_promises(result, rows)
    else:
        assert str(result)
        assert result.problems
        assert all(p.what and p.fix for p in result.problems)


@few
@given(table=valid_tables(), seed=st.integers(0, 2**32 - 1))
def test_formats_and_row_order_do_not_matter(folder: Path, table: pd.DataFrame, seed: int):
    runs = read_runs(table)
    assert_promises(runs, GRID)
    shuffled = table.sample(frac=1, random_state=seed)
    shuffled.to_csv(folder / "t.csv", index=False)
    shuffled.to_parquet(folder / "t.parquet")
    runs.table.to_csv(folder / "saved.csv")
    runs.table.to_parquet(folder / "saved.pq")
    sources = [shuffled, *(folder / n for n in ("t.csv", "t.parquet", "saved.csv", "saved.pq"))]
    assert {read_runs(s).sha256 for s in sources} == {runs.sha256}


@few
@given(table=valid_tables(), power=st.sampled_from(["1e3", "1e6", "1e9", "0.001"]), name=st.sampled_from(REQUIRED))
def test_unit_mapping_gives_the_same_table(folder: Path, table: pd.DataFrame, power: str, name: str):
    table[name] = [float(f"{v:.12g}") for v in table[name]]
    scaled = table.rename(columns={name: "in.units"})
    shift = {"1e3": 3, "1e6": 6, "1e9": 9, "0.001": -3}[power]
    spelt = [f"{v:.11e}".partition("e") for v in table[name]]
    scaled["in.units"] = [f"{digits}e{int(exponent) - shift}" for digits, _, exponent in spelt]
    scaled.to_csv(folder / "u.csv", index=False)
    mapped = read_runs(folder / "u.csv", columns={name: f"in.units*{power}"})
    plain = read_runs(table)
    # run names may hold line breaks, which count as lines of the CSV
    read, want = (r.table.reset_index(drop=True) for r in (mapped, plain))
    pd.testing.assert_frame_equal(read, want, check_exact=True)


CELLS = st.one_of(
    st.sampled_from(
        ["", "NaN", "Infinity", "-1", "0", "1e400", "1e5x", "nan ", "1_0", "1,5", "٣", "True", "é", "\x00"]
    ),
    st.floats().map(repr),
    st.text(max_size=5),
)
DIRT = st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), CELLS, st.just([1]), st.just(1j), st.binary())


@few
@given(table=valid_tables(), spots=st.lists(st.tuples(st.integers(0, GRID - 1), st.integers(0, 7), DIRT), max_size=4))
def test_dirty_frames(table: pd.DataFrame, spots: list[tuple[int, int, object]]):
    table = table.astype(object)
    for row, column, value in spots:
        table.iat[row, column % table.shape[1]] = value
    assert_sound(outcome(lambda: read_runs(table)), GRID)


@few
@given(table=valid_tables(), spots=st.lists(st.tuples(st.integers(0, GRID), st.integers(0, 7), CELLS), max_size=4))
def test_dirty_csv_reports_the_rows_that_are_dirty(folder: Path, table: pd.DataFrame, spots):
    table = table.drop(columns=[c for c in ("run",) if c in table])  # its names may hold line breaks
    written = table.astype(object).where(table.notna(), "")
    for row, column, value in spots:
        if row < GRID:
            clean = value.replace("\n", " ").replace("\r", " ")
            written.iat[row, column % table.shape[1]] = clean
    written.to_csv(folder / "d.csv", index=False)
    result = outcome(lambda: read_runs(folder / "d.csv"))
    assert_sound(result, GRID)
    if isinstance(result, TableError):
        touched = {row + 2 for row, _, _ in spots}
        assert {r for p in result.problems if p.what.startswith("is not a number") for r in p.rows} <= touched


@few
@given(content=st.binary(max_size=300) | st.text(max_size=300).map(str.encode), suffix=st.sampled_from(["csv", "pq"]))
def test_any_bytes(folder: Path, content: bytes, suffix: str):
    path = folder / f"b.{suffix}"
    path.write_bytes(content)
    with pytest.raises(TableError) as caught:
        read_runs(path)
    assert caught.value.problems


@few
@given(table=valid_tables(), cut=st.integers(0, 4000), byte=st.integers(0, 255), gz=st.sampled_from(["", ".gz"]))
def test_damaged_parquet_and_gzip(folder: Path, table: pd.DataFrame, cut: int, byte: int, gz: str):
    path = folder / ("h.csv.gz" if gz else "h.parquet")
    table.to_csv(path, index=False) if gz else table.to_parquet(path)
    data = bytearray(path.read_bytes())
    data[cut % len(data)] = byte
    path.write_bytes(bytes(data))
    assert_sound(outcome(lambda: read_runs(path)), GRID)


@few
@given(
    table=valid_tables(), names=st.dictionaries(st.sampled_from(CANONICAL) | st.text(max_size=4), st.text(max_size=9))
)
def test_any_mapping(table: pd.DataFrame, names: dict[str, str]):
    assert_sound(outcome(lambda: read_runs(table, columns=names)), GRID)


@few
@given(table=valid_tables(), names=st.lists(st.sampled_from(CANONICAL) | st.text(max_size=4), min_size=9, max_size=9))
def test_any_header(table: pd.DataFrame, names: list[str]):
    renamed = table.set_axis(names[: table.shape[1]], axis=1)
    assert_sound(outcome(lambda: read_runs(renamed)), GRID)


@few
@given(name=st.text(max_size=30))
def test_any_name(name: str):
    with pytest.raises(TableError):
        read_runs(name)


@few
@given(content=st.binary(max_size=100) | st.text("[]columns=\"'\n.", max_size=60).map(str.encode))
def test_any_mapping_file(folder: Path, content: bytes):
    path = folder / "m.toml"
    path.write_bytes(content)
    result = outcome(lambda: read_columns(path))
    if isinstance(result, TableError):
        assert result.problems
    else:
        assert result
        assert all(isinstance(v, str) for v in result.values())
