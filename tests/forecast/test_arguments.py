"""What public functions accept: a table in any of its forms; a wrong type is one sentence, not numpy's traceback."""

import numpy as np
import pandas as pd
import pytest

import forecast
from forecast.errors import ForecastError
from forecast.runs.read import as_runs


def test_a_table_is_accepted_in_every_form(planted, tmp_path, quick):
    frame, file = planted(0), tmp_path / "runs.csv"
    frame.to_csv(file, index=False)
    forms = (forecast.read_runs(frame), frame, file, str(file))
    assert len({as_runs(form).sha256 for form in forms}) == 1
    priors = [forecast.prior_predictive(form, law="additive", draws=10) for form in forms]
    assert all(prior.equals(priors[0]) for prior in priors)
    assert forecast.prior_predictive("chinchilla", law="additive", draws=10).shape[0] > 100


def test_fit_reads_frames_and_names_their_faults(planted, quick):
    frame = planted(0)
    fitted = forecast.fit(frame, law="additive", **quick)
    assert fitted.runs.source == "DataFrame"
    assert fitted.runs.sha256 == forecast.read_runs(frame).sha256
    with pytest.raises(forecast.TableError, match="loss"):
        forecast.fit(frame.assign(loss=-1.0))


@pytest.mark.parametrize("function", [forecast.fit, forecast.compare, forecast.prior_predictive, forecast.read_runs,
                                      forecast.backtest.backtest])  # fmt: skip
@pytest.mark.parametrize(("value", "words"), [([1.0], "a list is not a run table"), (None, "None is not"), (3, "3 is")])
def test_what_is_no_table_is_refused(function, value, words):
    with pytest.raises(ForecastError, match=f"{words}.*; give a file"):
        function(value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": 1.5}, "seed is 1.5; give a whole number of 0 or more"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": None}, "seed is None"),
        ({"draws": "200"}, "draws is the text '200'"),
        ({"chains": True}, "chains is True"),
        ({"law": None}, "law None does not exist; choose one of additive"),
        ({"expert_return": "100"}, "expert_return of all is the text '100'; give a number"),
        ({"start_loss": {"all": [1]}}, "start_loss of all is a list"),
        ({"progress": True}, "progress is True; give a function"),
    ],
)
def test_settings_of_a_wrong_type_are_refused(planted, arguments, message):
    with pytest.raises(ForecastError, match=message):
        forecast.fit(planted(0), **arguments)


POSTERIOR_CALLS = {
    "recommend": lambda p, **k: forecast.recommend(p, **{"flops": 1e17, **k}),
    "required": lambda p, **k: forecast.required(p, **{"loss": 0.5, **k}),
    "next_runs": lambda p, **k: forecast.next_runs(p, **{"target_flops": 1e17, "spend": 1e16, **k}),
    "predict": lambda p, **k: p.predict(**{"params": 1e7, "samples": 1e9, **k}),
}


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        ("recommend", {"flops": "1e19"}, "flops is the text '1e19'; give a number"),
        ("recommend", {"flops": [1e19]}, "flops is a list"),
        ("recommend", {"flops": 10**400}, "flops is inf; give a positive number"),
        ("recommend", {"max_params": "1e6"}, "max_params is the text"),
        ("recommend", {"group": 3}, "group is 3; give the name of one: all"),
        ("recommend", {"group": np.array(["a", "b"])}, "group is a ndarray"),
        ("recommend", {"objective": 1}, "objective 1 does not exist; choose one of auto, return, loss"),
        ("required", {"loss": "0.5"}, "loss is the text"),
        ("required", {"probability": None}, "probability is None"),
        ("next_runs", {"count": 2.5}, "count is 2.5; give a whole number"),
        ("next_runs", {"spend": None}, "spend is None"),
        ("next_runs", {"target_flops": "much"}, "target_flops is the text 'much'"),
        ("predict", {"params": "3e7"}, "params is the text '3e7'; give a number or an array of numbers"),
        ("predict", {"samples": ["1e9", "1e10"]}, "samples is a list"),
        ("predict", {"params": [1e6, 1e7], "samples": [1e9, 2e9, 3e9]}, "2 params, 3 samples; give as many of each"),
        ("predict", {"params": [[1e6, 1e7]]}, r"params has the shape \(1, 2\)"),
        ("predict", {"params": None}, "params is None"),
        ("predict", {"params": [[1e6], [1e6, 1e7]]}, "params is a list"),
        ("predict", {"group": 3}, "group is 3"),
    ],
)  # fmt: skip
def test_arguments_of_a_wrong_type_are_refused(additive, function, arguments, message):
    with pytest.raises(ForecastError, match=message):
        POSTERIOR_CALLS[function](additive, **arguments)


@pytest.mark.parametrize("function", [name for name in POSTERIOR_CALLS if name != "predict"])
def test_a_table_in_place_of_a_posterior_is_refused(planted, function):
    with pytest.raises(ForecastError, match=r"posterior is a Runs; give what forecast\.fit returned"):
        POSTERIOR_CALLS[function](forecast.read_runs(planted(0)))


def test_a_score_says_what_it_wants(planted):
    with pytest.raises(ForecastError, match=r"recommendation is a DataFrame; give the file"):
        forecast.score(planted(0), planted(0))


def test_numbers_of_every_library_are_numbers(additive):
    wanted = additive.predict(1e7, 1e9).table()
    for params in (np.float32(1e7), np.int64(10**7), np.array(1e7), [10**7], pd.Series([10**7], dtype="Int64")):
        assert additive.predict(params, 10**9).table().equals(wanted)
    assert forecast.recommend(additive, flops=10**20).flops == 1e20
    assert forecast.recommend(additive, flops=np.float32(1e20)).flops == pytest.approx(1e20)
