"""Forecasts of clones whose demonstrator's own loss is known."""

import numpy as np
import pytest

import forecast

FLOOR = 0.3
"""The irreducible loss of the planted table."""


@pytest.fixture(scope="module")
def table(planted):
    return planted(5)


@pytest.fixture(scope="module")
def cloned(table, quick):
    return forecast.fit(table.assign(expert_loss=FLOOR), **quick)


def far(posterior):
    """Losses of new runs at a thousand times the compute [S, 5], and their sizes."""
    budget = 1e3 * posterior.largest_flops()
    sizes = np.geomspace(1e8, 1e10, 5)
    return posterior.predict(sizes, budget / posterior.cost["all"](sizes)).loss, sizes


def test_no_forecast_lies_below_the_demonstrator(cloned, table, quick):
    loss, _ = far(cloned)
    assert loss.min() >= FLOOR
    free, _ = far(forecast.fit(table, **quick))
    assert free.min() < FLOOR
    widths = [np.diff(np.quantile(np.log(x), [0.05, 0.95], axis=0), axis=0) for x in (loss, free)]
    assert (widths[0] < widths[1]).all()


def test_sizes_stay_apart_where_draws_fall_to_it(cloned):
    found = forecast.recommend(cloned, flops=1e5 * cloned.largest_flops())
    assert found.loss["q05"] == pytest.approx(FLOOR, rel=0.02)
    assert found.regret["loss_regret"].is_unique


def test_the_option_does_what_the_column_does(cloned, table, quick, tmp_path):
    given = forecast.fit(table, expert_loss=FLOOR, **quick)
    assert all(np.array_equal(given.draws[name], cloned.draws[name]) for name in given.draws)
    given.save(tmp_path / "p.nc")
    loaded = forecast.load_posterior(tmp_path / "p.nc")
    assert loaded.expert_loss == {"all": FLOOR}
    np.testing.assert_array_equal(far(loaded)[0], far(cloned)[0])


def test_a_table_of_returns_has_no_expert_loss(table):
    played = table.drop(columns="loss").assign(return_mean=1 / table["loss"], episodes=10)
    with pytest.raises(forecast.ForecastError, match="has no losses; leave expert_loss out"):
        forecast.fit(played, expert_loss=FLOOR)


def test_a_demonstrator_has_one_loss(table):
    mixed = table.assign(expert_loss=[FLOOR, *[0.2] * (len(table) - 1)])
    with pytest.raises(forecast.TableError, match=r"expert_loss.*has 2 values in group `all` \(0.2 to 0.3\)"):
        forecast.read_runs(mixed)
