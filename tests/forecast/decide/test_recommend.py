"""Recommendations against searches of our own, their constraints, and the file that training reads."""

import tomllib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forecast import required
from forecast.bayes.posterior import OPTIMUM_SD
from forecast.decide import recommend
from training.design.recommendation import read_recommendation

AHEAD = [0.1, 10.0, 1000.0]  # times the largest compute of the table


def expected_loss(posterior, params, flops, max_samples=np.inf):
    samples = np.minimum(flops / posterior.cost["all"](params), max_samples)
    return np.exp(posterior.log_loss(params, samples)).mean(axis=0)


def expected_return(posterior, params, flops):
    log_loss = posterior.log_loss(params, flops / posterior.cost["all"](params))
    return posterior.returns_at(log_loss, params, new_run=False).mean(axis=0)


def fine_grid(centre, decades=3.0):
    return centre * np.logspace(-decades, decades, 1201)


# ---- the optimum --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", AHEAD)
def test_recommended_size_minimises_the_expected_loss(additive, times):
    flops = times * additive.largest_flops()
    found = recommend(additive, flops=flops)
    assert found.objective == "loss"
    grid = fine_grid(found.params)
    loss = expected_loss(additive, grid, flops)
    best = grid[loss.argmin()]
    assert 0 < loss.argmin() < grid.size - 1
    assert found.params == pytest.approx(best, rel=0.15)  # the sizes weighed are up to 15% apart
    assert expected_loss(additive, np.array([found.params]), flops)[0] <= loss.min() * 1.0005
    assert found.samples * additive.cost["all"](found.params) == pytest.approx(flops)
    assert found.flops_spent == pytest.approx(flops)


def test_recommended_size_maximises_the_expected_return(nethack):
    flops = 10 * nethack.largest_flops()
    found = recommend(nethack, flops=flops)
    assert found.objective == "return"
    grid = fine_grid(found.params, decades=1.0)
    returns = expected_return(nethack, grid, flops)
    assert expected_return(nethack, np.array([found.params]), flops)[0] >= returns.max() * 0.999
    by_loss = recommend(nethack, flops=flops, objective="loss")
    losses = expected_loss(nethack, grid, flops)
    assert expected_loss(nethack, np.array([by_loss.params]), flops)[0] <= losses.min() * 1.0005


def test_recommended_size_is_near_the_planted_optimum(additive):
    """L = E + A·(N/1e7)^-α + B·(D/1e9)^-β with 6·N·D = C, solved with the planted numbers."""
    flops = 10 * additive.largest_flops()
    grid = np.geomspace(1e7, 1e10, 4001)
    truth = grid[np.argmin(0.3 + 0.4 * (grid / 1e7) ** -0.45 + 0.5 * (flops / (6 * grid) / 1e9) ** -0.55)]
    found = recommend(additive, flops=flops)
    low, high = found.optimum_params["q05"], found.optimum_params["q95"]
    slack = (high / low) ** 0.5
    assert low / slack < truth < high * slack
    assert high / low < 5
    assert found.optimum_params["q05"] <= found.params <= found.optimum_params["q95"]


def test_best_size_is_never_surer_than_laws_are_right(additive):
    """A tenth in log N inside the data, more beyond, however many clean rows there are; samples mirror it."""
    inside, beyond = (recommend(additive, flops=f * additive.largest_flops()) for f in (1.0, 1e3))
    for found, ahead in ((inside, 0.0), (beyond, 3.0)):
        width = np.log(found.optimum_params["q95"] / found.optimum_params["q05"])
        assert width > 0.95 * 2 * 1.645 * OPTIMUM_SD * np.sqrt(1 + ahead)
        mirrored = np.log(found.optimum_samples["q95"] / found.optimum_samples["q05"])
        assert mirrored == pytest.approx(width, rel=0.02)  # this table costs 6·N·D


