"""Columns by the field's names, by arithmetic over others, and left out."""

import numpy as np
import pytest
from helpers import frame
from refusals import message, refused

from forecast.errors import TableError
from forecast.runs.arithmetic import NotArithmetic, parsed
from forecast.runs.read import read_runs


@pytest.mark.parametrize(
    "names",
    [
        {"params": "N", "samples": "D", "flops": "C", "loss": "L"},
        {"params": "n_params", "samples": "tokens", "flops": "Compute", "loss": "val_loss"},
        {"params": "Parameters", "samples": "training_tokens", "flops": "FLOPs", "loss": "Loss"},
    ],
)
def test_usual_names_are_understood_and_said(names):
    runs = read_runs(frame().rename(columns=names))
    assert runs.sha256 == read_runs(frame()).sha256
    assert all(f"`{ours}` was read from `{theirs}`." in runs.notes for ours, theirs in names.items())


def test_two_usual_names_are_a_question():
    table = frame().rename(columns={"loss": "val_loss"}).assign(test_loss=1.0)
    assert "`val_loss`, `test_loss` may each be it; say which: columns={'loss': 'val_loss'}" in message(table)
    assert read_runs(table, columns={"loss": "val_loss"}).sha256 == read_runs(frame()).sha256


def test_small_letters_are_no_names_of_ours():
    assert refused(frame().rename(columns={"params": "n"})) == [((), "params")]


def test_columns_are_computed_from_others():
    table = frame()
    cost = table["flops"] / table["params"] / table["samples"]
    assert cost.nunique() >= 1
    without = table.drop(columns="flops").assign(ratio=cost)
    runs = read_runs(without, columns={"flops": "ratio*params*samples"})
    np.testing.assert_allclose(runs.table["flops"], table["flops"], rtol=1e-12)
    assert "`flops` was computed as `ratio*params*samples`." in runs.notes
    runs = read_runs(table.drop(columns="samples").assign(ratio=cost), columns={"samples": "flops/(ratio*params)"})
    np.testing.assert_allclose(runs.table["samples"], table["samples"], rtol=1e-12)


def test_a_mapped_column_is_known_by_our_name_in_arithmetic():
    table = frame().rename(columns={"params": "millions"}).drop(columns="flops")
    table["millions"] /= 1e6
    runs = read_runs(table, columns={"flops": "6*params*samples", "params": "millions*1e6"})
    np.testing.assert_allclose(runs.table["flops"], 6 * frame()["params"] * frame()["samples"])


def test_names_are_put_together():
    table = frame(model=list("aaabbbccc"), lr=[0.1, 0.2, 0.3] * 3)
    assert read_runs(table, columns={"run": 'model+"-"+lr'}).table["run"].tolist()[:2] == ["a-0.1", "a-0.2"]


def test_columns_that_are_no_words_stand_in_backticks():
    table = frame().rename(columns={"loss": "val/loss", "params": "config.params"})
    runs = read_runs(table, columns={"loss": "`val/loss`*1.0 + 0", "params": "config.params"})
    np.testing.assert_allclose(runs.table["loss"], frame()["loss"])


def test_a_cell_that_is_no_number_is_named():
    table = frame().astype({"params": object})
    table.loc[3, "params"] = "5M"
    found = refused(table.drop(columns="flops"), columns={"flops": "6*params*samples"})
    assert ((5,), "flops") in found
    assert ((5,), "params") in found


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("6*size", "no such column as `size`"),
        ("__import__('os').system('true')", "neither a column nor"),
        ("open('x')", "neither a column nor"),
        ("params if loss else 3", "neither a column nor"),
        ("params[0]", "neither a column nor"),
        ("6**", "not written as arithmetic"),
        ("(" * 400, "not written as arithmetic"),
        ("1+" * 300 + "1", "longer than 500"),
        ("True", "has True"),
        ("'a'*2", "a text cannot be part of a number"),
        ("lambda: 3", "neither a column nor"),
    ],
)
def test_what_is_no_arithmetic_is_refused_before_anything_runs(spec, words):
    with pytest.raises(TableError, match=words):
        read_runs(frame().drop(columns="flops"), columns={"flops": spec})


def test_powers_do_not_hang():
    with pytest.raises(TableError, match="infinite"):
        read_runs(frame(), columns={"flops": "9**9**9**9"})


def test_functions_of_columns():
    perplexity = frame().assign(loss=np.exp(frame()["loss"]))
    np.testing.assert_allclose(read_runs(perplexity, columns={"loss": "log(loss)"}).table["loss"], frame()["loss"])
    with pytest.raises(NotArithmetic):
        parsed("system(loss)")


def test_columns_that_were_not_read_are_named():
    assert "Columns that were not read: `lr`, `note`." in read_runs(frame(lr=0.1, note="x")).notes
    assert not any("not read" in n for n in read_runs(frame(lr=0.1, note="x"), columns={"lr": "", "note": ""}).notes)
    assert refused(frame(), columns={"nothing": ""}) == [((), "nothing")]


def test_a_missing_column_says_what_it_follows_from():
    text = message(frame().drop(columns="flops"))
    assert "columns={'flops': '6*params*samples'}" in text
    with pytest.raises(TableError) as caught:
        read_runs(frame().drop(columns="samples"))
    assert "--column 'samples=flops/(6*params)'" in caught.value.text(command=True)
