"""Tables without losses: what is read and refused, and what is made of them without a fit."""

import numpy as np
import pandas as pd
import pytest
from returns_tables import LEVEL, played, pong

import forecast
from forecast import classical
from forecast.errors import TableError
from forecast.model.encode import encode
from forecast.model.weights import weigh_rows
from forecast.runs.read import read_runs


def test_empty_losses_are_no_losses(runs, tmp_path):
    assert not runs.has_losses
    assert "loss" not in runs.table
    assert runs.has_returns
    assert runs.summary()["loss"] is None
    low, high = runs.summary()["return_mean"]
    assert (low, high) == (runs.table["return_mean"].min(), runs.table["return_mean"].max())
    assert any("no losses" in note for note in runs.notes)
    assert runs.table["algorithm"].tolist() == ["ppo"] * 60
    played(0).to_csv(tmp_path / "runs.csv", index=False)
    written = read_runs(tmp_path / "runs.csv")
    left_out = read_runs(played(0).drop(columns=["loss", "episodes"]).rename(columns={"return_mean": "score"}),
                         columns={"return_mean": "score"})  # fmt: skip
    assert written.sha256 == runs.sha256
    assert not left_out.has_losses
    assert left_out.table["return_mean"].tolist() == runs.table["return_mean"].tolist()


def refusal(table):
    with pytest.raises(TableError) as error:
        read_runs(table)
    return error.value


def test_some_losses_are_refused_with_their_rows():
    table = played(0)
    table.loc[3:, "loss"] = 1.0
    problem = next(p for p in refusal(table).problems if p.column == "loss")
    assert problem.rows == (2, 3, 4)
    assert "a separate table" in problem.fix


@pytest.mark.parametrize(
    ("change", "column", "rows"),
    [
        (lambda t: t.assign(return_mean=t["return_mean"].where(t.index != 5)), "return_mean", (7,)),
        (lambda t: t.assign(return_mean=np.nan), "loss", tuple(range(2, 62))),
        (lambda t: t.drop(columns=["loss", "return_mean"]), "loss", ()),
        (lambda t: t.drop(columns=["return_se", "episodes"]), "episodes", tuple(range(2, 62))),
        (lambda t: t.assign(loss_se=0.1), "loss_se", tuple(range(2, 62))),
        (lambda t: t.assign(return_mean=7.0, seed=range(60)), "return_mean", ()),
        (lambda t: t.assign(return_mean=np.inf), "return_mean", tuple(range(2, 62))),
        (lambda t: t.assign(loss="low"), "loss", tuple(range(2, 62))),
        (lambda t: t[t["params"] < 1e6], "params", ()),
        (lambda t: t.drop(columns=["run", "seed"]).assign(return_mean=t["params"]), "",
         tuple(range(2, 62))),
    ],
)  # fmt: skip
def test_tables_that_say_too_little_are_refused(change, column, rows):
    found = refusal(change(played(0)))
    assert (rows, column) in [(p.rows, p.column) for p in found.problems]
    assert "\n" not in str(found.problems[0])


def test_a_column_that_looks_like_the_loss_is_named_in_a_note():
    found = read_runs(played(0).drop(columns="loss").assign(losses=1.0))
    assert not found.has_losses
    assert any("`losses` was not read as the loss" in note for note in found.notes)


def test_a_table_with_losses_is_as_before():
    table = played(0).assign(loss=np.linspace(3, 1, 60))
    found = read_runs(table)
    assert found.has_losses
    assert found.falling.equals(found.table["loss"])
    assert refusal(table.drop(columns="episodes")).problems[0].column == "episodes"  # which a loss does not replace


def test_a_row_counts_by_its_compute_and_not_by_its_luck(runs):
    lucky = runs.table.assign(return_mean=runs.table["return_mean"] * np.where(runs.table["seed"] == "0", 3.0, 1.0))
    assert weigh_rows(runs).weights.equals(weigh_rows(read_runs(lucky)).weights)
    weights = weigh_rows(runs).weights
    assert (weights[1] == 1).all()
    assert (weights[0].groupby(runs.table["flops"]).nunique() == 1).all()
    assert weights[0].groupby(runs.table["flops"]).first().is_monotonic_increasing


def test_returns_and_errors_are_relative_to_the_lifted_return():
    runs = read_runs(pong(0))
    encoding = encode(runs)
    rows = runs.table.loc[encoding.rows]
    returns, n = rows["return_mean"], len(rows)
    lifted = returns + encoding.references["all"].return_offset
    assert lifted.min() == pytest.approx(0.01 * (returns.max() - returns.min()))
    np.testing.assert_allclose(encoding.data.log_loss[:n], -np.log(lifted), atol=1e-9)
    np.testing.assert_allclose(encoding.data.log_loss_se[:n], 0.4 / lifted, rtol=1e-9)
    assert not np.any(encoding.data.episodes)  # the standard error says it
    bare = encode(read_runs(pong(0).drop(columns="return_se")))
    assert not np.any(bare.data.log_loss_se)
    assert set(bare.data.episodes[:n]) == {20.0}


def test_prior_speaks_of_returns_of_every_group():
    table = pd.concat([played(0).assign(group="nethack"), pong(1).assign(group="pong")])
    expected = forecast.prior_predictive(read_runs(table), draws=400)
    assert list(expected.columns) == ["params", "samples", "return_mean", "q05", "median", "q95"]
    covered = expected["return_mean"].between(expected["q05"], expected["q95"])
    assert covered.mean() > 0.85
    assert (expected["q05"] <= expected["median"]).all()


def test_classical_lines_through_maxima():
    """Without noise both find the exponents of a law whose terms balance; seeds are averaged, not their reciprocals."""

    def mean(params, samples):
        return LEVEL / (0.5 * (params / 1e6) ** -0.5 + 0.5 * (samples / 1e9) ** -0.5)

    runs = read_runs(played(0, sizes=21, noise=0.0, mean=mean).assign(return_se=1.0))
    exact = runs.table.assign(return_mean=mean(runs.table["params"], runs.table["samples"]))
    spread = exact["seed"].map({"0": 0.5, "1": 1.0, "2": 1.5}).astype(float)
    runs = read_runs(exact.assign(return_mean=exact["return_mean"] * spread))
    for method in classical.RETURN_METHODS:
        found = classical.best_return(runs, method)
        exponents = found.exponents()
        assert exponents["return"].value == pytest.approx(0.25, abs=0.01)
        assert exponents["return"].lower <= exponents["return"].value <= exponents["return"].upper
        assert exponents["params"].value == pytest.approx(0.5, abs=0.08)  # of sizes on a grid
        best = mean(*found.optimal(1e16))
        assert np.exp(found.forecast_return(1e16).mean_log) == pytest.approx(best, rel=0.03)


def test_classical_lines_need_logarithms():
    with pytest.raises(ValueError, match="zero or negative"):
        classical.best_return(read_runs(pong(0)))
    with pytest.raises(ValueError, match="huber_lse"):
        classical.best_return(read_runs(played(0)), "huber_lse")
