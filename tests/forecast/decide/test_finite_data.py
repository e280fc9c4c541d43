"""Forecasts where samples are seen again: a planted table of repeated data, whose law is known."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import forecast
from forecast.cli.commands import app
from forecast.report.figures.view import look
from forecast.report.page import write_report
from forecast.verify.frozen import read_frozen

UNIQUE, REPEATS = 2e8, 6.0
FLOPS = 1e20


def true_loss(params, samples):
    """Of runs that have UNIQUE samples."""
    again = np.maximum(samples / UNIQUE - 1, 0)
    fresh = np.minimum(samples, UNIQUE) - UNIQUE * REPEATS * np.expm1(-again / REPEATS)
    return 0.3 + 0.4 * (params / 1e7) ** -0.45 + 0.5 * (fresh / 1e9) ** -0.55


def repeated_table():
    """Six sizes at eight budgets, of up to 500 passes, with a noise of 0.3%."""
    rng = np.random.default_rng(3)
    params, flops = (x.ravel() for x in np.meshgrid(np.geomspace(1e6, 3e7, 6), np.geomspace(1e16, 1e18, 8)))
    samples = flops / 6 / params
    loss = true_loss(params, samples) * np.exp(0.003 * rng.standard_normal(params.size))
    distinct = np.minimum(samples, UNIQUE)
    return pd.DataFrame(
        {"params": params, "samples": samples, "flops": flops, "loss": loss, "unique_samples": distinct}
    )


@pytest.fixture(scope="module")
def repeated(quick):
    return forecast.fit(repeated_table(), law="additive", **quick)


def expected_loss(posterior, params, unique):
    samples = FLOPS / posterior.cost["all"](params)
    return np.exp(posterior.log_loss(params, samples, unique_samples=unique)).mean(axis=0)


def test_the_table_tells_what_samples_seen_again_are_worth(repeated):
    low, high = np.quantile(repeated.repeats(), (0.05, 0.95))
    assert low < REPEATS < high
    assert high / low < 2  # much narrower than the prior, a factor of 14
    assert "repeats" in repeated.summary()["parameter"].tolist()


def test_losses_beyond_the_table_hold_the_truth(repeated):
    params = np.geomspace(1e7, 3e8, 5)
    samples = FLOPS / 6 / params
    low, high = np.quantile(repeated.predict(params, samples, unique_samples=UNIQUE).loss, (0.05, 0.95), axis=0)
    truth = true_loss(params, samples)
    assert ((low < truth) & (truth < high)).all()
    assert (np.log(high / low) < 0.6).all()


def test_as_many_distinct_samples_as_are_seen_are_fresh(repeated):
    fresh, same, fewer = (repeated.predict(1e7, 1e10, unique_samples=u).loss for u in (None, 1e10, 1e9))
    np.testing.assert_allclose(same, fresh, rtol=1e-12)
    assert (fewer > fresh).all()


def test_the_prior_answers_where_no_sample_was_seen_twice(additive):
    assert not additive.spec.repeats
    low, middle, high = np.quantile(additive.repeats(), (0.05, 0.5, 0.95))
    assert (low, middle, high) == pytest.approx((4.0, 15.0, 56.0), rel=0.3)
    fewer, more = (forecast.recommend(additive, flops=FLOPS, unique_samples=u) for u in (1e8, 1e9))
    free = forecast.recommend(additive, flops=FLOPS)
    assert fewer.loss["median"] > more.loss["median"] > free.loss["median"]
    assert fewer.params > more.params > free.params


def test_the_recommended_size_is_the_best_with_so_many_samples(repeated):
    found = forecast.recommend(repeated, flops=FLOPS, unique_samples=UNIQUE)
    grid = np.geomspace(found.params / 30, found.params * 30, 801)
    losses = expected_loss(repeated, grid, UNIQUE)
    assert expected_loss(repeated, np.array([found.params]), UNIQUE)[0] <= losses.min() * 1.0005
    assert found.samples > UNIQUE  # they are seen again
    assert f"({found.samples / UNIQUE:.1f} passes)" in found.sentence
    truth = true_loss(grid, FLOPS / 6 / grid).min()
    assert found.loss["q05"] < truth < found.loss["q95"]


def test_fresh_samples_are_assumed_aloud(repeated):
    told = " ".join(forecast.recommend(repeated, flops=FLOPS).remarks)
    assert "taken to be fresh" in told
    assert "--unique-samples 2e8" in told
    capped = " ".join(forecast.recommend(repeated, flops=FLOPS, max_samples=1e8).remarks)
    assert "in place of max_samples (--unique-samples 1e8)" in capped
    assert forecast.recommend(repeated, flops=FLOPS, unique_samples=UNIQUE).assumed is None


def test_a_row_that_did_better_is_recommended(additive):
    """A table in which one run within the limits lies far below what the law says of any size."""
    table = additive.runs.table.copy()
    row = table.index[(table["params"] < 3e7) & (table["samples"] < 1e9)][-1]
    table.loc[row, "loss"] = 0.31
    lucky = replace(additive, runs=replace(additive.runs, table=table))
    limits = {"max_params": 3e7, "max_samples": 1e9}
    found = forecast.recommend(lucky, flops=1e18, **limits)
    assert found.measured is not None
    assert (found.params, found.samples) == tuple(table.loc[row, ["params", "samples"]])
    assert found.measured.sentence in found.remarks
    assert "0.310" in found.measured.sentence
    assert json.loads(json.dumps(found.to_dict()))["measured"]["row"] == row
    without = forecast.recommend(lucky, flops=1e18, max_params=float(table.loc[row, "params"]) / 2)
    assert without.measured is None  # that row is not within these limits


def test_a_frozen_forecast_keeps_its_distinct_samples(repeated, tmp_path):
    found = forecast.recommend(repeated, flops=FLOPS, unique_samples=UNIQUE)
    path = tmp_path / "recommendation.toml"
    path.write_text(found.to_toml(), encoding="utf-8")
    assert read_frozen(path).constraints == {"unique_samples": UNIQUE}


def test_the_best_of_many_rows_is_lucky_and_not_recommended(additive):
    found = [forecast.recommend(additive, flops=flops) for flops in np.geomspace(1e17, 1e19, 5)]
    assert [one.measured for one in found] == [None] * 5


def test_the_page_is_of_the_samples_asked_about(repeated, tmp_path):
    found = forecast.recommend(repeated, flops=FLOPS, unique_samples=UNIQUE)
    page = write_report(repeated, [found], tmp_path, replicates=2).read_text(encoding="utf-8")
    assert "Samples seen again: all passes after the first together are worth at most" in page
    assert "learned from rows that saw theirs again" in page
    view = look(repeated, found)
    sizes = np.geomspace(1e5, 1e12, 4001)
    truth = [true_loss(sizes, flops / 6 / sizes).min() for flops in view.frontier.flops]
    middle = np.median(view.frontier.best, axis=0)
    inside = view.frontier.flops <= 1e18
    np.testing.assert_allclose(middle[inside], np.array(truth)[inside], rtol=0.02)


def test_rows_of_unknown_distinct_samples_can_be_back_tested():
    table = repeated_table().assign(unique_samples=lambda t: t["unique_samples"].where(t["params"] > 2e6))
    made = forecast.backtest.backtest(table, methods=("ours",), cutoffs=1, law="additive", workers=1)
    assert made.refusals.empty
    assert np.isfinite(made.forecasts[["median", "q05", "q95"]]).all(axis=None)


def test_the_command_answers_as_python_does(repeated, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    repeated.save("posterior.nc")
    asked = CliRunner().invoke(
        app, ["recommend", "posterior.nc", "--flops", "1e20", "--unique-samples", "2e8", "--json"]
    )
    assert asked.exit_code == 0, asked.stderr
    found, wanted = json.loads(asked.stdout), forecast.recommend(repeated, flops=FLOPS, unique_samples=UNIQUE)
    assert found["params"]["recommended"] == pytest.approx(wanted.params, rel=1e-9)
    assert found["constraints"] == {"unique_samples": UNIQUE}
    pd.DataFrame({"params": [1e7], "samples": [1e10], "unique_samples": [1e9]}).to_csv("points.csv")
    asked = CliRunner().invoke(app, ["predict", "posterior.nc", "--at", "points.csv", "--json"])
    assert asked.exit_code == 0, asked.stderr
    predicted = repeated.predict(1e7, 1e10, unique_samples=1e9).loss
    assert json.loads(asked.stdout)["predictions"][0]["median"] == pytest.approx(np.median(predicted), rel=1e-9)
