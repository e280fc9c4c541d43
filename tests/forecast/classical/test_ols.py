"""Straight lines in logarithms against scipy's regression, and what is forecast from them."""

import numpy as np
import pytest
from scipy import stats

from forecast.classical import LogForecast
from forecast.classical.ols import fit_line, return_on_loss


def test_line_matches_linregress_and_textbook_intervals():
    rng = np.random.default_rng(1)
    x = np.geomspace(1e14, 1e18, 9)
    y = 40 * x**-0.2 * np.exp(rng.normal(0, 0.1, x.size))
    line, reference = fit_line(x, y), stats.linregress(np.log(x), np.log(y))
    t = stats.t.ppf(0.975, x.size - 2)
    assert line.slope == pytest.approx(reference.slope, rel=1e-10)
    assert line.intercept == pytest.approx(reference.intercept, rel=1e-10)
    assert line.slope_se == pytest.approx(reference.stderr, rel=1e-9)
    assert line.intercept_se == pytest.approx(reference.intercept_stderr, rel=1e-9)
    assert line.exponent(0.95).upper == pytest.approx(reference.slope + t * reference.stderr)
    assert line.coefficient(0.95).lower == pytest.approx(np.exp(reference.intercept - t * reference.intercept_stderr))

    design = np.column_stack([np.ones(x.size), np.log(x)])
    residual = np.log(y) - design @ np.linalg.lstsq(design, np.log(y))[0]
    new = np.array([1.0, np.log(1e19)])
    variance = residual @ residual / (x.size - 2) * (1 + new @ np.linalg.inv(design.T @ design) @ new)
    forecast = line.forecast([1e19])
    assert forecast.sd_log[0] == pytest.approx(np.sqrt(variance), rel=1e-6)
    expected = np.exp(forecast.mean_log[0] + stats.t.ppf(0.05, 7) * np.sqrt(variance))
    assert forecast.quantile(0.05)[0] == pytest.approx(expected, rel=1e-6)


def test_intervals_of_a_line_cover_at_their_level():
    rng = np.random.default_rng(2)
    x = np.geomspace(1e14, 1e17, 7)
    inside = np.zeros(3)
    for _ in range(400):
        line = fit_line(x, 50 * x**-0.15 * np.exp(rng.normal(0, 0.2, x.size)))
        slope, coefficient = line.exponent(0.8), line.coefficient(0.8)
        low, high = line.forecast(1e18).quantile([0.1, 0.9])
        new = 50 * 1e18**-0.15 * np.exp(rng.normal(0, 0.2))
        inside += [slope.lower < -0.15 < slope.upper, coefficient.lower < 50 < coefficient.upper, low < new < high]
    # 80% of 400 with a binomial standard deviation of 8; three are allowed.
    assert np.all(np.abs(inside - 320) < 24), inside


def test_forecast_quantiles_have_the_shape_of_levels_then_points():
    forecast = LogForecast(mean_log=np.zeros(4), sd_log=np.ones(4), dof=np.array([1.0, 2.5, 30.0, np.inf]))
    quantiles = forecast.quantile([0.1, 0.5, 0.9])
    assert quantiles.shape == (3, 4)
    assert quantiles[1] == pytest.approx(np.ones(4))
    assert np.log(quantiles[2, 3]) == pytest.approx(stats.norm.ppf(0.9))
    assert forecast.sd == pytest.approx([np.inf, np.sqrt(5.0), np.sqrt(30 / 28), 1.0])
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        forecast.quantile([0.0, 0.5])


def test_return_is_a_line_in_loss_and_left_out_rows_are_counted():
    loss = np.array([0.2, 0.3, 0.4, 0.5, 0.7, 0.9, 0.25])
    reward = 120 * loss**-1.8
    reward[4:] = [-3.0, 10.0, np.nan]
    found = return_on_loss(loss, reward, max_loss=0.8)
    assert found.exponent().value == pytest.approx(-1.8, abs=1e-9)
    assert found.line.coefficient().value == pytest.approx(120, rel=1e-9)
    assert (found.not_positive, found.above_max_loss, found.without_return) == (1, 1, 1)
    assert found.forecast([0.1]).quantile(0.5)[0] == pytest.approx(120 * 0.1**-1.8, rel=1e-9)


@pytest.mark.parametrize(("x", "y"), [([1, 2], [1, 2]), ([3, 3, 3], [1, 2, 3]), ([1, 2, -3], [1, 2, 3]), ([1, 2], [1])])
def test_line_refuses_what_it_cannot_fit(x, y):
    with pytest.raises(ValueError, match="the line of loss on compute got"):
        fit_line(x, y, what="loss on compute")
