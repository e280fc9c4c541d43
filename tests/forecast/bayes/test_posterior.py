"""Predictions of frozen draws: shapes, bounds, determinism, and the file they live in."""

import json
from dataclasses import replace

import arviz as az
import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

from forecast import load_posterior, read_runs
from forecast.bayes import fit
from forecast.bayes.points import predict_points
from forecast.decide import recommend
from forecast.errors import SavedFileError

COLUMNS = ["target", "params", "samples", "q05", "q25", "median", "q75", "q95"]
PARAMS, SAMPLES = np.array([1e6, 1e7, 1e8]), np.array([1e10, 1e9, 1e11])


# ---- predictions --------------------------------------------------------------------------------------------------


def test_predictions_have_draws_at_all_points_ordered_quantiles(nethack):
    prediction = nethack.predict(PARAMS, SAMPLES)
    assert prediction.loss.shape == prediction.returns.shape == (400, 3)
    assert (prediction.loss > 0).all()
    table = prediction.table()
    assert list(table.columns) == COLUMNS
    assert table["target"].tolist() == ["loss"] * 3 + ["return"] * 3
    assert table["params"].tolist() == [*PARAMS, *PARAMS]
    assert table["samples"].tolist() == [*SAMPLES, *SAMPLES]
    assert (np.diff(table.loc[:, "q05":].to_numpy(), axis=1) > 0).all()
    np.testing.assert_allclose(table["median"][:3], np.median(prediction.loss, axis=0))
    np.testing.assert_allclose(table["q95"][3:], np.quantile(prediction.returns, 0.95, axis=0))


def test_prediction_is_the_law_with_the_noise_of_a_run(additive):
    """Near the frontier's end: the planted law, and 2% of Student noise around it."""
    prediction = additive.predict(3e7, 1e10)
    law = np.exp(additive.log_loss([3e7], [1e10]))
    truth = 0.3 + 0.4 * 3**-0.45 + 0.5 * 10**-0.55
    low, high = np.quantile(law, [0.001, 0.999])
    assert low < truth < high
    ratio = np.log(prediction.loss / law)
    spread = np.ptp(np.quantile(ratio, [0.05, 0.95]))
    assert spread == pytest.approx(0.02 * 2 * stats.t(7).ppf(0.95), rel=0.4)
    assert abs(np.median(ratio)) < 0.01


def test_scalar_points_and_the_cost_of_a_sample(additive):
    prediction = additive.predict(1e7, 1e9)
    assert prediction.loss.shape == (400, 1)
    assert prediction.returns is None
    assert additive.log_loss(1e7, 1e12).shape == (400, 1)
    assert prediction.flops == pytest.approx([6e16], rel=1e-6)
    assert additive.predict(1e7, [1e9, 1e10]).params.tolist() == [1e7, 1e7]
    assert set(prediction.table()["target"]) == {"loss"}


def test_equal_questions_have_equal_answers(nethack):
    first, again = nethack.predict(PARAMS, SAMPLES), replace(nethack).predict(PARAMS, SAMPLES)
    assert np.array_equal(first.loss, again.loss)
    assert np.array_equal(first.returns, again.returns)
    # A point does not depend on which others are asked for with it.
    alone = nethack.predict(PARAMS[2], SAMPLES[2])
    np.testing.assert_allclose(alone.loss[:, 0], first.loss[:, 2], rtol=1e-12)


def test_more_compute_is_less_loss_and_less_certain(nethack):
    budgets = nethack.largest_flops() * 10.0 ** np.arange(6)
    found = [recommend(nethack, flops=c, objective="loss").loss for c in budgets]
    medians = [q["median"] for q in found]
    widths = [np.log(q["q95"] / q["q05"]) for q in found]
    assert (np.diff(medians) < 0).all()
    assert (np.diff(widths) > 0).all()
    assert widths[-1] > 2 * widths[0]


def test_pace_acts_beyond_the_data_only(nethack):
    largest, size = nethack.largest_flops(), 3e7
    samples = largest * np.array([1e-2, 0.5, 10.0, 1e3]) / nethack.cost["all"](size)
    with_pace, without = (nethack.log_loss(size, samples, pace=p) for p in (True, False))
    difference = with_pace - without
    assert (difference[:, :2] == 0).all()
    assert np.std(difference[:, 3]) > np.std(difference[:, 2]) > 0
    # By its prior it speeds the fall up as often as it slows it down.
    general = replace(nethack, paces={})
    difference = general.log_loss(size, samples) - without
    assert 0.4 < np.mean(difference[:, 3] > 0) < 0.6


