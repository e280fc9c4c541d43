"""What the page holds to answer from: as exact as its digits show, at any budget, size and number of passes."""

import base64
from typing import Any

import numpy as np
import pytest

import forecast
from forecast.report import figures
from forecast.report.grid import SIZES, grid

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@pytest.fixture(scope="module")
def held(posterior: forecast.Posterior, recommendation: forecast.Recommendation) -> dict[str, Any]:
    return grid(figures.look(posterior, recommendation), passes=True)


def unpacked(packed: dict[str, Any]) -> np.ndarray:
    levels = np.frombuffer(base64.b64decode(packed["data"]), "<u2").astype(float)
    values = packed["low"] + (packed["high"] - packed["low"]) * levels / 65535
    return packed["scale"] * np.sinh(values)


@pytest.mark.parametrize("passes", [1.0, 8.0])
def test_nodes_are_the_forecast_of_a_new_run(
    posterior: forecast.Posterior, held: dict[str, Any], passes: float
) -> None:
    coefficient, exponent, fixed = held["cost"]
    shape = (len(held["passes"]), 5, len(held["budgets"]), SIZES)
    offsets = np.linspace(-held["reach"], held["reach"], SIZES)
    for i in (2, len(held["budgets"]) - 3):
        params = 10 ** (held["centres"][i] + offsets)
        samples = 10 ** held["budgets"][i] / (fixed + coefficient * params**exponent)
        run = posterior.predict(params, samples, unique_samples=samples / passes)
        for target, draws in (("loss", run.loss), ("return", run.returns)):
            values = unpacked(held["targets"][target]).reshape(shape)[held["passes"].index(passes), :, i]
            np.testing.assert_allclose(values, np.quantile(draws, QUANTILES, axis=0), rtol=2e-3)


def test_budgets_hold_the_end_of_the_table_and_go_beyond(
    posterior: forecast.Posterior, recommendation: forecast.Recommendation, held: dict[str, Any]
) -> None:
    budgets = 10 ** np.array(held["budgets"])
    assert np.all(np.diff(budgets) > 0)
    assert np.isclose(budgets, posterior.largest_flops(), rtol=1e-4).any()
    assert budgets[-1] == pytest.approx(10 * recommendation.flops, rel=1e-3)
