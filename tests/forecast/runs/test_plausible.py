"""Tables whose cells are all valid and that are wrong all the same."""

import numpy as np
import pytest
from helpers import frame
from refusals import message, refused

from forecast.runs.read import read_runs


def games(second, **columns):
    """Twice the rows of `frame()` with a little noise, the losses of the second half times a factor."""
    table = frame()
    both = table.loc[table.index.repeat(4)].reset_index(drop=True)
    rng, kind = np.random.default_rng(0), np.arange(len(both)) % 2
    loss = both["loss"] * np.where(kind, second, 1) * np.exp(0.01 * rng.standard_normal(len(both)))
    return both.assign(loss=loss, **{k: np.where(kind, *v) for k, v in columns.items()})


def test_one_loss_in_all_rows_is_refused():
    assert refused(frame(loss=4.8)) == [((), "loss")]


def test_a_perplexity_is_asked_about_unless_mapped():
    table = frame().assign(loss=lambda t: 10 * np.exp(t["loss"]))
    assert "columns={'loss': 'log(loss)'}" in message(table)
    assert read_runs(table, columns={"loss": "loss"}).table["loss"].max() == table["loss"].max()


def test_params_in_millions_are_refused():
    assert refused(frame().assign(params=lambda t: t["params"] / 1e6)) == [((), "flops")]


def test_a_column_that_parts_the_rows_is_asked_about():
    table = games(0.6, game=("Maze", "Chaser"))
    text = message(table)
    assert "column `game`" in text
    assert "columns={'group': 'game'}" in text
    assert read_runs(table, columns={"group": "game"}).groups == ("Chaser", "Maze")
    assert read_runs(table, columns={"game": ""}).groups == ("all",)


def test_a_column_that_parts_nothing_is_not_asked_about():
    runs = read_runs(games(1.0, game=("Maze", "Chaser")))
    assert "Columns that were not read: `game`." in runs.notes


def test_another_name_of_the_size_is_no_group():
    table = games(1.0)
    assert read_runs(table.assign(model=table["params"].map("{:g}".format))).groups == ("all",)


def test_fewer_samples_than_parameters_are_noted():
    table = frame().assign(params=lambda t: t["params"] / 10, samples=lambda t: t["samples"] * 10)
    swapped = table.rename(columns={"params": "samples", "samples": "params"})
    runs = read_runs(swapped)
    assert any("fewer samples than parameters" in n for n in runs.notes)
    assert not any("fewer samples" in n for n in read_runs(frame()).notes)


def test_samples_counted_in_batches_are_asked_about():
    table = frame()
    batches = table.assign(flops=6 * table["params"] * table["samples"], samples=table["samples"] / 2048)
    text = message(batches)
    assert "6 x 2,048 x params x samples" in text
    assert "columns={'samples': '2048*samples'}" in text
    mapped = read_runs(batches, columns={"samples": "2048*samples"})
    assert np.allclose(mapped.table["samples"].sort_values(), table["samples"].sort_values())
    kept = read_runs(batches, columns={"samples": "samples"})
    assert kept.table["samples"].max() == batches["samples"].max()


def test_a_network_that_reuses_parameters_is_no_batch():
    table = frame()
    reuse = 50 + 20 * table["params"].rank(method="dense")
    assert read_runs(table.assign(flops=6 * reuse * table["params"] * table["samples"])).groups == ("all",)


@pytest.mark.parametrize("seeded", [False, True])
def test_one_name_for_several_sizes_is_told_apart(seeded):
    table = frame(run="gpt", **({"seed": 1} if seeded else {}))
    runs = read_runs(table)
    assert runs.table["run"].nunique() == table["params"].nunique()
    assert any("told apart by size" in n and "`gpt`" in n for n in runs.notes)
