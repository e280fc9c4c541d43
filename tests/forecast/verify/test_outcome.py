"""Scores against what theory says they are, and which run is the one that carried a recommendation out."""

import json
import re
import tomllib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

import forecast
from forecast.bayes.verdict import Concern, Verdict
from forecast.decide.recommend import LEVELS
from forecast.verify.crps import crps
from forecast.verify.frozen import read_frozen
from training.design.recommendation import read_recommendation


def normal_crps(value, mean, sd):
    """In closed form (Gneiting and Raftery, 2007)."""
    z = (value - mean) / sd
    return sd * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))


@pytest.mark.parametrize("levels", [LEVELS, np.array([0.05, 0.25, 0.5, 0.75, 0.95])])
@pytest.mark.parametrize("value", [-4.0, -1.0, 0.0, 0.3, 2.0, 6.0])
def test_crps_of_a_normal_forecast_is_that_of_theory(levels, value):
    found = crps(levels, norm.ppf(levels, loc=0.5, scale=2.0), value)
    assert found == pytest.approx(normal_crps(value, 0.5, 2.0), rel=0.02)


def test_the_believed_forecast_scores_best_on_average():
    rng = np.random.default_rng(0)
    outcomes = rng.normal(1.0, 0.5, 2000)
    means = {
        (m, s): np.mean([crps(LEVELS, norm.ppf(LEVELS, m, s), y) for y in outcomes])
        for m, s in ((1.0, 0.5), (1.3, 0.5), (0.7, 0.5), (1.0, 0.25), (1.0, 1.0))
    }
    assert min(means, key=lambda k: means[k]) == (1.0, 0.5)


@pytest.fixture(scope="module")
def frozen(nethack):
    """A recommendation of the whole NetHack table, beyond it."""
    return forecast.recommend(nethack, flops=1e19)


@pytest.fixture
def path(frozen, tmp_path):
    file = tmp_path / "recommendation.toml"
    file.write_text(frozen.to_toml(), encoding="utf-8")
    return file


def outcome(frozen, **changes):
    """The recommended run, as a row; 4% off in size and 2% in compute."""
    row = {
        **{"run": "big", "params": frozen.params * 1.04, "samples": frozen.samples, "flops": frozen.flops_spent * 0.98},
        **{"loss": 0.139, "loss_se": 1e-4, "return_mean": 9000.0, "return_se": 300.0, "episodes": 1000},
        **changes,
    }
    return pd.DataFrame([row])


def table_of(*frames):
    return forecast.read_runs(pd.concat(frames, ignore_index=True), to_fit=False)


def test_the_file_keeps_the_quantiles_of_the_forecast(frozen, nethack, path):
    drawn = nethack.predict(frozen.params, frozen.samples)
    read = read_frozen(path)
    assert read.fine
    np.testing.assert_allclose(read.quantiles["loss"], np.quantile(drawn.loss[:, 0], LEVELS), rtol=1e-5)
    np.testing.assert_allclose(read.quantiles["return"], np.quantile(drawn.returns[:, 0], LEVELS), rtol=1e-5)
    assert read.five["loss"]["median"] == frozen.loss["median"]
    assert read_recommendation(path).params == frozen.params  # training reads the file as before


def test_a_score_is_that_of_the_draws(frozen, nethack, path):
    found = forecast.score(path, table_of(outcome(frozen)))
    loss, returned = found.outcomes[0].scores
    drawn = nethack.predict(frozen.params, frozen.samples)
    logs = np.log(drawn.loss[:, 0])
    pairs = np.abs(logs - np.random.default_rng(0).permutation(logs)).mean()
    assert loss.crps == pytest.approx(np.abs(logs - np.log(0.139)).mean() - pairs / 2, rel=0.1)
    assert loss.percentile == pytest.approx((drawn.loss[:, 0] < 0.139).mean(), abs=0.01)
    assert returned.percentile == pytest.approx((drawn.returns[:, 0] < 9000).mean(), abs=0.01)
    assert loss.log_ratio == pytest.approx(np.log(0.139 / np.median(drawn.loss[:, 0])))
    points = drawn.returns[:, 0]
    pairs = np.abs(points - np.random.default_rng(0).permutation(points)).mean()
    assert returned.crps == pytest.approx(np.abs(points - 9000).mean() - pairs / 2, rel=0.1)
    assert (loss.se, returned.se) == (1e-4, 300.0)
    assert found.frozen.beyond_table == pytest.approx(10**frozen.ahead)