def test_limit_that_decides_the_size_leaves_nothing_unsure(additive):
    flops = 10 * additive.largest_flops()
    free = recommend(additive, flops=flops)
    corner = recommend(additive, flops=flops, max_samples=free.samples / 20)
    q = corner.optimum_samples
    assert q["q25"] == pytest.approx(free.samples / 20)
    assert q["q95"] == pytest.approx(free.samples / 20)


def test_predicted_loss_is_that_of_the_recommended_run(nethack):
    found = recommend(nethack, flops=1e20)
    table = nethack.predict(found.params, found.samples).table().set_index("target")
    for told, target in ((found.loss, "loss"), (found.returns, "return")):
        for name, value in told.items():
            assert table.loc[target, name] == pytest.approx(value)
    assert found.ahead == pytest.approx(np.log10(1e20 / nethack.largest_flops()), abs=1e-6)


def test_far_beyond_the_table_is_said_and_told_with_care(nethack):
    near, far = recommend(nethack, flops=2e19), recommend(nethack, flops=1e22)
    assert "10 times the largest compute of the table" in near.sentence
    assert "5,000 times the largest compute of the table" in far.sentence
    assert far.to_dict()["diagnostics"]["level"] in ("amber", "red")
    assert "checked to 100 times" in far.to_dict()["diagnostics"]["sentence"]
    assert "checked to 100 times" not in near.to_dict()["diagnostics"]["sentence"]
    reached = required(nethack, returns=3000.0)
    assert "times the largest compute" in reached.sentence or "within the compute of the table" in reached.sentence


def test_the_size_of_the_other_objective_stands_beside_it(nethack, additive):
    by_return, by_loss = (recommend(nethack, flops=1e20, objective=o) for o in ("return", "loss"))
    assert by_return.other_params["recommended"] == by_loss.params
    assert by_loss.other_params["recommended"] == by_return.params
    for quantile in ("q05", "median", "q95"):
        assert by_return.other_params[quantile] == by_loss.optimum_params[quantile]
    assert "chosen for the highest return. For the least loss it would be" in by_return.reason
    assert "the size of highest return lies" in by_return.sentence
    assert "the size of least loss lies" in by_loss.sentence
    effect = nethack.parameters.return_law.size[:, 0]
    assert by_return.size_effect["median"] == pytest.approx(10 ** np.median(effect), rel=1e-3)
    assert recommend(additive, flops=1e20).reason is None


@pytest.mark.parametrize(
    ("choices", "told"),
    [
        ({"flops": 0.0}, "flops is 0"),
        ({"flops": np.inf}, "flops is inf"),
        ({"flops": 1e40}, "forecasts stop 1,000,000 times outside the table"),
        ({"flops": 1e3}, "forecasts stop 1,000,000 times outside the table"),
        ({"flops": 1e20, "max_params": -1.0}, "max_params is -1"),
        ({"flops": 1e20, "max_samples": np.nan}, "max_samples is nan"),
        ({"flops": 1e20, "max_params": 3.0}, "below every size"),
        ({"flops": 1e20, "objective": "score"}, "auto, return, loss"),
        ({"flops": 1e20, "objective": "return"}, "no returns"),
        ({"flops": 1e20, "group": "chess"}, "name one of all"),
    ],
)
def test_bad_questions_are_refused_in_one_sentence(additive, choices, told):
    with pytest.raises(ValueError, match=r"\.$") as error:
        recommend(additive, **choices)
    assert told in str(error.value)


# ---- constraints --------------------------------------------------------------------------------------------------


def test_a_size_limit_is_used_up_and_the_rest_goes_into_samples(additive):
    flops = 10 * additive.largest_flops()
    free = recommend(additive, flops=flops)
    found = recommend(additive, flops=flops, max_params=free.params / 10)
    assert found.params == pytest.approx(free.params / 10)
    assert found.flops_spent == pytest.approx(flops)
    assert found.optimum_params["q95"] <= free.params / 10 * (1 + 1e-9)
    assert found.loss["median"] > free.loss["median"]
    assert found.constraints == {"max_params": free.params / 10}
    assert "max_params" in found.sentence


