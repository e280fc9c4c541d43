"""Runs under way whose ends are known."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import forecast
from forecast.bayes.residuals import end_of_run
from forecast.cli.commands import app
from forecast.decide.checks import check_watch


def begun(planted, last=0.0):
    """Two trainings a size, each some percent off the law for good; of one of them only a quarter is there.

    last: log factor of the largest one that is under way.
    """
    table = planted(1, noise=0.003, replicates=2)
    offset = dict(zip(table["run"].unique(), 0.05 * np.random.default_rng(0).standard_normal(12), strict=True))
    offset["n100000000-0"] = last
    table["loss"] *= np.exp(table["run"].map(offset))
    ends = table.groupby("run")["samples"].transform("max")
    return table[~table["run"].str.endswith("-0") | (table["samples"] <= 0.3 * ends)], table


@pytest.fixture(scope="module")
def under_way(planted, quick):
    shown, table = begun(planted)
    return forecast.fit(shown, **quick), table


def outcomes(posterior, table):
    """Of each run under way: draws of its last log loss, those of a new run, and the truth."""
    for run, own in table[table["run"].str.endswith("-0")].groupby("run"):
        end = own.sort_values("samples").iloc[-1]
        new = np.log(posterior.predict(end["params"], end["samples"]).loss[:, 0])
        yield end_of_run(posterior, run, end["samples"])[:, 0], new, np.log(end["loss"])


def test_a_run_that_lies_off_the_law_ends_off_the_law(under_way):
    errors = np.array([[abs(np.median(x) - truth) for x in (ours, new)] for ours, new, truth in outcomes(*under_way)])
    assert errors[:, 0].mean() < 0.5 * errors[:, 1].mean()


def test_intervals_are_narrower_and_hold_the_ends(under_way):
    spans = [
        (np.quantile(ours, [0.05, 0.95]), np.quantile(new, [0.05, 0.95]), t) for ours, new, t in outcomes(*under_way)
    ]
    assert sum(low <= truth <= high for (low, high), _, truth in spans) >= 5
    assert np.mean([np.ptp(own) for own, _, _ in spans]) < np.mean([np.ptp(new) for _, new, _ in spans])


def test_what_is_said_of_a_run(under_way):
    posterior, table = under_way
    run = table["run"].iloc[0]
    now = posterior.runs.table.query("run == @run").sort_values("samples").iloc[-1]
    found = forecast.watch(posterior, run=run, samples=2 * now["samples"], goal=0.9 * now["loss"])
    assert found.samples_now == now["samples"]
    assert found.flops_left == pytest.approx(now["flops"])
    assert found.loss["q05"] < found.loss["median"] < found.loss_now
    assert found.advice == ("go on" if found.probability >= 0.5 else "stop")
    assert found.advice.capitalize() in found.sentence
    sure = forecast.watch(posterior, run=run, samples=2 * now["samples"], goal=10 * now["loss"])
    assert sure.probability_of_goal == 1.0
    by_flops = forecast.watch(posterior, run=run, flops=2 * now["flops"])
    assert by_flops.loss == pytest.approx(found.loss)


@pytest.mark.parametrize(("offset", "advice"), [(-0.15, "go on"), (0.15, "stop")])
def test_a_good_run_goes_on_and_a_bad_one_is_stopped(planted, quick, offset, advice):
    shown, table = begun(planted, last=offset)  # of the largest size, which suits its compute best
    end = float(table["samples"][table["run"] == "n100000000-0"].max())
    assert forecast.watch(forecast.fit(shown, **quick), run="n100000000-0", samples=end).advice == advice


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ({"run": "none", "samples": 1e12}, "has no run 'none'; name one of n1000000-0"),
        ({"run": 3, "samples": 1e12}, "run is"),
        ({"run": "n1000000-0"}, "say where the run ends, once"),
        ({"run": "n1000000-0", "samples": 1e12, "flops": 1e20}, "say where the run ends, once"),
        ({"run": "n1000000-0", "samples": 1e7}, "already has"),
        ({"run": "n1000000-0", "samples": 1e30}, "forecasts stop"),
        ({"run": "n1000000-0", "samples": -1.0}, "samples is -1"),
        ({"run": "n1000000-0", "samples": 1e12, "goal": 0.0}, "goal is 0"),
        ({"run": "n1000000-0", "samples": 1e12, "group": "b"}, "no group 'b'"),
    ],
)
def test_what_cannot_be_answered_gets_a_sentence(under_way, question, said):
    with pytest.raises(forecast.ForecastError, match=said):
        forecast.watch(under_way[0], **question)


def test_tables_without_names_of_runs_or_losses_are_refused(planted, quick):
    unnamed = forecast.read_runs(planted(0).drop(columns="run"))
    with pytest.raises(forecast.ForecastError, match="names no runs"):
        check_watch(unnamed, run="a", samples=1e12)


def test_the_command_answers_from_a_saved_posterior(under_way, tmp_path):
    posterior, table = under_way
    posterior.save(tmp_path / "p.nc")
    asked = ["watch", str(tmp_path / "p.nc"), "--run", table["run"].iloc[0], "--samples", "1e11"]
    shown = CliRunner().invoke(app, asked)
    assert shown.exit_code == 0
    assert "a new run with what is left" in shown.output
    told = json.loads(CliRunner().invoke(app, [*asked, "--json"]).stdout)
    assert told["advice"] in ("go on", "stop")
    assert told["loss"]["q05"] < told["loss"]["q95"]