@pytest.mark.parametrize(
    ("place", "told", "inside"), [(0.5, "50th", True), (0.02, "2nd", False), (0.97, "97th", False)]
)
def test_hit_and_miss_are_told(frozen, path, place, told, inside):
    value = float(np.interp(place, LEVELS, frozen.quantiles["loss"]))
    found = forecast.score(path, table_of(outcome(frozen, loss=value)))
    loss = found.outcomes[0].scores[0]
    assert loss.in_90 is inside
    assert loss.percentile == pytest.approx(place, abs=0.002)
    assert loss.percentile_text == told
    assert f"at the {told} percentile" in found.sentence
    assert ("inside" if inside else "below" if place < 0.5 else "above") in found.sentence


def test_beyond_all_quantiles_is_told_as_such(frozen, path):
    found = forecast.score(path, table_of(outcome(frozen, loss=1e-3, return_mean=1e7)))
    loss, returned = found.outcomes[0].scores
    assert (loss.percentile_text, returned.percentile_text) == ("below 1st", "above 99th")
    assert "below the 1st percentile" in found.sentence
    assert "above the 99th percentile" in found.sentence


def test_only_the_last_row_of_a_training_counts(frozen, path):
    early = outcome(frozen, loss=0.2)
    late = outcome(frozen, samples=frozen.samples * 2, flops=frozen.flops * 2)
    with pytest.raises(ValueError, match="none ends within 20%"):
        forecast.score(path, table_of(early, late))
    before = outcome(frozen, samples=frozen.samples / 2, flops=frozen.flops / 2, loss=0.2)
    found = forecast.score(path, table_of(outcome(frozen), before))
    assert [o.row for o in found.outcomes] == [2]


def test_seeds_are_scored_each_by_itself(frozen, path):
    seeds = [outcome(frozen, run=f"s{k}", seed=k, loss=x) for k, x in enumerate((0.135, 0.14, 1.0))]
    found = forecast.score(path, table_of(*seeds))
    assert [o.seed for o in found.outcomes] == ["0", "1", "2"]
    assert "3 runs, each scored by itself" in found.sentence
    assert "loss, 2 of 3 inside the 90% interval" in found.sentence
    assert len(found.table()) == 6


@pytest.mark.parametrize("off", [{"params": 1.21}, {"params": 0.79}, {"flops": 1.06}, {"flops": 0.94}])
def test_another_run_is_no_outcome(frozen, path, off):
    changed = {k: getattr(frozen, k) * v for k, v in off.items()}
    with pytest.raises(ValueError, match=r"the nearest end at line 2 \(") as told:
        forecast.score(path, table_of(outcome(frozen, **changed)))
    assert str(told.value).endswith(".")


def test_the_group_of_the_forecast_is_looked_at_first(frozen, path):
    other = outcome(frozen, group="chess", loss=5.0, loss_se=0.1)
    own = outcome(frozen, group="all")
    assert forecast.score(path, table_of(other, own)).outcomes[0].row == 3
    assert forecast.score(path, table_of(other, own), group="chess").outcomes[0].row == 2
    assert forecast.score(path, table_of(other)).outcomes[0].row == 2  # of one group: that one
    with pytest.raises(ValueError, match="name with --group"):
        forecast.score(path, table_of(other, outcome(frozen, group="go")))
    with pytest.raises(ValueError, match="no group 'go'"):
        forecast.score(path, table_of(other), group="go")


def test_a_forecast_that_has_seen_its_outcome_is_refused(frozen, nethack_runs, tmp_path):
    last = nethack_runs.table.iloc[-1]
    seen = replace(frozen, params=float(last["params"]), flops_spent=float(last["flops"]))
    path = tmp_path / "seen.toml"
    path.write_text(seen.to_toml(), encoding="utf-8")
    with pytest.raises(ValueError, match="has seen its outcome"):
        forecast.score(path, nethack_runs)
    fewer = nethack_runs.subset(nethack_runs.table["flops"] > 1e14)
    assert forecast.score(path, fewer).outcomes


def of_earlier(text):
    """As versions wrote it that sealed nothing: the verdict had no level yet."""
    return re.sub(r"(?m)^level = .*\n", "", text)


def test_files_of_five_quantiles_are_scored_and_say_so(frozen, path):
    fine = forecast.score(path, table_of(outcome(frozen)))
    text = path.read_text(encoding="utf-8")
    path.write_text(of_earlier(text[: text.index("[quantiles]")]), encoding="utf-8")
    rough = forecast.score(path, table_of(outcome(frozen)))
    assert "five quantiles" in rough.sentence
    assert "five quantiles" not in fine.sentence
    for a, b in zip(fine.outcomes[0].scores, rough.outcomes[0].scores, strict=True):
        assert b.crps == pytest.approx(a.crps, rel=0.15)
        # Between two of the five, a fifth of the probability apart.
        assert b.percentile == pytest.approx(a.percentile, abs=0.1)
    far = forecast.score(path, table_of(outcome(frozen, loss=1e-3)))
    assert far.outcomes[0].scores[0].percentile_text == "below 5th"


