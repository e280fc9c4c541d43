"""The run table: whole rows, in any order of finishing, whatever happens to the writer."""

import csv
import errno
import os
import subprocess
import sys

import pytest

from training.errors import DataError, MachineError
from training.learn.runs.provenance import code_version
from training.learn.runs.table import append_row


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def row(run, update, **more):
    return {"run": run, "update": update, "loss": 0.1 + update, **more}


def test_rows_are_added_and_new_columns_leave_empty_cells_behind(tmp_path):
    path = tmp_path / "deep" / "runs.csv"
    append_row(path, row("a", 1))
    append_row(path, row("a", 2, return_mean=12.5, return_se=None))
    append_row(path, row("b", 1, note='with, a "comma"'))
    found = rows(path)
    assert [(r["run"], r["update"]) for r in found] == [("a", "1"), ("a", "2"), ("b", "1")]
    assert [r["return_mean"] for r in found] == ["", "12.5", ""]
    assert found[1]["return_se"] == ""  # unknown is empty, never 0
    assert found[2]["note"] == 'with, a "comma"'
    assert float(found[0]["loss"]) == 1.1


def test_a_checkpoint_measured_again_takes_the_place_of_its_row(tmp_path):
    path = tmp_path / "runs.csv"
    for loss in (1.0, 2.0):
        append_row(path, {"run": "a", "update": 5, "loss": loss})
    append_row(path, row("a", 6))
    assert [(r["update"], r["loss"]) for r in rows(path)] == [("5", "2.0"), ("6", "6.1")]


def test_numbers_survive_to_the_last_digit(tmp_path):
    path = tmp_path / "runs.csv"
    append_row(path, {"run": "a", "update": 1, "loss": 0.1 + 0.2, "flops": 1.2345678901234567e18, "params": 2**53 + 1})
    found = rows(path)[0]
    assert (float(found["loss"]), float(found["flops"])) == (0.1 + 0.2, 1.2345678901234567e18)
    assert found["params"] == str(2**53 + 1)


def test_many_writers_lose_no_row(tmp_path):
    path = tmp_path / "runs.csv"
    code = "import sys; from training.learn.runs.table import append_row\nfor i in range(20): "
    code += "append_row(sys.argv[1], {'run': sys.argv[2], 'update': i})"
    writers = [subprocess.Popen([sys.executable, "-c", code, str(path), str(k)]) for k in range(4)]
    assert [w.wait(timeout=60) for w in writers] == [0] * 4
    assert {(r["run"], int(r["update"])) for r in rows(path)} == {(str(k), i) for k in range(4) for i in range(20)}


def test_a_full_disk_leaves_the_table_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "runs.csv"
    append_row(path, row("a", 1))
    before = path.read_bytes()

    def full(fd):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MachineError, match="No space left on device"):
        append_row(path, row("a", 2))
    assert path.read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} == {"runs.csv", ".runs.csv.lock"}


def test_a_cell_of_any_text_is_read_back(tmp_path):
    path, note = tmp_path / "runs.csv", 'a\rb, "c"\r\nd \u2028 [red]'
    append_row(path, {**row("a", 1), "note": note})
    append_row(path, row("b", 1))
    assert [found["note"] for found in rows(path)] == [note, ""]


@pytest.mark.parametrize("content", [b"\x00\xff\xfe", b"a,b\n1,2\n", b"run,update\n1,2,3\n", b'run,update\n"1\n'])
def test_a_file_that_is_no_run_table_is_refused_and_kept(tmp_path, content):
    path = tmp_path / "runs.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"runs\.csv: the file is not a"):
        append_row(path, row("a", 1))
    assert path.read_bytes() == content


def test_the_code_version_names_the_package():
    assert code_version()[0].isdigit()
