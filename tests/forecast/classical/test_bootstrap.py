"""The bootstrap of parametric laws: seeds, trajectories, intervals and refusals."""

import numpy as np
import pytest
from planted_surfaces import arrays, noisy_table

from forecast.classical import Columns, huber_lse, varpro
from forecast.classical.bootstrap import bootstrap


@pytest.mark.parametrize("method", [huber_lse, varpro])
def test_bootstrap_repeats_with_its_seed_and_only_then(method):
    table = noisy_table()
    first, again, other = (bootstrap(method, table, replicates=12, seed=seed) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first.draws, again.draws)
    assert not np.array_equal(first.draws, other.draws)
    np.testing.assert_array_equal(first.theta, method(*arrays(table)).theta)


def test_bootstrap_of_trajectories_is_wider_than_of_rows():
    table = noisy_table(sd=0.03)
    rows = Columns(**dict(zip(("params", "samples", "flops", "loss"), arrays(table), strict=True)))
    by_run, by_row = (bootstrap(varpro, source, replicates=40, seed=1) for source in (table, rows))
    assert by_run.draws[:, 3].std() > 1.3 * by_row.draws[:, 3].std()


def test_bootstrap_gives_intervals_and_widens_forecasts():
    table = noisy_table()
    plain = huber_lse(*arrays(table))
    drawn = bootstrap(huber_lse, table, replicates=40, seed=0)
    truth = 0.5 / 0.9  # β / (α + β)
    interval = drawn.exponents(0.95)["params"]
    assert interval.lower < truth < interval.upper
    there = dict(params=[1e9], samples=[1e12], flops=[6e21])
    near, far = plain.forecast_loss(**there), drawn.forecast_loss(**there)
    assert far.sd_log[0] > near.sd_log[0] == pytest.approx(plain.scale)
    assert far.dof[0] == table.loss.size - 5


def test_bootstrap_refuses_one_trajectory_and_too_few_replicates():
    table = noisy_table()
    one = Columns(**{**vars(table), "run": np.full(table.loss.size, "a", dtype=object)})
    with pytest.raises(ValueError, match="one trajectory"):
        bootstrap(varpro, one)
    with pytest.raises(ValueError, match="at least 2 replicates"):
        bootstrap(varpro, table, replicates=1)
