"""What all classical methods have in common: units, answers, options and refusals."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from planted_surfaces import BUDGETS, SIZES, arrays, grid, noisy_table

from forecast import classical
from forecast.classical import Columns, fit, fit_return, varpro
from forecast.classical.bootstrap import bootstrap
from forecast.runs.read import read_runs


@pytest.mark.parametrize("unit", [1e-6, 1e3])
@pytest.mark.parametrize("method", list(classical.METHODS))
def test_exponents_do_not_depend_on_units(method, unit):
    params, samples, flops, loss = arrays(noisy_table())
    plain = classical.METHODS[method](params, samples, flops, loss)
    scaled = classical.METHODS[method](params * unit, samples / unit**2, flops * unit**3, loss)
    for key, interval in plain.exponents().items():
        assert scaled.exponents()[key].value == pytest.approx(interval.value, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("method", list(classical.METHODS))
def test_every_method_answers_the_same_of_the_published_table(method):
    runs = read_runs("nethack-transformer")
    found = fit(runs, method)
    assert found.name == method
    exponents = found.exponents(0.9)
    assert {"params", "samples"} < set(exponents)
    params, samples = found.optimal([1e18, 1e19])
    assert np.all(np.diff(params) > 0)
    assert found.optimal([1e18], cost=lambda n: 12 * n)[1] < samples[0]
    forecast = found.forecast_loss(params, samples, [1e18, 1e19])
    quantiles = forecast.quantile([0.05, 0.5, 0.95])
    assert quantiles.shape == (3, 2)
    assert np.all(np.diff(quantiles, axis=0) > 0)
    assert np.all(quantiles[1, 1] < quantiles[1, 0])
    assert found.forecast_loss(1e7, 1e10, 1e18).mean_log.shape == ()


def test_fit_on_runs_takes_one_group_known_methods_and_options():
    table = noisy_table()
    frame = pd.DataFrame({"group": "a", "return_mean": 9 * table.loss**-2, **vars(table)})
    runs = SimpleNamespace(table=frame)
    assert fit(runs, "huber_lse", max_loss=1.0).left_out == (table.loss >= 1).sum()
    drawn = fit(runs, "varpro", replicates=4, seed=3, max_loss=1.0)
    np.testing.assert_array_equal(
        drawn.draws, bootstrap(partial(varpro, max_loss=1.0), table, replicates=4, seed=3).draws
    )
    assert fit_return(runs).exponent().value == pytest.approx(-2)
    with pytest.raises(ValueError, match="choose one of power_law, parabola, huber_lse, varpro"):
        fit(runs, "chinchilla")
    with pytest.raises(ValueError, match="leave replicates at 0"):
        fit(runs, "power_law", replicates=5)
    with pytest.raises(ValueError, match="holds 2 groups"):
        fit(SimpleNamespace(table=pd.concat([frame, frame.assign(group="b")])), "varpro")
    with pytest.raises(ValueError, match="no column return_mean"):
        fit_return(SimpleNamespace(table=frame.drop(columns="return_mean")))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": [0.5, np.nan, 0.3]}, "column loss holds nan in row 1"),
        ({"samples": [1.0, 2.0, 0.0]}, "column samples holds 0 in row 2"),
        ({"params": [1.0, 2.0]}, "column params has shape"),
        ({"run": np.array(["a"], dtype=object)}, "name the run of every row"),
    ],
)
def test_columns_name_what_is_wrong(change, message):
    good = {key: [1.0, 2.0, 3.0] for key in ("params", "samples", "flops", "loss")}
    with pytest.raises(ValueError, match=message):
        Columns(**{**good, **change})


@pytest.mark.parametrize("method", list(classical.METHODS))
def test_too_small_a_table_is_refused_in_one_sentence(method):
    params, samples, flops = grid(sizes=SIZES[:2], budgets=BUDGETS[:4])
    with pytest.raises(ValueError, match=r"add (runs|sizes)") as caught:
        classical.METHODS[method](params, samples, flops, np.ones(params.size))
    assert "\n" not in str(caught.value)