def test_compute_that_is_given_decides_how_far_ahead_a_point_is(nethack):
    inside = nethack.largest_flops() / 10
    samples = inside / nethack.cost["all"](3e7)
    dearer = nethack.predict(3e7, samples, flops=inside * 1e4)
    plain = nethack.predict(3e7, samples)
    assert dearer.flops[0] == inside * 1e4
    assert np.var(np.log(dearer.loss)) > 1.05 * np.var(np.log(plain.loss))


@pytest.mark.parametrize(
    ("params", "samples", "flops", "message"),
    [
        ([1e7, 0.0], 1e9, None, "params of point 2 is 0"),
        ([1e7, -2.0], 1e9, None, "params of point 2 is -2"),
        (1e7, [1e9, 1e9, np.nan], None, "samples of point 3 is nan"),
        (np.inf, 1e9, None, "params of point 1 is inf"),
        (1e7, 1e9, -1.0, "flops of point 1 is -1"),
    ],
)
def test_points_that_are_no_numbers_of_a_run_are_refused_by_name(additive, params, samples, flops, message):
    with pytest.raises(ValueError, match=message):
        additive.predict(params, samples, flops=flops)


# ---- groups -------------------------------------------------------------------------------------------------------


def test_group_must_be_named_among_several(two_groups, additive):
    assert two_groups.groups == ("one", "other")
    for call in (two_groups.predict, two_groups.log_loss):
        with pytest.raises(ValueError, match="has several groups; name one of one, other"):
            call(1e7, 1e9)
        with pytest.raises(ValueError, match="DataFrame has no group 'third'; name one of one, other"):
            call(1e7, 1e9, group="third")
    assert np.array_equal(additive.predict(1e7, 1e9).loss, additive.predict(1e7, 1e9, group="all").loss)


def test_points_name_their_group_as_the_file_does(two_groups):
    points = pd.DataFrame({"params": [1e7, 1e7], "samples": [1e9, 1e9], "group": ["other\x1b", "one"]})
    assert list(predict_points(two_groups, points)["group"].unique()) == ["other", "one"]


def test_each_group_has_its_own_law(two_groups):
    for group, truth in (("one", 1.2), ("other", 1.5)):
        low, high = np.quantile(two_groups.predict(1e7, 1e9, group=group).loss, [0.005, 0.995])
        assert low < truth < high
    one, other = (two_groups.parameters.law.params_exponents[:, k, 0] for k in (0, 1))
    assert np.mean(one > other) > 0.9  # planted: 0.45 and 0.3


def test_joint_fit_of_unrelated_groups_is_close_to_the_fit_alone(two_groups, additive):
    together, alone = (
        np.quantile(p.predict(1e8, 1e10, **g).loss, 0.5) for p, g in ((two_groups, {"group": "one"}), (additive, {}))
    )
    assert together == pytest.approx(alone, rel=0.02)


# ---- thinning -----------------------------------------------------------------------------------------------------


def test_thinned_draws_are_some_of_the_draws_and_stay_paired(nethack):
    thin = nethack.thinned(100)
    for name, draws in nethack.draws.items():
        assert thin.draws[name].shape == (2, 50, *draws.shape[2:])
        assert np.array_equal(thin.draws[name], draws[:, ::4])
    # The law needs no noise, so its draws are literally some of those of the whole.
    some = nethack.log_loss(3e7, 1e10, pace=False).reshape(2, 200)[:, ::4]
    np.testing.assert_allclose(thin.log_loss(3e7, 1e10, pace=False).reshape(2, 50), some, rtol=1e-12)
    assert nethack.thinned(10**6).predict(1e7, 1e9).loss.shape == (400, 1)


def test_thinning_twice_is_thinning_once_to_the_smaller_number(nethack):
    assert nethack.thinned(100).thinned(50).draws["memory"].shape == (2, 25)


