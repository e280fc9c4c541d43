"""Tables without losses: what is read and refused, the law of the return, and what every command makes of it."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import command

import forecast
from forecast import classical
from forecast.bayes.encode import encode
from forecast.bayes.model import SCALE_KNOTS
from forecast.bayes.weights import weigh_rows
from forecast.cli.commands import main
from forecast.errors import TableError
from forecast.report import figures
from forecast.report.figures.style import EndLabel, blank, label_ends
from forecast.report.page import write_report
from forecast.runs.read import read_runs

QUICK = {"chains": 2, "draws": 200, "max_draws": 200, "warmup": 300}
ALPHA, BETA, NOISE, LEVEL, RANDOM = 0.45, 0.5, 0.25, 2000.0, 50.0
TABLES = 8


def law(params, samples, *, highest=np.inf):
    """Mean return: a power of what is scarcer, between random play and the highest return."""
    removable = 0.5 * (params / 1e6) ** -ALPHA + 0.5 * (samples / 1e9) ** -BETA
    return 1 / np.minimum(removable / LEVEL + 1 / highest, 1 / RANDOM)


def played(seed, *, sizes=4, budgets=5, seeds=3, noise=NOISE, mean=law, **of_law):
    """Rows as `training` writes them: the loss is an empty cell, and there are columns that nobody asked for."""
    rng = np.random.default_rng(seed)
    rows = []
    for params in np.geomspace(1e5, 1e7, sizes):
        for flops in np.geomspace(1e14, 1e17, budgets):
            for k in range(seeds):
                samples = flops / (6 * params)
                one = mean(params, samples, **of_law) * np.exp(noise * rng.standard_t(7))
                se = 0.5 * one / np.sqrt(20)
                rows.append((f"{params:.0f}-{flops:.0e}-{k}", k, params, samples, flops, one + se * rng.normal(), se))
    table = pd.DataFrame(rows, columns=["run", "seed", "params", "samples", "flops", "return_mean", "return_se"])
    return table.assign(loss=np.nan, episodes=20, algorithm="ppo", env="nle")


def flat(params, samples):
    return 0 * params + LEVEL


def pong(seed, **of_table):
    """The same between -21 and 21."""
    table = played(seed, noise=0.1, highest=4000.0, **of_table)
    return table.assign(return_mean=-21 + 42 * np.clip(table["return_mean"] / 4000, 0, 1), return_se=0.4)


@pytest.fixture(scope="module")
def runs():
    return read_runs(played(0))


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


@pytest.fixture
def run(monkeypatch, capsys):
    return command(main, "forecast", monkeypatch, capsys)


# ---- the table ----------------------------------------------------------------------------------------------------


def test_empty_losses_are_no_losses(runs, tmp_path):
    assert not runs.has_losses
    assert "loss" not in runs.table
    assert runs.has_returns
    assert runs.summary()["loss"] is None
    low, high = runs.summary()["return_mean"]
    assert (low, high) == (runs.table["return_mean"].min(), runs.table["return_mean"].max())
    assert any("no losses" in note for note in runs.notes)
    assert runs.table["algorithm"].tolist() == ["ppo"] * 60
    played(0).to_csv(tmp_path / "runs.csv", index=False)
    written = read_runs(tmp_path / "runs.csv")
    left_out = read_runs(played(0).drop(columns=["loss", "episodes"]).rename(columns={"return_mean": "score"}),
                         columns={"return_mean": "score"})  # fmt: skip
    assert written.sha256 == runs.sha256
    assert not left_out.has_losses
    assert left_out.table["return_mean"].tolist() == runs.table["return_mean"].tolist()


def refusal(table):
    with pytest.raises(TableError) as error:
        read_runs(table)
    return error.value


def test_some_losses_are_refused_with_their_rows():
    table = played(0)
    table.loc[3:, "loss"] = 1.0
    problem = next(p for p in refusal(table).problems if p.column == "loss")
    assert problem.rows == (2, 3, 4)
    assert "a separate table" in problem.fix


@pytest.mark.parametrize(
    ("change", "column", "rows"),
    [
        (lambda t: t.assign(return_mean=t["return_mean"].where(t.index != 5)), "return_mean", (7,)),
        (lambda t: t.assign(return_mean=np.nan), "loss", tuple(range(2, 62))),
        (lambda t: t.drop(columns=["loss", "return_mean"]), "loss", ()),
        (lambda t: t.drop(columns=["return_se", "episodes"]), "episodes", tuple(range(2, 62))),
        (lambda t: t.assign(loss_se=0.1), "loss_se", tuple(range(2, 62))),
        (lambda t: t.assign(return_mean=7.0, seed=range(60)), "return_mean", ()),
        (lambda t: t.assign(return_mean=np.inf), "return_mean", tuple(range(2, 62))),
        (lambda t: t.assign(loss="low"), "loss", tuple(range(2, 62))),
        (lambda t: t.rename(columns={"loss": "Loss"}), "loss", ()),
        (lambda t: t[t["params"] < 1e6], "params", ()),
        (lambda t: t.drop(columns=["run", "seed"]).assign(return_mean=t["params"]), "",
         tuple(range(2, 62))),
    ],
)  # fmt: skip
def test_tables_that_say_too_little_are_refused(change, column, rows):
    found = refusal(change(played(0)))
    assert (rows, column) in [(p.rows, p.column) for p in found.problems]
    assert "\n" not in str(found.problems[0])


def test_a_column_that_looks_like_the_loss_is_named_in_a_note():
    found = read_runs(played(0).drop(columns="loss").assign(losses=1.0))
    assert not found.has_losses
    assert any("`losses` was not read as the loss" in note for note in found.notes)


def test_a_table_with_losses_is_as_before():
    table = played(0).assign(loss=np.linspace(3, 1, 60))
    found = read_runs(table)
    assert found.has_losses
    assert found.falling.equals(found.table["loss"])
    assert refusal(table.drop(columns="episodes")).problems[0].column == "episodes"  # which a loss does not replace


# ---- the model ----------------------------------------------------------------------------------------------------


def test_a_row_counts_by_its_compute_and_not_by_its_luck(runs):
    lucky = runs.table.assign(return_mean=runs.table["return_mean"] * np.where(runs.table["seed"] == "0", 3.0, 1.0))
    assert weigh_rows(runs).weights.equals(weigh_rows(read_runs(lucky)).weights)
    weights = weigh_rows(runs).weights
    assert (weights[1] == 1).all()
    assert (weights[0].groupby(runs.table["flops"]).nunique() == 1).all()
    assert weights[0].groupby(runs.table["flops"]).first().is_monotonic_increasing


def test_returns_and_errors_are_relative_to_the_lifted_return():
    runs = read_runs(pong(0))
    encoding = encode(runs)
    rows = runs.table.loc[encoding.rows]
    returns, n = rows["return_mean"], len(rows)
    lifted = returns + encoding.references["all"].return_offset
    assert lifted.min() == pytest.approx(0.01 * (returns.max() - returns.min()))
    np.testing.assert_allclose(encoding.data.log_loss[:n], -np.log(lifted), atol=1e-9)
    np.testing.assert_allclose(encoding.data.log_loss_se[:n], 0.4 / lifted, rtol=1e-9)
    assert not np.any(encoding.data.episodes)  # the standard error says it
    bare = encode(read_runs(pong(0).drop(columns="return_se")))
    assert not np.any(bare.data.log_loss_se)
    assert set(bare.data.episodes[:n]) == {20.0}


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


def inside(draws, truth):
    low, high = np.quantile(np.asarray(draws), [0.05, 0.95])
    return low <= truth <= high


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


def test_returns_saturate_at_the_highest_that_is_given():
    runs = read_runs(played(2, highest=3000.0))
    capped, free = (forecast.fit(runs, expert_return=top, **QUICK) for top in (3000.0, None))
    params = np.array([1e9])
    samples = capped.largest_flops() * 1e6 / capped.cost["all"](params)

    def mean(posterior):
        return posterior.returns_at(posterior.log_loss(params, samples, pace=False), params, new_run=False)

    assert (mean(capped) <= 3000 * 1.02).all()  # the bend between the law and random play is soft
    assert np.median(mean(capped)) > 2300
    assert np.quantile(mean(free), 0.9) > 4500  # the rows alone cannot say so
    assert capped.predict(params, samples).returns.max() <= 3000 * (1 + 1e-9)
    at = capped.returns_at(capped.log_loss([5e6], [3e9]), [5e6], new_run=False)
    assert inside(at, law(5e6, 3e9, highest=3000.0))


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


def test_prior_speaks_of_returns_of_every_group():
    table = pd.concat([played(0).assign(group="nethack"), pong(1).assign(group="pong")])
    expected = forecast.prior_predictive(read_runs(table), draws=400)
    assert list(expected.columns) == ["params", "samples", "return_mean", "q05", "median", "q95"]
    covered = expected["return_mean"].between(expected["q05"], expected["q95"])
    assert covered.mean() > 0.85
    assert (expected["q05"] <= expected["median"]).all()


# ---- what is made of it -------------------------------------------------------------------------------------------


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


def test_classical_lines_through_maxima():
    """Without noise both find the exponents of a law whose terms balance; seeds are averaged, not their reciprocals."""

    def mean(params, samples):
        return LEVEL / (0.5 * (params / 1e6) ** -0.5 + 0.5 * (samples / 1e9) ** -0.5)

    runs = read_runs(played(0, sizes=21, noise=0.0, mean=mean).assign(return_se=1.0))
    exact = runs.table.assign(return_mean=mean(runs.table["params"], runs.table["samples"]))
    spread = exact["seed"].map({"0": 0.5, "1": 1.0, "2": 1.5}).astype(float)
    runs = read_runs(exact.assign(return_mean=exact["return_mean"] * spread))
    for method in classical.RETURN_METHODS:
        found = classical.best_return(runs, method)
        exponents = found.exponents()
        assert exponents["return"].value == pytest.approx(0.25, abs=0.01)
        assert exponents["return"].lower <= exponents["return"].value <= exponents["return"].upper
        assert exponents["params"].value == pytest.approx(0.5, abs=0.08)  # of sizes on a grid
        best = mean(*found.optimal(1e16))
        assert np.exp(found.forecast_return(1e16).mean_log) == pytest.approx(best, rel=0.03)


def test_classical_lines_need_logarithms():
    with pytest.raises(ValueError, match="zero or negative"):
        classical.best_return(read_runs(pong(0)))
    with pytest.raises(ValueError, match="huber_lse"):
        classical.best_return(read_runs(played(0)), "huber_lse")


# ---- the page -----------------------------------------------------------------------------------------------------


def test_report_speaks_of_returns(posterior, recommendation, tmp_path):
    text = write_report(posterior, [recommendation], tmp_path).read_text(encoding="utf-8")
    names = {p.name for p in (tmp_path / "figures").iterdir()}
    assert names == {f"all-{n}.svg" for n in ("headline", "isoflop", "best_return", "optimum", "regret")} | {
        "all-headline.png"
    }
    for word in ("nats", "least loss", "Return against loss", "loss of the new run", "set aside and"):
        assert word not in text
    assert recommendation.sentence in text
    for heading in ("Return against size, budget by budget", "The best return that compute buys", "Diagnostics"):
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


def test_names_of_negative_lines_stand_where_the_lines_end():
    figure, (axes,) = blank()
    axes.set_ylim(-20, 20)
    label_ends(axes, [EndLabel(-15.0, "low", "k"), EndLabel(0.0, "middle", "k"), EndLabel(10.0, "high", "k")])
    assert [t.xy[1] for t in axes.texts] == pytest.approx([0.125, 0.5, 0.75])
    assert figure.axes == [axes]


# ---- the command --------------------------------------------------------------------------------------------------


def test_command_from_table_to_report(run, tmp_path):
    source, kept, points = tmp_path / "runs.csv", tmp_path / "p.nc", tmp_path / "points.csv"
    out, page = tmp_path / "recommendation.toml", tmp_path / "report"
    played(0).to_csv(source, index=False)
    points.write_text("params,samples\n1e7,1e10\n")
    quick = ("--chains", 2, "--draws", 200, "--max-draws", 200, "--warmup", 300)

    def answer(*arguments):
        code, told, _ = run(*arguments, "--json")
        assert code == 0
        return json.loads(told)

    fitted = answer("fit", source, *quick, "--out", kept)
    assert fitted["table"]["loss"] is None
    assert "return at the reference" in {p["parameter"] for p in fitted["parameters"]}
    assert [p["target"] for p in answer("predict", kept, "--at", points)] == ["return"]
    recommended = answer("recommend", kept, "--flops", "1e18", "--out", out)
    assert recommended["loss"] is None
    assert recommended["return"]["q05"] < recommended["return"]["q95"]
    assert tomllib.loads(out.read_text())["recommendation"]["objective"] == "return"
    assert answer("required", kept, "--return", "3000")["flops"] > 0
    assert Path(answer("report", kept, "--out", page)["page"]).is_file()


def test_command_refuses_losses_in_one_sentence(run, saved, tmp_path):
    source = tmp_path / "runs.csv"
    played(0).to_csv(source, index=False)
    for arguments in (("required", saved, "--loss", "1"), ("fit", source, "--start-loss", "2")):
        code, out, err = run(*arguments)
        assert code == 2
        assert out == ""
        assert "has no losses" in err
        assert len(err.strip().splitlines()) == 1


# ---- back-test ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def past(runs):
    return forecast.backtest.backtest(runs, methods=("ours", "power_law", "huber_lse"), cutoffs=2)


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
    assert (tmp_path / "out" / "all.png").is_file()


@pytest.mark.slow
def test_two_games_on_one_page(tmp_path):
    table = pd.concat([played(0).assign(group="nethack"), pong(1).assign(group="pong")])
    posterior = forecast.fit(read_runs(table), expert_return={"pong": 21.0}, **QUICK)
    found = [forecast.recommend(posterior, flops=1e18, group=g) for g in posterior.groups]
    assert found[1].returns["q95"] <= 21.0
    text = write_report(posterior, found, tmp_path).read_text(encoding="utf-8")
    assert "zero or negative" in text  # why the power law of Pong gives no answer
    assert "nats" not in text