def test_limits_that_do_not_bind_change_nothing(additive):
    flops = additive.largest_flops()
    free = recommend(additive, flops=flops)
    for limits in ({"max_params": 1e30}, {"max_samples": 1e30}, {"max_params": 1e30, "max_samples": 1e30}):
        found = recommend(additive, flops=flops, **limits)
        assert (found.params, found.samples, found.loss) == (free.params, free.samples, free.loss)
        pd.testing.assert_frame_equal(found.regret, free.regret)


@pytest.mark.parametrize("fewer", [2.0, 30.0, 1000.0])
def test_few_samples_are_made_up_for_by_size_as_far_as_that_pays(additive, fewer):
    flops = 10 * additive.largest_flops()
    most = recommend(additive, flops=flops).samples / fewer
    found = recommend(additive, flops=flops, max_samples=most)
    assert found.samples <= most * (1 + 1e-9)
    assert found.flops_spent <= flops * (1 + 1e-9)
    grid = fine_grid(found.params)
    loss = expected_loss(additive, grid, flops, max_samples=most)
    assert expected_loss(additive, np.array([found.params]), flops, most)[0] <= loss.min() * 1.005


def test_budget_that_limits_leave_unspent_is_said(additive):
    flops = 10 * additive.largest_flops()
    free = recommend(additive, flops=flops)
    found = recommend(additive, flops=flops, max_params=free.params / 3, max_samples=free.samples / 3)
    assert found.params == pytest.approx(free.params / 3)
    assert found.samples == pytest.approx(free.samples / 3)
    assert found.flops_spent == pytest.approx(flops / 9, rel=1e-3)
    assert found.to_dict()["flops_spent"] == found.flops_spent
    assert "max_params" in found.sentence
    assert "max_samples" in found.sentence
    assert "spent" in found.sentence  # or "unspent": not all of the budget is used, and the reader must hear it


# ---- regret -------------------------------------------------------------------------------------------------------


def test_regret_is_least_at_the_optimum_and_grows_on_both_sides(additive):
    flops = 10 * additive.largest_flops()
    found = recommend(additive, flops=flops)
    regret = found.regret["loss_regret"].to_numpy()
    sizes = found.regret["params"].to_numpy()
    assert (regret >= 0).all()
    at = int(regret.argmin())
    assert sizes[at] == pytest.approx(found.params, rel=0.35)  # two steps of the grid
    near = (sizes > found.params / 1e3) & (sizes < found.params * 1e2)
    assert (np.diff(regret[near & (np.arange(sizes.size) <= at)]) < 0).all()
    assert (np.diff(regret[near & (np.arange(sizes.size) >= at)]) > 0).all()
    assert regret[at] < 0.01
    assert found.regret_of(found.params / 10)["loss_regret"] > 5 * regret[at]
    assert found.regret_of(found.params * 10)["loss_regret"] > 5 * regret[at]
    with pytest.raises(ValueError, match="is not between"):
        found.regret_of(sizes[-1] * 2)


def test_regret_without_uncertainty_is_zero_at_the_optimum(additive):
    """One draw: its own best is the recommendation."""
    sure = replace(additive, draws={k: v[:1, :1] for k, v in additive.draws.items()})
    found = recommend(sure, flops=10 * additive.largest_flops())
    assert found.regret_of(found.params)["loss_regret"] == pytest.approx(0.0, abs=1e-12)
    assert found.regret["loss_regret"].min() == 0.0
    law = expected_loss(sure, found.regret["params"].to_numpy(), found.flops)
    np.testing.assert_allclose(found.regret["loss_regret"], law / law.min() - 1, atol=1e-12)


def test_return_regret_is_nonnegative_and_least_at_the_optimum(nethack):
    found = recommend(nethack, flops=1e19)
    regret = found.regret["return_regret"].to_numpy()
    assert (regret >= 0).all()
    assert found.regret["params"][regret.argmin()] == pytest.approx(found.params, rel=1.0)
    assert {"loss_regret", "return_regret"} == set(found.regret_of(found.params))


