"""The pace beyond the data, learned from how the law would have forecast the upper budgets of the same table."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from forecast import load_posterior, read_runs
from forecast.bayes.hindcasts import hindcasts
from forecast.bayes.pace import CARRIED, LEAST, MOST, SCALE, Hindcast, Pace, learned_pace

DATA = Path(__file__).parents[2] / "data"


def of_law(planted, seed, change, noise=0.002):
    """A planted table whose law is changed as a function of compute."""
    table = planted(seed, noise=noise, memory=0.1, sizes=8, checkpoints=12)
    return read_runs(
        table.assign(loss=table["loss"] * change(table["flops"] / table["flops"].max())).drop(columns="run")
    )


def test_without_hindcasts_the_prior_holds():
    assert learned_pace([], 0.1) == Pace(0.0, SCALE, 0)
    assert Pace().factors == pytest.approx((np.exp(-2.353 * SCALE), np.exp(2.353 * SCALE)), rel=1e-3)
    assert "too short" in Pace().sentence


def test_table_that_went_as_forecast_earns_a_narrow_pace():
    exact = [Hindcast(age=a, ahead=a, error=0.02) for a in (0.3, 0.8, 1.3, 1.8)]
    pace = learned_pace(exact, law_sd=0.1)
    assert LEAST <= pace.scale < 0.75 * SCALE
    assert pace.hindcasts == 4
    assert "4 hindcasts" in pace.sentence


def test_irregular_table_gets_a_wide_pace_between_bounds():
    missed = [Hindcast(age=a, ahead=a, error=e) for a, e in ((0.3, 0.5), (0.8, -0.4), (1.3, 0.6), (1.8, -0.7))]
    assert learned_pace(missed, law_sd=0.1).scale == MOST
    assert learned_pace(missed, law_sd=2.0).scale == LEAST  # the law was as unsure as that by itself


def test_newest_error_is_carried_on_in_part():
    pace = learned_pace([Hindcast(0.3, 0.3, 0.3), Hindcast(0.8, 0.8, -0.6)], law_sd=0.1)
    assert pace.centre == pytest.approx(CARRIED * 0.3)
    low, high = pace.factors
    assert np.log(low * high) / 2 == pytest.approx(pace.centre)


def test_law_that_holds_is_hindcast_well(planted):
    runs = of_law(planted, 0, lambda c: 1.0)
    made = hindcasts(runs, "drifting")
    assert len(made) >= 3
    assert [h.age for h in made] == sorted(h.age for h in made)
    assert np.abs([h.error for h in made]).max() < 0.3


def test_frontier_that_bends_down_is_seen_as_falling_faster(planted):
    straight, bent = (
        hindcasts(of_law(planted, 1, change), "drifting")
        for change in (lambda c: 1.0, lambda c: np.minimum(1.0, (c / 0.45) ** -0.15))
    )
    assert bent[0].error > straight[0].error + 0.1


def test_short_tables_and_tables_of_returns_have_none(planted, nethack_runs):
    table = planted(2, sizes=6, checkpoints=12).drop(columns="run")
    top = table[table["flops"] >= 0.03 * table["flops"].max()]
    assert hindcasts(read_runs(top), "drifting") == []
    returns = read_runs(nethack_runs.table.dropna(subset="return_mean").drop(columns=["loss", "loss_se"]))
    assert hindcasts(returns, "drifting") == []


def test_posterior_uses_and_keeps_its_pace(nethack, tmp_path):
    pace = nethack.pace()
    assert pace.hindcasts == 4
    nethack.save(tmp_path / "posterior.nc")
    assert load_posterior(tmp_path / "posterior.nc").pace() == pace
    beyond = [3e7], [1e13]
    faster = replace(nethack, paces={"all": Pace(0.3, 1e-9, 1)}).log_loss(*beyond)
    as_the_law = nethack.log_loss(*beyond, pace=False)
    assert (faster < as_the_law).all()
    shown = nethack.summary().set_index("parameter").loc["pace"]
    assert (shown["q05"], shown["q95"]) == pytest.approx(pace.factors, rel=0.3)


def test_posterior_of_before_has_the_prior_pace():
    assert load_posterior(DATA / "posterior.nc").pace() == Pace()
