"""One fit of a table without losses: the law of the return, and all that is decided and shown from it."""

import json
import tomllib

import numpy as np
import pandas as pd
import pytest
from returns_tables import ALPHA, BETA, LEVEL, NOISE, QUICK, flat, inside, law, played

import forecast
from forecast.model.parameters import SCALE_KNOTS
from forecast.report import figures
from forecast.report.page import write_report
from forecast.runs.read import read_runs

TABLES = 8


@pytest.fixture(scope="module")
def posterior(runs):
    return forecast.fit(runs, **QUICK)


@pytest.fixture(scope="module")
def recommendation(posterior):
    return forecast.recommend(posterior, flops=1e18)


@pytest.fixture(scope="module")
def recovered(posterior):
    return [posterior, *(forecast.fit(read_runs(played(s)), seed=s, **QUICK) for s in range(1, TABLES))]


@pytest.fixture(scope="module")
def saved(posterior, tmp_path_factory):
    path = tmp_path_factory.mktemp("returns") / "posterior.nc"
    posterior.save(path)
    return path


@pytest.fixture(scope="module")
def past(runs):
    return forecast.backtest.backtest(runs, methods=("ours", "power_law", "huber_lse"), cutoffs=2)


def test_the_law_within_bounds_is_a_power_of_what_is_scarcer(posterior):
    """By hand, for constant exponents: replace each draw's knots by the one in the middle."""
    p, ref = posterior.parameters.law, posterior.reference()
    at = SCALE_KNOTS.below
    params, samples = ref.params * np.exp(1e-4), ref.samples * np.exp(2e-4)  # so close that no exponent drifts
    a, b, g = 1e-4 * p.params_exponents[:, 0, at], 2e-4 * p.samples_exponents[:, 0, at], p.interaction[:, 0]
    removable = (p.share[:, 0] * np.exp(-a / g) + (1 - p.share[:, 0]) * np.exp(-b / g)) ** g
    reciprocal = np.exp(p.level[:, 0]) * (p.floor[:, 0] + (1 - p.floor[:, 0]) * removable)
    bent = (reciprocal**-4 + np.exp(p.start[:, 0]) ** -4) ** -0.25
    got = posterior.returns_at(posterior.log_loss([params], [samples], pace=False), [params], new_run=False)
    np.testing.assert_allclose(got[:, 0], 1 / bent - ref.return_offset, rtol=1e-6)
    highest, random = np.exp(-p.level[:, 0] - np.log(p.floor[:, 0])), np.exp(-p.start[:, 0])
    top = (highest**4 + random**4) ** 0.25 - ref.return_offset  # the bend between the law and random play is soft
    far = posterior.log_loss([1e5, 1e9, 1e14], [1e6, 1e12, 1e18], pace=False)
    mean = posterior.returns_at(far, [1e5, 1e9, 1e14], new_run=False)
    assert (mean <= top[:, None] * (1 + 1e-9)).all()
    assert (np.diff(mean, axis=1) >= 0).all()


def test_planted_law_is_recovered(recovered):
    found = {"alpha": 0, "beta": 0, "noise": 0, "return": 0, "return tenfold": 0, "N*": 0}
    sizes = np.geomspace(1e5, 1e9, 400)
    best = sizes[np.argmax(law(sizes, 1e18 / (6 * sizes)))]
    for posterior in recovered:
        p = posterior.parameters
        found["alpha"] += inside(p.law.params_exponents[:, 0, SCALE_KNOTS.below], ALPHA)
        found["beta"] += inside(p.law.samples_exponents[:, 0, SCALE_KNOTS.below], BETA)
        found["noise"] += inside(p.noise["noise"], NOISE)
        for name, params, samples in (("return", 2e6, 8e9), ("return tenfold", 1.3e7, 1.3e10)):
            drawn = posterior.returns_at(posterior.log_loss([params], [samples]), [params], new_run=False)
            found[name] += inside(drawn, law(params, samples))
        q = forecast.recommend(posterior, flops=1e18).optimum_params
        found["N*"] += q["q05"] <= best <= q["q95"]
    # Of 8 intervals of 90% fewer than 5 hold the truth once in 200 sessions.
    assert min(found.values()) >= 5, found
    # And they are not vacuous: well inside the prior's.
    widths = [np.ptp(np.quantile(p.parameters.law.params_exponents[:, 0, SCALE_KNOTS.below], [0.05, 0.95]))
              for p in recovered]  # fmt: skip
    assert np.median(widths) < 0.6 * (1.86 - 0.13)
    wide = [np.log(q["q95"] / q["q05"]) for q in (p.predict(1.3e7, 1.3e10).table().iloc[0] for p in recovered)]
    assert np.median(wide) < np.log(6)