# ---- files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nethack", "two_groups"])
def test_saved_posterior_predicts_the_same(request, name, tmp_path):
    posterior = request.getfixturevalue(name)
    path = tmp_path / "posterior.nc"
    posterior.save(path)
    loaded = load_posterior(path)
    for group in posterior.groups:
        here, there = (p.predict(PARAMS, SAMPLES * 100, group=group) for p in (posterior, loaded))
        assert np.array_equal(here.loss, there.loss)
        assert np.array_equal(here.flops, there.flops)
        assert posterior.has_returns == loaded.has_returns
        if posterior.has_returns:
            assert np.array_equal(here.returns, there.returns)
    pd.testing.assert_frame_equal(loaded.runs.table, posterior.runs.table)
    assert loaded.runs.notes == posterior.runs.notes
    assert loaded.set_aside.to_dict() == posterior.set_aside.to_dict()
    assert loaded.diagnostics.sentence == posterior.diagnostics.sentence
    assert loaded.spec == posterior.spec


def test_loaded_posterior_can_be_saved_over_its_own_file(additive, tmp_path):
    path = tmp_path / "posterior.nc"
    additive.save(path)
    load_posterior(path).save(path)
    assert np.array_equal(load_posterior(path).predict(1e7, 1e9).loss, additive.predict(1e7, 1e9).loss)


@pytest.mark.parametrize("group", ["NA", "None", "1.0", "a,b", 'say "go"'])
def test_any_name_of_a_game_survives_the_file(additive, planted, tmp_path, group):
    runs = read_runs(planted(0).assign(group=group))
    path = tmp_path / "posterior.nc"
    replace(additive, runs=runs).save(path)
    assert load_posterior(path).groups == (group,)


def refused(path):
    with pytest.raises(ValueError, match=path.name) as error:
        load_posterior(path).predict(1e7, 1e9)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_file_that_is_no_posterior_is_refused(additive, tmp_path):
    path = tmp_path / "posterior.nc"
    assert "forecast fit" in refused(path)  # there is none
    path.write_text("params,samples\n" * 500)
    assert "forecast fit" in refused(path)
    stored = additive.inference_data()  # an InferenceData, but of somebody else
    stored.to_netcdf(str(path))
    assert "forecast fit" in refused(path)


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.99])
def test_file_that_was_cut_is_refused(additive, tmp_path, part):
    path = tmp_path / "posterior.nc"
    additive.save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    assert "posterior.nc" in refused(path)


def test_file_whose_table_was_changed_is_refused(additive, tmp_path):
    path = tmp_path / "posterior.nc"
    additive.save(path)
    content = path.read_bytes()
    loss = repr(float(additive.runs.table["loss"].iloc[0])).encode()
    assert loss in content
    path.write_bytes(content.replace(loss, loss[:-1] + (b"1" if loss[-1:] != b"1" else b"2")))
    assert "damaged" in refused(path)


def damaged(content, rng):
    """A copy with one bit turned, bytes overwritten or a block of zeros anywhere, or without its end."""
    copy, start = bytearray(content), int(rng.integers(len(content)))
    match rng.integers(4):
        case 0:
            copy[start] ^= 1 << int(rng.integers(8))
        case 1:
            copy[start : start + 100] = rng.bytes(len(copy[start : start + 100]))
        case 2:
            copy[start : start + 512] = bytes(len(copy[start : start + 512]))
        case _:
            del copy[start:]
    return bytes(copy)


def test_file_that_was_damaged_is_refused_or_harmless(additive, tmp_path):
    """Damage anywhere: an error in one sentence, or the very same draws."""
    path = tmp_path / "posterior.nc"
    additive.save(path)
    content, rng = path.read_bytes(), np.random.default_rng(0)
    refusals = 0
    for _ in range(60):
        path.write_bytes(damaged(content, rng))
        try:
            loaded = load_posterior(path)
        except SavedFileError as error:
            refusals += 1
            assert path.name in str(error)  # noqa: PT017
            assert "\n" not in str(error)  # noqa: PT017
        else:  # the damage fell into what the file does not need
            assert all(np.array_equal(loaded.draws[k], v) for k, v in additive.draws.items())
    assert refusals > 40


