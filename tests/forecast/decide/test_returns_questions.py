"""The expert's return, what the answer rests on, and how many games a difference takes."""

import numpy as np
import pytest
from scipy.stats import norm
from typer.testing import CliRunner

import forecast
from forecast.cli.commands import app
from forecast.decide.sensitivity import bounds_lowered, enough_to_tell
from forecast.runs.table import expert_returns


@pytest.fixture(scope="module")
def table(planted):
    made = planted(3)
    rng = np.random.default_rng(3)
    returns = 1000 * np.exp(-2 * made["loss"]) * np.exp(0.1 * rng.standard_normal(len(made)))
    return made.assign(return_mean=returns, return_se=0.05 * returns, episodes=100, expert_return=900.0)


@pytest.fixture(scope="module")
def cloned(table, quick):
    return forecast.fit(table, **quick)


# ---- the expert ---------------------------------------------------------------------------------------------------


def test_the_column_bounds_returns_as_the_option_does(table, cloned, quick):
    assert cloned.expert_return == {"all": 900.0}
    given = forecast.fit(table.drop(columns="expert_return"), expert_return=900.0, **quick)
    assert all(np.array_equal(cloned.draws[name], given.draws[name]) for name in cloned.draws)


def test_one_group_has_one_expert(table):
    mixed = table.assign(expert_return=[900.0, *[800.0] * (len(table) - 1)])
    with pytest.raises(forecast.TableError, match=r"expert_return.*has 2 values in group `all` \(800 to 900\)"):
        forecast.read_runs(mixed)


def test_each_set_of_demonstrations_has_an_expert_of_its_own(table):
    two = table.assign(data=["a", *["b"] * (len(table) - 1)], expert_return=[900.0, *[800.0] * (len(table) - 1)])
    assert expert_returns(forecast.read_runs(two).table) == {"all": 900.0}


def test_runs_that_pass_their_expert_are_not_bounded_by_it(table):
    passed = forecast.read_runs(table.assign(expert_return=0.5 * table["return_mean"].max()))
    assert expert_returns(passed.table) == {}
    assert any("Runs return more than their `expert_return`" in note for note in passed.notes)
    assert not any("expert_return" in note for note in forecast.read_runs(table).notes)


def test_an_expert_may_lose_as_at_pong(table, quick):
    pong = table.assign(return_mean=21 * np.exp(-table["loss"]) - 21, expert_return=-4.0)
    posterior = forecast.fit(pong, **quick)
    assert posterior.expert_return == {"all": -4.0}
    assert forecast.recommend(posterior, flops=1e3 * pong["flops"].max()).returns["median"] < -3.9
    with pytest.raises(forecast.ForecastError, match="expert_return of all is -19, and runs reach"):
        forecast.fit(pong, expert_return=-19.0, **quick)


def test_half_of_the_experts_return_is_a_target(cloned, tmp_path):
    half = forecast.required(cloned, expert_share=0.5)
    assert half.value == 450.0
    assert half.flops == forecast.required(cloned, returns=450.0).flops
    cloned.save(tmp_path / "p.nc")
    asked = CliRunner().invoke(app, ["required", str(tmp_path / "p.nc"), "--expert-share", "0.5"])
    assert asked.exit_code == 0
    assert "Return 450 with probability 0.5" in asked.output


def test_no_share_of_an_unknown_expert(nethack, tmp_path):
    with pytest.raises(forecast.ForecastError, match="the expert's return is not known"):
        forecast.required(nethack, expert_share=0.5)
    both = CliRunner().invoke(app, ["required", "nethack-transformer", "--expert-share", "0.5"])
    assert "the expert's return is not known" in str(both.exception)
    both = CliRunner().invoke(app, ["required", "nethack-transformer", "--expert-share", "0.5", "--loss", "0.2"])
    assert "give one target" in str(both.exception)


# ---- what the answer rests on ---------------------------------------------------------------------------------------


def test_a_lower_floor_is_a_lower_loss_but_by_no_larger_part(nethack):
    answer = forecast.recommend(nethack, flops=1e20)
    moved = bounds_lowered(nethack, answer).set_index("bound")
    floor = moved.loc["loss that no compute removes"]
    assert 0.9 * floor["loss"] < floor["loss_if"] < floor["loss"]
    assert floor["return_if"] > floor["return"]  # a lower loss is a higher return
    nothing = bounds_lowered(nethack, answer, part=0.0).set_index("bound")
    np.testing.assert_allclose(nothing["return_if"], nothing["return"])
    assert np.isnan(moved.loc["highest return", "loss"])


def test_a_known_bound_is_not_moved(cloned):
    assert list(bounds_lowered(cloned, forecast.recommend(cloned, flops=1e20))["bound"]) == [
        "loss that no compute removes"
    ]


def test_games_that_tell_a_difference_are_those_of_the_textbook(cloned):
    enough = enough_to_tell(cloned, "all")
    assert enough is not None
    # One game has a standard deviation of .05 x 10 of the mean: two means of k games, on the log scale.
    k = 2 * (0.5 * (norm.ppf(0.975) + norm.ppf(0.8)) / np.log(1.1)) ** 2
    assert enough.games == pytest.approx(k, abs=1)
    # Trainings scatter by about .1 beyond that.
    assert enough.trainings == pytest.approx(k / 25, rel=0.8)


def test_power_is_what_is_said():
    """Of 4,000 pairs of means of so many games, 80% of those that differ by 10% are told apart."""
    rng, games = np.random.default_rng(0), 433
    a, b = (np.exp(rng.normal(shift, 0.5 / np.sqrt(games), 4000)) for shift in (0.0, np.log(1.1)))
    told = np.log(b / a) > norm.ppf(0.975) * 0.5 * np.sqrt(2 / games)
    assert told.mean() == pytest.approx(0.8, abs=0.03)
    assert games == pytest.approx(2 * (0.5 * (norm.ppf(0.975) + norm.ppf(0.8)) / np.log(1.1)) ** 2, abs=1)