def test_new_runs_scatter_as_the_seeds_do(posterior):
    ratio = posterior.predict([2e6], [8e9]).returns / posterior.returns_at(
        posterior.log_loss([2e6], [8e9]), [2e6], new_run=False
    )
    assert np.subtract(*np.quantile(np.log(ratio), [0.75, 0.25])) == pytest.approx(1.4 * NOISE, rel=0.5)


def test_flat_returns_give_no_false_certainty(recovered):
    def width(posterior):
        q = forecast.recommend(posterior, flops=1e18).optimum_params
        return np.log(q["q95"] / q["q05"])

    informed = np.mean([width(p) for p in recovered])
    for seed in (0, 1):
        posterior = forecast.fit(read_runs(played(seed, mean=flat)), seed=seed, **QUICK)
        assert width(posterior) > max(1.3 * informed, np.log(20))
        assert inside(posterior.predict([2e6], [8e9]).returns, LEVEL)
        assert inside(posterior.predict([2e6], [8e10]).returns, LEVEL)


def test_arviz_is_told_of_returns(posterior):
    shown = posterior.inference_data()
    for group in ("observed_data", "log_likelihood", "posterior_predictive"):
        assert set(shown[group].data_vars) == {"log_return"}
    seen, offset = np.exp(shown["observed_data"]["log_return"]), posterior.reference().return_offset
    table = posterior.runs.table.loc[seen["row"].to_numpy()]
    np.testing.assert_allclose(seen - offset, table["return_mean"])
    drawn = shown["posterior_predictive"]["log_return"].to_numpy()
    low, high = np.quantile(drawn, (0.05, 0.95), axis=(0, 1))
    assert np.mean((low < np.log(seen)) & (np.log(seen) < high)) > 0.8


def test_same_seed_same_draws_whatever_order_and_unit_of_rows(posterior):
    table = played(0).sample(frac=1.0, random_state=1)
    for one in (table, table.assign(return_mean=table["return_mean"] * 8, return_se=table["return_se"] * 8)):
        again = forecast.fit(read_runs(one), **QUICK)
        assert set(again.draws) == set(posterior.draws)
        for name, draws in posterior.draws.items():
            if one is table:
                np.testing.assert_array_equal(again.draws[name], draws)
            else:  # the last bit of a logarithm
                near = 0.5 * max(1.0, float(np.std(draws)))
                np.testing.assert_allclose(np.quantile(again.draws[name], 0.5), np.quantile(draws, 0.5), atol=near)


def test_predictions_are_of_returns_alone(posterior):
    found = posterior.predict([1e6, 1e7], [1e9, 1e10])
    assert found.loss is None
    assert found.table()["target"].tolist() == ["return", "return"]
    assert (found.returns >= -posterior.reference().return_offset).all()


def test_recommendation_has_the_highest_expected_return(posterior, recommendation):
    assert recommendation.objective == "return"
    assert recommendation.loss is None
    assert "loss" not in recommendation.sentence
    assert list(recommendation.regret.columns) == ["params", "samples", "return_regret"]
    for factor in (0.2, 0.5, 2.0, 5.0):
        sizes = np.array([recommendation.params, recommendation.params * factor])
        drawn = posterior.log_loss(sizes, 1e18 / posterior.cost["all"](sizes))
        best, other = posterior.returns_at(drawn, sizes, new_run=False).mean(axis=0)
        assert best >= other
    content = tomllib.loads(recommendation.to_toml())["recommendation"]
    assert "loss" not in content
    assert content["return"]["q05"] < content["return"]["median"] < content["return"]["q95"]


