"""Two recipes compared, on planted laws whose saving is known."""

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers import assert_refused, command
from scipy.optimize import brentq
from typer.testing import CliRunner

import forecast
from forecast.cli import main
from forecast.cli.commands import app

FLOPS = 1e19


def frontier(flops, *, E=0.3, alpha=0.45):
    """Least loss of `planted_table`'s law on a budget."""
    n = np.geomspace(1e4, 1e12, 20_001)
    return (E + 0.4 * (n / 1e7) ** -alpha + 0.5 * (flops / 6 / n / 1e9) ** -0.55).min()


def off(quantiles, log_truth):
    """How many standard deviations the log of a truth lies from a forecast."""
    low, middle, high = np.log([quantiles[q] for q in ("q05", "median", "q95")])
    return abs(log_truth - middle) / ((high - low) / 3.29)


@pytest.fixture(scope="module")
def better(planted, quick):
    """The law of `additive` with every sample worth 1.5 of its samples."""
    table = planted(5, B=0.5 * 1.5**-0.55)
    return forecast.fit(forecast.read_runs(table), law="additive", **quick)


def test_the_compute_that_a_better_recipe_saves_is_found(additive, better):
    found = forecast.compare_recipes(additive, better, flops=FLOPS)
    goal = frontier(FLOPS)
    cheaper = 0.5 * 1.5**-0.55 / 0.5

    def excess(log_flops):
        n = np.geomspace(1e4, 1e12, 20_001)
        reached = 0.3 + 0.4 * (n / 1e7) ** -0.45 + 0.5 * cheaper * (np.exp(log_flops) / 6 / n / 1e9) ** -0.55
        return reached.min() - goal

    truth = brentq(excess, np.log(FLOPS / 100), np.log(FLOPS * 100)) - np.log(FLOPS)
    assert off(found.compute, truth) < 3
    assert off(found.values[0], np.log(goal)) < 3
    assert 0.5 < found.probability <= 1


def test_best_sizes_far_beyond_the_tables_are_warned_of(additive, better):
    near, far = (forecast.compare_recipes(additive, better, flops=flops) for flops in (FLOPS, 90 * FLOPS))
    assert "times the parameters" not in near.provenance[0].verdict.sentence
    for made in far.provenance:
        assert made.verdict.level == "amber"
        assert "times the parameters of the largest in the table" in made.verdict.sentence


def test_turned_around_it_says_the_same(additive, better):
    there, back = (forecast.compare_recipes(*pair, flops=FLOPS) for pair in ((additive, better), (better, additive)))
    assert back.probability == pytest.approx(1 - there.probability, abs=0.05)
    assert np.log(back.compute["median"]) == pytest.approx(-np.log(there.compute["median"]), abs=0.2)
    assert back.values[0] == pytest.approx(there.values[1])


def test_a_recipe_against_itself_is_as_good_as_not(additive, planted, quick):
    again = forecast.fit(forecast.read_runs(planted(0)), law="additive", seed=1, **quick)
    found = forecast.compare_recipes(additive, again, flops=FLOPS)
    assert found.probability == pytest.approx(0.5, abs=0.1)
    assert found.compute["q05"] < 1 < found.compute["q95"]


def test_two_groups_of_one_posterior(two_groups):
    found = forecast.compare_recipes(two_groups, two_groups, flops=FLOPS, groups=("one", "other"))
    assert found.names == ("one", "other")
    assert found.probability < 0.01  # its floor is twice as high
    assert found.compute["median"] == pytest.approx(1000)
    assert "over 1,000 times the compute" in found.sentence
    assert "under 1%" in found.sentence


def test_the_other_recipe_gains_with_compute_in_the_curve(additive, better):
    curve = forecast.compare_recipes(additive, better).curve
    assert curve["flops"].is_monotonic_increasing
    assert (curve[["a", "b"]].diff().dropna() <= 0).all(axis=None)
    assert (curve["q05"] <= curve["median"]).all()
    assert (curve["median"] <= curve["q95"]).all()


def test_returns_are_compared_where_asked_for(nethack):
    again = replace(nethack, runs=replace(nethack.runs, source="again"))
    found = forecast.compare_recipes(nethack, again, objective="return", flops=1e18)
    assert found.objective == "return"
    assert found.values[0]["median"] > 1000
    assert found.probability == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize(
    ("choices", "told"),
    [
        ({"flops": 0.0}, "flops is 0"),
        ({"flops": 1e40}, "forecasts stop"),
        ({"objective": "return"}, "do not both have a return"),
        ({"groups": ("chess", None)}, "no group 'chess'"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_sentence(additive, better, choices, told):
    with pytest.raises(forecast.ForecastError, match=r"\.$") as error:
        forecast.compare_recipes(additive, better, **choices)
    assert told in str(error.value)


def test_one_recipe_twice_is_refused(additive):
    with pytest.raises(forecast.ForecastError, match="given twice"):
        forecast.compare_recipes(additive, additive)
    with pytest.raises(forecast.ForecastError, match=r"what forecast\.fit returned"):
        forecast.compare_recipes(additive, "runs.csv")


def test_the_command_answers_as_python_does(additive, better, two_groups, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, posterior in {"a.nc": additive, "b.nc": better, "both.nc": two_groups}.items():
        posterior.save(name)
    asked = CliRunner().invoke(app, ["compare", "a.nc", "b.nc", "--flops", "1e19", "--json"])
    assert asked.exit_code == 0, asked.stderr
    found, wanted = json.loads(asked.stdout), forecast.compare_recipes(additive, better, flops=FLOPS)
    assert found["compute"] == pytest.approx(wanted.compute)
    assert found["probability"] == pytest.approx(wanted.probability)
    shown = CliRunner().invoke(app, ["compare", "both.nc"])
    assert shown.exit_code == 0, shown.stderr
    assert "that of other" in " ".join(shown.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("both.nc", "--group", "one"), "give it twice"),
        (("one.nc",), "give a second table"),
        (("one.nc", "both.nc"), "several groups"),
        (("one.nc", "both.nc", "--group", "all", "--group", "third"), "'third'"),
    ],
)
def test_unclear_questions_are_refused(additive, two_groups, tmp_path, monkeypatch, capsys, arguments, told):
    monkeypatch.chdir(tmp_path)
    call = command(main, "forecast", monkeypatch, capsys)
    additive.save("one.nc")
    two_groups.save("both.nc")
    assert_refused(call("compare", *arguments), told)
