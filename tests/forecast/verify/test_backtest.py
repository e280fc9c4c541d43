"""Back-tests: nothing ahead of a cut-off leaks into its forecasts, and the scores are what they say."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from typer.testing import CliRunner

from forecast import read_runs
from forecast.cli.commands import app
from forecast.verify import backtest as bt
from forecast.verify.optima import profiles

CHEAP = ("ours", "power_law")


@pytest.fixture(scope="module")
def table(planted):
    made = planted(2, sizes=6, checkpoints=9)
    made["return_mean"] = 100 / made["loss"] ** 2
    made["episodes"] = 50
    return made


@pytest.fixture(scope="module")
def found(table):
    return bt.backtest(read_runs(table), methods=CHEAP, cutoffs=2)


# ---- what is forecast ---------------------------------------------------------------------------------------------


def test_every_near_frontier_row_ahead_is_forecast_and_no_other(found, table):
    best = np.array([table.loc[table["flops"] <= c, "loss"].min() for c in table["flops"]])
    near = np.log(table["loss"] / best) < 0.15
    ours = found.forecasts.query("method == 'ours' and target == 'loss'")
    assert ours["cutoff"].nunique() == 2
    for cutoff, rows in ours.groupby("cutoff"):
        assert np.isclose(table["flops"], cutoff).any()
        ahead = (table["flops"] > cutoff * 1.000001) & (table["flops"] <= 100 * cutoff)
        np.testing.assert_allclose(sorted(rows["observed"]), sorted(table.loc[near & ahead, "loss"]))
    returns = found.forecasts.query("method == 'ours' and target == 'return'")
    np.testing.assert_allclose(returns["observed"], 100 / ours["observed"].to_numpy() ** 2)
    ends = ours[["q05", "q25", "median", "q75", "q95"]].to_numpy()
    assert (np.diff(ends, axis=1) > 0).all()


@pytest.mark.slow
def test_rows_beyond_a_cutoff_change_no_forecast_made_there(found, table):
    first = found.forecasts["cutoff"].min()
    later = table["flops"] > first * 1.000001
    # Lower by a fifth in a way that keeps the frontier's rows on the frontier.
    changed = table.assign(loss=np.where(later, 0.8 * table["loss"], table["loss"]))
    again = bt.backtest(read_runs(changed), methods=CHEAP, cutoffs=2)
    keys = ["method", "target", "params", "samples"]
    pick = lambda f: f.forecasts[f.forecasts["cutoff"] == first].set_index(keys).sort_index()  # noqa: E731
    before, after = pick(found).query("target == 'loss'"), pick(again).query("target == 'loss'")
    both = before.index.intersection(after.index)
    assert len(both) > 5
    for name in ("q05", "median", "q95"):
        np.testing.assert_allclose(before.loc[both, name], after.loc[both, name], rtol=1e-9)
    assert (after.loc[both, "observed"] < before.loc[both, "observed"]).all()


@pytest.mark.slow
def test_same_seed_same_forecasts(found, table):
    again = bt.backtest(read_runs(table.sample(frac=1, random_state=1)), methods=("ours",), cutoffs=2)
    keys = ["target", "cutoff", "params", "samples"]
    one, other = (f.forecasts.query("method == 'ours'").sort_values(keys) for f in (found, again))
    np.testing.assert_allclose(one["median"].to_numpy(), other["median"].to_numpy(), rtol=1e-9)


def test_a_method_that_cannot_answer_is_listed_with_its_reason(planted):
    few = bt.backtest(read_runs(planted(0, sizes=3, checkpoints=6)), methods=("huber_lse", "varpro"), cutoffs=3)
    assert len(few.refusals) > 0
    assert set(few.refusals["method"]) <= {"huber_lse", "varpro"}
    assert few.refusals["reason"].str.len().min() > 20


# ---- scores -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("y", [0.0, 0.7, -2.5])
def test_crps_is_that_of_the_forecast_distribution(y):
    rows = pd.DataFrame({"params": [1.0], "samples": [1.0], "flops": [1.0]})
    made = bt._forecasts("loss", stats.norm.ppf(bt.LEVELS)[:, None], rows, pd.Series([np.exp(y)]), 0.0, {"method": "m"})
    closed = y * (2 * stats.norm.cdf(y) - 1) + 2 * stats.norm.pdf(y) - 1 / np.sqrt(np.pi)
    assert made["crps"].iloc[0] == pytest.approx(closed, rel=0.02)
    assert made["q05"].iloc[0] == pytest.approx(np.exp(-1.645), rel=1e-3)


def test_scores_are_means_over_rows_and_then_over_cutoffs():
    rows = {"group": "g", "method": "m", "target": "loss", "params": 1.0, "samples": 1.0, "offset": 0.0}
    quantiles = {"q05": 0.5, "q25": 0.9, "median": 1.0, "q75": 1.1, "q95": 2.0}
    made = [
        {"cutoff": 1.0, "flops": 2.0, "observed": 1.0, "crps": 0.1},
        {"cutoff": 1.0, "flops": 2.5, "observed": 1.5, "crps": 0.3},
        {"cutoff": 1.0, "flops": 50.0, "observed": 9.0, "crps": 3.0},
        {"cutoff": 4.0, "flops": 8.0, "observed": 3.0, "crps": 0.6},
    ]
    sizes = {"q05": 0.5, "q25": 0.9, "median": 1.0, "q75": 1.1, "q95": 2.0, "size_crps": [0.1, 0.2, 0.4]}
    budgets = {"cutoff": [1.0, 1.0, 4.0], "flops": [2.0, 3.0, 8.0], "regret": [0.1, 0.3, 0.0]}
    choices = pd.DataFrame({"group": "g", "method": "m", **budgets, **sizes, "vertex": [1.0, np.nan, 1.5]})
    whole = bt.Backtest(
        forecasts=pd.DataFrame([{**rows, **quantiles, **m} for m in made]),
        choices=choices,
        paths=pd.DataFrame(),
        refusals=pd.DataFrame(),
        sha256="",
    )
    scores = whole.scores().set_index("horizon")
    near = scores.loc[3]
    assert near["crps"] == pytest.approx((0.2 + 0.6) / 2)
    assert near["cover90"] == pytest.approx((1.0 + 0.0) / 2)
    assert near["cover50"] == pytest.approx((0.5 + 0.0) / 2)
    assert near["width90"] == pytest.approx(np.log(4))
    assert near["regret"] == pytest.approx((0.2 + 0.0) / 2)
    assert near["size_crps"] == pytest.approx((0.15 + 0.4) / 2)
    assert near["size_cover90"] == 1.0
    assert near["size_cover50"] == pytest.approx((1.0 + 0.0) / 2)
    assert near["cutoffs"] == 2
    assert scores.loc[100, "crps"] == pytest.approx(((0.1 + 0.3 + 3.0) / 3 + 0.6) / 2)


def answer(chosen, sizes=None):
    return bt._Answer(loss=np.empty(0), returns=None, chosen=chosen, path=np.empty(0), sizes=sizes)


def test_regret_is_read_between_sizes_and_checkpoints():
    sizes, log_loss = np.array([1.0, 10.0, 100.0, 1000.0]), np.array([0.3, 0.1, 0.2, 0.4])
    table = pd.concat(
        pd.DataFrame({"params": n, "flops": [1.0, 100.0], "loss": np.exp([y + 0.05, y - 0.05])})
        for n, y in zip(sizes, log_loss, strict=True)
    )
    seen = profiles(table, np.array([10.0, 10.0, 10.0, 1e6]))
    found = bt._choices(seen, answer(np.array([10.0, np.sqrt(1000.0), 1e9, 10.0])))
    np.testing.assert_allclose(found["regret"], np.expm1([0.0, 0.05, 0.3]), atol=1e-9)
    np.testing.assert_allclose(found["best_params"], 10.0)


def test_size_forecast_is_scored_against_the_vertex():
    sizes = np.geomspace(1.0, 1e4, 9)
    rows = {"params": sizes, "flops": 1.0, "loss": np.exp(0.01 * (np.log(sizes) - np.log(30.0)) ** 2)}
    seen = profiles(pd.concat([pd.DataFrame(rows), pd.DataFrame(rows).assign(flops=10.0)]), np.array([5.0]))
    draws = np.log(30.0) + 0.2 * np.random.default_rng(1).standard_normal((4000, 1))
    (row,) = bt._choices(seen, answer(np.array([30.0]), draws)).to_dict(orient="records")
    assert row["vertex"] == pytest.approx(30.0, rel=1e-3)
    spread = np.hypot(0.2, row["vertex_sd"])
    assert np.log(row["q95"] / row["q05"]) == pytest.approx(2 * 1.645 * spread, rel=0.05)
    assert row["size_crps"] == pytest.approx(0.234 * spread, rel=0.05)  # of a normal forecast that is right
    (point,) = bt._choices(seen, answer(np.array([60.0]))).to_dict(orient="records")
    assert np.isnan(point["q05"])
    assert point["size_crps"] == pytest.approx(np.log(2), rel=0.1)


def test_best_sizes_are_scored_for_every_method(found):
    choices = found.choices
    assert choices["vertex"].notna().any()
    ours = choices[(choices["method"] == "ours") & choices["vertex"].notna()]
    assert (np.diff(ours[["q05", "q25", "median", "q75", "q95"]].to_numpy(), axis=1) > 0).all()
    scores = found.scores().query("horizon == 30 and target == 'loss'").set_index("method")
    assert 0 <= scores.loc["ours", "size_cover90"] <= 1
    assert np.isnan(scores.loc["power_law", "size_cover90"])
    assert scores.loc["ours", "size_crps"] > 0


def test_cut_points_are_budgets_with_room_on_both_sides(table):
    runs = read_runs(table)
    points = bt.cut_points(runs, 5)
    log_c = np.log10(table["flops"])
    assert 2 <= len(points) <= 5
    assert points == sorted(points)
    assert all(np.isclose(table["flops"], p).any() for p in points)
    assert np.log10(points[0]) > log_c.min()
    assert np.log10(points[-1]) < log_c.max()


# ---- kept and shipped ---------------------------------------------------------------------------------------------


def test_what_is_saved_is_read_back(found, tmp_path):
    found.save(tmp_path)
    again = bt.load_backtest(tmp_path)
    assert again.sha256 == found.sha256
    left, right = found.scores(), again.scores()
    assert left.columns.tolist() == right.columns.tolist()
    np.testing.assert_allclose(left["crps"], right["crps"], rtol=1e-4)
    for name in ("forecasts", "choices", "paths"):
        assert getattr(again, name).dtypes.tolist() == getattr(found, name).dtypes.tolist()
    found.choices[["group", "method", "cutoff", "flops", "params", "best_params", "regret"]].to_csv(
        tmp_path / "choices.csv.gz", index=False
    )
    before = bt.load_backtest(tmp_path).scores()  # as it was written before best sizes were scored
    np.testing.assert_allclose(before["regret"], left["regret"], rtol=1e-4)
    assert before["size_cover90"].isna().all()
    with pytest.raises(ValueError, match="does not hold a back-test"):
        bt.load_backtest(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["nethack-transformer", "atari-cnn"])
def test_bundled_tables_bring_their_backtest(name):
    runs = read_runs(name)
    found = bt.bundled_backtest(runs)
    assert found is not None
    scores = found.scores()
    assert set(scores["group"]) == set(runs.groups)
    assert set(scores["method"]) == set(bt.METHODS)
    assert all(found.paths[c].dtype == float for c in ("flops", "q05", "median", "q95"))
    other = runs.subset(np.arange(len(runs.table)) > 0)
    assert bt.bundled_backtest(other) is None


# ---- command ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_command_writes_every_forecast_and_prints_json(table, tmp_path):
    source, out = tmp_path / "runs.csv", tmp_path / "forecasts.csv"
    table.to_csv(source, index=False)
    command = ["backtest", str(source), "--cutoffs", "2", "--forecasts", str(out), "--json", "--method", "varpro"]
    done = CliRunner().invoke(app, [*command, "--method", "ours"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    written = pd.read_csv(out)
    assert tuple(written.columns) == bt.COLUMNS
    assert {"ours", "varpro"} == set(written["method"])
    assert {s["horizon"] for s in told["scores"]} == set(bt.HORIZONS)
    assert {"loss", "return"} == set(written["target"])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"methods": ("oracle",)}, "oracle"),
        ({"cutoffs": 0}, "cutoffs is 0"),
        ({"law": "cubic"}, "cubic"),
    ],
)
def test_wrong_questions_are_refused_in_one_sentence(table, given, told):
    with pytest.raises(ValueError, match=told) as error:
        bt.backtest(read_runs(table), **given)
    assert str(error.value).endswith(".")


def test_a_table_with_nothing_ahead_is_refused(planted):
    with pytest.raises(ValueError, match="nothing to back-test"):
        bt.backtest(read_runs(planted(0, sizes=3, checkpoints=2)), methods=("power_law",))