# ---- the inverse question -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("probability", [0.2, 0.5, 0.9])
def test_required_budget_reaches_the_target_as_surely_as_wanted(additive, probability):
    target = recommend(additive, flops=10 * additive.largest_flops()).loss["median"]
    found = required(additive, loss=target, probability=probability)
    there = recommend(additive, flops=found.flops)
    reached = np.mean(additive.predict(there.params, there.samples).loss <= target)
    assert reached == pytest.approx(probability, abs=0.06)
    assert found.params == pytest.approx(there.params, rel=0.35)
    assert found.params * found.samples * 6 == pytest.approx(found.flops, rel=0.05)


def test_required_inverts_recommend(additive):
    flops = 30 * additive.largest_flops()
    found = required(additive, loss=recommend(additive, flops=flops).loss["median"])
    assert found.flops == pytest.approx(flops, rel=0.1)


def test_surer_and_better_cost_more(nethack):
    base = recommend(nethack, flops=10 * nethack.largest_flops()).returns["median"]
    budgets = [
        required(nethack, returns=r, probability=p).flops for r, p in ((base / 2, 0.5), (base, 0.5), (base, 0.6))
    ]
    assert budgets[0] < budgets[1] < budgets[2]


def test_target_out_of_reach_is_said_to_be(additive):
    found = required(additive, loss=0.01)  # a tenth of the planted floor
    assert found.flops is None
    assert found.params is None
    assert found.samples is None
    assert found.sentence.startswith("No budget up to")
    assert found.curve["probability"].max() < 0.5
    assert found.to_dict()["flops"] is None


@pytest.mark.parametrize(
    ("choices", "told"),
    [
        ({}, "give one target"),
        ({"loss": 1.0, "returns": 2.0}, "give one target"),
        ({"returns": 2.0}, "has no returns"),
        ({"loss": 1.0, "probability": 1.0}, "between 0 and 1"),
        ({"loss": 1.0, "group": "chess"}, "name one of all"),
    ],
)
def test_bad_targets_are_refused(additive, choices, told):
    with pytest.raises(ValueError, match=told):
        required(additive, **choices)


# ---- the file -----------------------------------------------------------------------------------------------------


def without_null(content):
    return {k: v for k, v in content.items() if v is not None}


@pytest.mark.parametrize("name", ["nethack", "additive"])
def test_toml_says_what_the_recommendation_says(request, name):
    found = recommend(request.getfixturevalue(name), flops=1e20, max_samples=1e14)
    read = tomllib.loads(found.to_toml())
    assert {**read["recommendation"], "diagnostics": read["diagnostics"]} == without_null(found.to_dict())
    assert ("return" in read["recommendation"]) == (name == "nethack")
    assert read["table"] == {"source": found.provenance.source, "sha256": found.provenance.sha256}
    assert read["software"]["law"] == found.provenance.law


@pytest.fixture(scope="module")
def any_recommendation(additive):
    return recommend(additive, flops=1e20)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20))
def test_toml_holds_any_name(any_recommendation, text):
    provenance = replace(any_recommendation.provenance, source=text)
    named = replace(any_recommendation, provenance=provenance, group=text)
    read = tomllib.loads(named.to_toml())
    assert read["table"]["source"] == read["recommendation"]["group"] == text


def test_training_reads_what_forecast_recommends(nethack, tmp_path):
    """The contract between the two packages: written by one, read by the other."""
    found = recommend(nethack, flops=1e19)
    path = tmp_path / "recommendation.toml"
    path.write_text(found.to_toml(), encoding="utf-8")
    read = read_recommendation(path)
    assert read is not None
    assert (read.params, read.samples, read.flops) == pytest.approx((found.params, found.samples, 1e19), rel=1e-6)
    assert found.params != found.optimum_params["median"]  # so that the two cannot be mistaken for each other
