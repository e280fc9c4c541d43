"""Files of every kind that read_runs reads, their line numbers, and files that it refuses."""

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import frame
from refusals import message, put, refused

from forecast.bayes.points import read_points
from forecast.errors import TableError
from forecast.runs import files
from forecast.runs.read import read_runs


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


def test_bom_blank_lines_and_spaced_names_keep_true_line_numbers(tmp_path: Path):
    lines = frame().rename(columns={"loss": "  loss "}).to_csv(index=False).splitlines()
    lines.insert(3, "")
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    assert read_runs(tmp_path / "t.csv").table.index.tolist() == [2, 3, 5, 6, 7, 8, 9, 10, 11]


def test_line_numbers_count_lines_inside_quotes(tmp_path: Path):
    table = put("loss", {4: -1.0}, frame(comment=["two\nlines"] + ["one"] * 8))
    table.to_csv(tmp_path / "t.csv", index=False)
    assert refused(tmp_path / "t.csv") == [((5,), "loss")]


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


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.jsonl", "t.parquet"])
def test_a_file_of_no_tables_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.setattr(files, "MOST_BYTES", 2**20)
    rows = "params,samples,flops,loss\n" + "1e7,1e10,6e17,2.0\n" * 80_000
    content = {"t.csv.gz": gzip.compress(rows.encode()), "t.jsonl": b"{}\n" * 2**19}.get(name, rows.encode())
    if name == "t.parquet":  # of a few kB
        pd.DataFrame({"loss": np.zeros(2**18), "x": np.arange(2**18) // 1000}).to_parquet(
            tmp_path / name, compression="gzip", use_dictionary=False
        )
    else:
        (tmp_path / name).write_bytes(content)
    assert "holds more than 1 MiB" in message(tmp_path / name)


def test_a_file_that_never_ends_is_refused(tmp_path: Path):
    (tmp_path / "t.csv").symlink_to("/dev/zero")
    assert "holds more than 256 MiB" in message(tmp_path / "t.csv")


def test_damaged_text_in_parquet_is_refused(tmp_path: Path):
    path = tmp_path / "t.parquet"
    frame(run="abcdefg").to_parquet(path, compression="none")
    data = path.read_bytes()
    assert b"abcdefg" in data
    path.write_bytes(data.replace(b"abcdefg", b"\xff\xfedefgh"))
    assert "UTF8" in message(path)


def test_directory_and_absent_file(tmp_path: Path):
    assert "directory" in message(tmp_path)
    assert "atari-cnn, chinchilla, constant-rate, example, nethack-transformer" in message("no-such-table")
    assert "did you mean nethack-transformer?" in message("nethack-tranformer")
    assert "did you mean" not in message("no-such-table")
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


# ---- forms of a text file -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mark", "suffix"), [("|", "csv"), (";", "csv"), ("\t", "csv"), ("\t", "tsv"), (",", "csv")])
def test_separators_are_understood(tmp_path, mark, suffix):
    path = tmp_path / f"runs.{suffix}"
    frame().to_csv(path, index=False, sep=mark)
    assert read_runs(path).sha256 == read_runs(frame()).sha256


def test_decimal_commas_are_understood_and_said(tmp_path):
    path = tmp_path / "runs.csv"
    frame().to_csv(path, index=False, sep=";", decimal=",")
    runs = read_runs(path)
    assert runs.sha256 == read_runs(frame()).sha256
    assert "Columns are separated by semicolons, with decimal commas." in runs.notes


def test_commas_that_may_part_thousands_are_refused(tmp_path):
    path = tmp_path / "runs.csv"
    frame().astype({"params": object}).assign(params="1,500").to_csv(path, index=False, sep=";")
    assert "is not a number ('1,500'" in message(path)


def test_comments_before_the_header_are_skipped_and_lines_stay(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text("# exported\n# by hand\n" + frame().to_csv(index=False))
    runs = read_runs(path)
    assert runs.table.index.tolist() == list(range(4, 13))
    assert "Lines of comment before the header that were skipped: 2." in runs.notes


def test_json_lines_are_read_with_dots_for_what_is_nested(tmp_path):
    path = tmp_path / "runs.jsonl"
    rows = [{"config": {"params": r.params}, "samples": r.samples, "flops": r.flops, "loss": r.loss}
            for r in frame().itertuples()]  # fmt: skip
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    assert read_runs(path, columns={"params": "config.params"}).sha256 == read_runs(frame()).sha256
    path.write_text('{"params": 1}\n[3]\n')
    assert "line 2: the line is no JSON object" in message(path)
    path.write_text('{"params": 1}\n{"params"\n')
    assert "line 2: the line is not JSON" in message(path)


def test_the_export_of_a_chart_says_what_to_export(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text("Step,a - loss,a - loss__MIN,a - loss__MAX\n1,2,2,2\n")
    assert "export the table of runs" in message(path)


@pytest.mark.parametrize("packed", [True, False])
def test_points_that_are_too_many_to_hold_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bool):
    monkeypatch.setattr("forecast.runs.files.MOST_BYTES", 1000)
    path = tmp_path / ("points.csv.gz" if packed else "points.csv")
    text = b"params,samples\n" + b"1e6,1e9\n" * 1000
    path.write_bytes(gzip.compress(text) if packed else text)
    with pytest.raises(TableError, match="the file holds more than"):
        read_points(path)
    with pytest.raises(TableError, match="cannot be read"):
        read_points("https://example.org/points.csv")