@pytest.mark.parametrize("raised", [OSError, RuntimeError, KeyError, AssertionError, MemoryError, UnicodeDecodeError])
def test_whatever_the_reader_raises_is_one_sentence(additive, tmp_path, monkeypatch, raised):
    path = tmp_path / "posterior.nc"
    additive.save(path)

    def fail(*_, **__):
        raise raised("utf-8", b"x", 0, 1, "first line\nsecond") if raised is UnicodeDecodeError else raised("a\nb")

    monkeypatch.setattr(h5py, "File", fail)
    assert "not a saved posterior" in refused(path)


def test_file_of_a_version_without_checksum_is_read(additive, tmp_path):
    path = tmp_path / "posterior.nc"
    additive.save(path)
    content, mark, _ = path.read_bytes().rpartition(b"\nsha256 of")
    assert mark
    path.write_bytes(content)
    assert np.array_equal(load_posterior(path).predict(1e7, 1e9).loss, additive.predict(1e7, 1e9).loss)


def test_saved_file_is_one_that_arviz_reads(additive, tmp_path):
    path = tmp_path / "posterior.nc"
    additive.save(path)
    stored = az.from_netcdf(str(path))
    assert set(stored.posterior.data_vars) == set(additive.draws)
    assert all(np.array_equal(stored.posterior[name], values) for name, values in additive.draws.items())
    assert np.array_equal(stored.sample_stats["diverging"], additive.diagnostics.diverging)


def with_header(path, change, out):
    """A copy of a saved posterior whose header was changed."""
    tree = xr.open_datatree(str(path), engine="h5netcdf").load()
    header = json.loads(tree.attrs["forecast"])
    change(header)
    tree.attrs["forecast"] = json.dumps(header)
    tree.to_netcdf(str(out), engine="h5netcdf")
    tree.close()
    return out


def test_header_of_another_kind_is_refused(additive, tmp_path):
    path = tmp_path / "whole.nc"
    additive.save(path)
    header = json.loads(xr.open_datatree(str(path), engine="h5netcdf").attrs["forecast"])
    for name in header.keys() - {"seal"}:
        for value in (3.5, "absent")[
            : 1 if name in ("paces", "influential", "expert_loss") else 2
        ]:  # which older files do not have

            def change(content, name=name, value=value):
                del content["seal"]
                content.pop(name) if value == "absent" else content.update({name: value})

            out = tmp_path / f"{name}-{value}.nc"
            assert name in refused(with_header(path, change, out)).replace(str(out), "")


@pytest.mark.parametrize("change", [{"seed": 5}, {"seal": "0" * 64}, {"notes": ["another"]}, {"source": "other.csv"}])
def test_header_that_was_changed_is_refused(additive, tmp_path, change):
    path = tmp_path / "whole.nc"
    additive.save(path)
    assert "was changed" in refused(with_header(path, lambda header: header.update(change), tmp_path / "posterior.nc"))


@pytest.mark.parametrize("sealed", [True, False])
def test_draws_that_are_no_numbers_or_others_are_refused(additive, tmp_path, sealed):
    path = tmp_path / "posterior.nc"
    additive.save(path)
    tree = xr.open_datatree(str(path), engine="h5netcdf").load()
    name = next(iter(tree["posterior"].data_vars))
    tree["posterior"][name].values[0, 0] += 0.5 if sealed else np.nan
    if not sealed:
        header = json.loads(tree.attrs["forecast"])
        del header["seal"]
        tree.attrs["forecast"] = json.dumps(header)
    tree.to_netcdf(str(tmp_path / "other.nc"), engine="h5netcdf")
    tree.close()
    assert ("was changed" if sealed else "no numbers") in refused(tmp_path / "other.nc")


# ---- a real table of several games --------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_real_games(quick):
    runs = read_runs("atari-cnn")
    names = runs.groups[:2]
    posterior = fit(runs.subset(runs.table["group"].isin(names)), **quick)
    assert posterior.groups == names
    for name in names:
        table = runs.group_table(name)
        kept = table.loc[sorted(set(table.index) & set(posterior.encoding.rows))]
        prediction = posterior.predict(kept["params"], kept["samples"], group=name)
        low, high = np.quantile(prediction.loss, [0.05, 0.95], axis=0)
        # 90% intervals over some hundred fitted rows, not independent
        assert 0.75 < np.mean((low <= kept["loss"]) & (kept["loss"] <= high)) <= 1.0
        assert (prediction.returns >= -posterior.reference(name).return_offset - 1e-9).all()