def test_a_forecast_of_loss_alone_scores_loss_alone(additive, tmp_path):
    made = forecast.recommend(additive, flops=10 * additive.largest_flops())
    path = tmp_path / "r.toml"
    path.write_text(made.to_toml(), encoding="utf-8")
    found = forecast.score(path, table_of(outcome(made)))
    assert [s.target for s in found.outcomes[0].scores] == ["loss"]
    returns = outcome(made).drop(columns=["loss", "loss_se"])
    with pytest.raises(ValueError, match="have no loss"):
        forecast.score(path, table_of(returns))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = ", "is not a recommendation"),
        ("[[grid]]\nflops = 1e9\nparams = [1.0]\n", "it has no 'recommendation'"),
        ("[recommendation]\nparams = 3\n[table]\nsource = 'x'\n", "is not a recommendation"),
    ],
)
def test_other_files_are_refused_in_a_sentence(frozen, tmp_path, text, told):
    path = tmp_path / "other.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=told):
        forecast.score(path, table_of(outcome(frozen)))


def test_a_forecast_frozen_with_a_warning_is_scored_with_it(frozen, tmp_path):
    doubtful = Verdict(weak=(Concern("it leans on few trainings (50% of them: r0, r3)", "train more sizes"),))
    careful = replace(frozen, provenance=replace(frozen.provenance, verdict=doubtful))
    path = tmp_path / "careful.toml"
    path.write_text(careful.to_toml(), encoding="utf-8")
    found = forecast.score(path, table_of(outcome(frozen)))
    assert found.frozen.level == "amber"
    assert found.sentence.endswith(f"When it was frozen: {doubtful.sentence}")
    assert found.to_dict()["forecast"]["diagnostics"]["level"] == "amber"


def test_a_verdict_of_before_there_were_levels_is_read(frozen, path, tmp_path):
    text = path.read_text(encoding="utf-8")
    older = tmp_path / "older.toml"
    for passed, level in (("true", "green"), ("false", "red")):
        changed = re.sub(r"level = .*\npassed = .*", f"passed = {passed}", text)
        older.write_text(changed[: changed.index("[seal]")], encoding="utf-8")
        assert read_frozen(older).level == level


def test_damaged_quantiles_are_refused(frozen, path):
    content = tomllib.loads(path.read_text(encoding="utf-8"))["quantiles"]["loss"]
    text = path.read_text(encoding="utf-8").replace(repr(content[3]), "9.0", 1)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="damaged"):
        forecast.score(path, table_of(outcome(frozen)))


def test_to_dict_is_json_and_cells_have_a_column_for_every_score(frozen, path):
    found = forecast.score(path, table_of(outcome(frozen)))
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert [s["target"] for s in told["runs"][0]["scores"]] == ["loss", "return"]
    assert told["runs"][0]["scores"][0]["in_90"] is True
    head, rows = found.cells()
    assert head == ("", "loss", "return")
    assert {len(r) for r in rows} == {3}


def test_a_frozen_forecast_with_two_other_digits_is_refused(frozen, path):
    text = path.read_text(encoding="utf-8")
    assert forecast.score(path, table_of(outcome(frozen))).outcomes
    median = next(line for line in text.splitlines() if line.startswith("loss = "))
    digits = re.search(r"q05 = \d\.\d\d", median)
    assert digits is not None
    lower = f"{digits[0][:-2]}{(int(digits[0][-2:]) - 1) % 100:02d}"
    path.write_text(text.replace(digits[0], lower, 1), encoding="utf-8")
    with pytest.raises(ValueError, match="was changed after it was frozen"):
        forecast.score(path, table_of(outcome(frozen)))
    path.write_text("# a remark\n" + text, encoding="utf-8")
    assert forecast.score(path, table_of(outcome(frozen))).outcomes
    path.write_text(of_earlier(text[: text.index("[seal]")]), encoding="utf-8")
    assert forecast.score(path, table_of(outcome(frozen))).outcomes
    path.write_text(text[: text.index("[quantiles]")], encoding="utf-8")  # cut short, with all that is needed
    with pytest.raises(ValueError, match="was changed after it was frozen"):
        forecast.score(path, table_of(outcome(frozen)))
