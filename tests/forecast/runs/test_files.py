"""Files of every kind that read_runs reads, their line numbers, and files that it refuses."""

import gzip
from pathlib import Path

import pandas as pd
import pytest
from helpers import frame
from refusals import message, put, refused

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