def test_required_return(posterior):
    found = forecast.required(posterior, returns=3000.0)
    assert found.target == "return"
    assert 1e16 < found.flops < 1e18  # the planted law reaches it at 4e16
    assert forecast.required(posterior, returns=3000.0, probability=0.9).flops > found.flops


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda p: forecast.required(p, loss=1.0), "has no losses; ask for a return"),
        (lambda p: forecast.recommend(p, flops=1e18, objective="loss"), "has no losses; use the objective return"),
        (lambda p: forecast.fit(p.runs, start_loss=2.0), "has no losses; leave start_loss out"),
        (lambda p: forecast.fit(p.runs, expert_return=100.0), "expert_return of all is 100, and runs reach"),
        (lambda p: forecast.backtest.backtest(p.runs, methods=("varpro",)), "has no losses; choose methods from ours"),
    ],
)
def test_what_needs_losses_is_refused_in_one_sentence(posterior, ask, told):
    with pytest.raises(ValueError, match=r"\.$") as error:
        ask(posterior)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_a_saved_posterior_says_the_same(posterior, saved):
    loaded = forecast.load_posterior(saved)
    assert loaded.spec == posterior.spec
    assert loaded.runs.sha256 == posterior.runs.sha256
    np.testing.assert_array_equal(loaded.predict(1e7, 1e10).returns, posterior.predict(1e7, 1e10).returns)
    pd.testing.assert_frame_equal(loaded.summary(), posterior.summary())


def test_report_speaks_of_returns(posterior, recommendation, tmp_path):
    page = write_report(posterior, [recommendation], tmp_path).read_text(encoding="utf-8")
    text = page[: page.index("<script")]
    names = {p.name for p in (tmp_path / "figures").iterdir()}
    drawn = ("headline", "isoflop", "best_return", "optimum-params", "optimum-samples", "regret")
    assert names == {f"all-{n}.svg" for n in drawn} | {"all-headline.png"}
    for word in ("nats", "least loss", "Return against loss", "loss of the new run", "set aside and"):
        assert word not in text
    assert recommendation.sentence in text
    for heading in ("Another size on the same budget", "What other budgets buy", "Diagnostics"):
        assert heading in text
    assert "power law of maxima" in text


def test_isoflop_profiles_show_means_over_seeds(posterior, recommendation):
    view = figures.look(posterior, recommendation)
    axes = figures.isoflop(view).axes[0]
    shown = np.concatenate([np.asarray(c.get_offsets()) for c in axes.collections if len(c.get_offsets())])
    means = posterior.runs.table.groupby(["params", "flops"])["return_mean"].mean()
    for (params, _), mean in means.items():
        assert np.isclose(shown, (params, mean), rtol=1e-6).all(axis=1).any()
    low, high = axes.get_ylim()
    assert low < means.min() < means.max() < high


def test_command_refuses_losses_in_one_sentence(run, saved, tmp_path):
    source = tmp_path / "runs.csv"
    played(0).to_csv(source, index=False)
    for arguments in (("required", saved, "--loss", "1"), ("fit", source, "--start-loss", "2")):
        code, out, err = run(*arguments)
        assert code == 2
        assert out == ""
        assert "has no losses" in err
        assert len(err.strip().splitlines()) == 1


def test_backtest_forecasts_the_returns_ahead(past, runs):
    assert set(past.forecasts["target"]) == {"return"}
    assert set(past.forecasts["method"]) <= {"ours", "power_law"}
    ours = past.forecasts[past.forecasts["method"] == "ours"]
    assert ours["cutoff"].nunique() == 2
    assert (ours["flops"] > ours["cutoff"]).all()
    assert set(ours["observed"]) <= set(runs.table["return_mean"])
    scores = past.scores().query("horizon == 30").set_index("method")
    assert 0.7 <= scores.loc["ours", "cover90"] <= 1.0
    assert scores.loc["ours", "crps"] < 2 * NOISE
    assert np.isnan(scores.loc["ours", "regret"])


def test_report_and_command_show_that_backtest(past, posterior, runs, run, tmp_path):
    found = forecast.recommend(posterior, flops=1e18)
    past = forecast.backtest.Backtest(
        **{n: getattr(past, n) for n in forecast.verify.scores.TABLES}, sha256=runs.sha256
    )
    text = write_report(posterior, [found], tmp_path / "page", backtest=past).read_text(encoding="utf-8")
    assert "Best return as forecast at four cut-offs" in text
    assert "CRPS, log return" in text
    assert "N* regret" not in text
    past.save(tmp_path / "past")
    assert forecast.backtest.load_backtest(tmp_path / "past").scores()["crps"].notna().all()
    source = tmp_path / "runs.csv"
    played(0).to_csv(source, index=False)
    code, out, _ = run("backtest", source, "--cutoffs", "1", "--method", "ours", "--json", "--out", tmp_path / "out")
    assert code == 0
    assert {s["target"] for s in json.loads(out)["scores"]} == {"return"}
    assert (tmp_path / "out" / "all-ours.png").is_file()
