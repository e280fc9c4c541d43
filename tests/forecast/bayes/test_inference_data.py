"""A posterior in arviz's form: its own functions take it, and what it says of rows is what the model says."""

import arviz as az
import matplotlib as mpl
import numpy as np
import pytest
from scipy import stats

from forecast.bayes.sampler import row_forecasts, row_likelihoods

mpl.use("Agg")


@pytest.fixture(scope="module")
def of_nethack(nethack):
    return nethack.inference_data()


@pytest.fixture(scope="module")
def of_groups(two_groups):
    return two_groups.inference_data()


def test_every_group_has_its_rows_by_line(of_nethack, nethack):
    rows = nethack.encoding.rows
    assert {"posterior", "sample_stats", "observed_data", "log_likelihood", "posterior_predictive"} < set(of_nethack)
    table = nethack.runs.table.loc[rows]
    observed = of_nethack["observed_data"]
    np.testing.assert_array_equal(observed["row"], rows)
    np.testing.assert_allclose(np.exp(observed["log_loss"]), table["loss"])
    np.testing.assert_allclose(of_nethack["constant_data"]["params"], table["params"])
    played = table[table["return_mean"].notna()]
    offset = nethack.reference().return_offset
    np.testing.assert_allclose(np.exp(observed["log_return"]) - offset, played["return_mean"])
    np.testing.assert_array_equal(observed["played"], played.index)


def test_likelihoods_are_those_of_the_fit(of_nethack, nethack):
    weights = nethack.encoding.chain_weights(2)
    wanted = row_likelihoods(nethack.spec, nethack.encoding.data, nethack.draws, weights)
    found = of_nethack["log_likelihood"]["log_loss"]
    assert found.dims == ("chain", "draw", "row")
    np.testing.assert_allclose(found, wanted[..., : found.shape[-1]])


@pytest.mark.slow
def test_predictions_follow_the_noise_of_the_model(of_groups, two_groups):
    """Of the first checkpoint of a run: Student t around the law, with the scale of the draw."""
    data, parameters = two_groups.encoding.data, two_groups.parameters
    drawn = of_groups["posterior_predictive"]["log_loss"].to_numpy()
    first = np.flatnonzero(np.asarray(data.gap)[: drawn.shape[-1]] > 1e5)
    location, scale = (x[:, first] for x in row_forecasts(parameters, data))
    z = (drawn[..., first].reshape(location.shape) - location) / scale
    uniform = stats.t.cdf(z, np.asarray(parameters.noise["dof"])[:, None])
    assert len(first) == 12
    assert stats.kstest(uniform.ravel(), "uniform").pvalue > 1e-3
    seen = of_groups["observed_data"]["log_loss"].to_numpy()
    assert np.mean([0.05 < p < 0.95 for p in (drawn < seen).mean((0, 1))]) > 0.8


def test_sites_of_groups_share_an_axis(of_groups, two_groups):
    shift = of_groups["posterior"]["level_shift"]
    assert shift.dims == ("chain", "draw", "group")
    np.testing.assert_array_equal(shift.sel(group="other"), two_groups.draws["level_shift@1"])
    assert sorted(of_groups["posterior"]["group"].to_numpy()) == ["one", "other"]


@pytest.mark.filterwarnings("ignore:Estimated shape parameter")  # of rows that only one view counts
def test_loo_takes_it_without_further_words(of_nethack, nethack):
    found = az.loo(of_nethack, pointwise=True)
    assert found.n_data_points == len(nethack.encoding.rows)
    assert np.isfinite(found.elpd_loo)
    both = (nethack.encoding.weights[:, : found.n_data_points] > 0.01).all(axis=0)
    assert (found.pareto_k.to_numpy()[both] < 1).mean() > 0.9


@pytest.mark.filterwarnings("ignore:Passing a dict")  # ArviZ to matplotlib
def test_summary_and_plots_of_arviz_work(of_nethack):
    assert {"level_shift[all]", "params_drift_steps[all, 0]"} <= set(az.summary(of_nethack).index)
    panels = np.ravel(az.plot_ppc(of_nethack, num_pp_samples=5))
    assert len(panels) == 2
    assert az.plot_trace(of_nethack, var_names=["level_shift", "memory"]).shape == (2, 2)
    az.plot_loo_pit(of_nethack, y="log_loss")
    mpl.pyplot.close("all")


def test_a_thinned_posterior_thins_its_diagnostics(two_groups):
    few = two_groups.thinned(100)
    assert few.diagnostics.diverging.shape == few.draws["memory"].shape == (2, 50)
