"""Whatever a table cannot answer, and wherever nothing can be written, is said before anything is sampled."""

import os

import numpy as np
import pytest
from helpers import assert_refused, command, frame

from forecast.bayes import sampler
from forecast.cli import main

TABLE, GAMES = "nethack-transformer", "atari-cnn"


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """The command in a folder of tables and points; the test fails where it samples."""

    def sampled(*_, **__):
        pytest.fail("the sampler was reached")

    for name in ("sample", "prior_parameters"):
        monkeypatch.setattr(sampler, name, sampled)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    frame().to_csv("losses.csv", index=False)
    frame(return_mean=np.arange(9.0), episodes=10).drop(columns="loss").to_csv("returns.csv", index=False)
    header = "params,samples,group\n"
    (tmp_path / "points.csv").write_text(f"{header}1e7,1e10,\n")
    (tmp_path / "games.csv").write_text(f"{header}1e7,1e10,Qbert\n1e7,1e10,Tetris\n")
    (tmp_path / "zero.csv").write_text(f"{header}1e7,0,Qbert\n")
    return command(main, "forecast", monkeypatch, capsys)


FLOPS = ("--flops", 1e19)
QUESTIONS = {
    "recommend": (("recommend", TABLE, *FLOPS), ("recommend", GAMES, *FLOPS)),
    "required": (("required", TABLE, "--loss", 0.2), ("required", GAMES, "--loss", 0.2)),
    "next": (
        ("next", TABLE, "--target-flops", 1e19, "--spend", 1e18),
        ("next", GAMES, "--target-flops", 1e19, "--spend", 1e18),
    ),
    "predict": (("predict", TABLE, "--at", "points.csv"), ("predict", GAMES, "--at", "points.csv")),
    "report": (("report", TABLE, "--out", "new/report"), ("report", GAMES, "--out", "new/report")),
}
"""By command: what can be asked of a table of one group, and of several."""


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_group_that_is_not_there_is_refused(call, name):
    one, several = QUESTIONS[name]
    assert_refused(call(*one, "--group", "Tetris"), "Tetris", "name one of all")
    assert_refused(call(*several, "--group", "Tetris"), "Tetris", "Qbert")
    if name != "report":  # which shows every group
        assert_refused(call(*several), "several groups", "Qbert")


@pytest.mark.parametrize("name", QUESTIONS)
@pytest.mark.parametrize(
    ("option", "word"),
    [
        (("--law", "cubic"), "cubic"),
        (("--chains", 0), "chains is 0"),
        (("--chains", 65), "chains is 65"),
        (("--draws", 150), "draws is 150"),
        (("--draws", 10**9), "draws is 1000000000"),
        (("--warmup", -100), "warmup is -100"),
        (("--max-draws", 100), "max_draws is 100"),
        (("--seed", -1), "seed is -1"),
        (("--expert-return", "nan"), "expert_return"),
        (("--start-loss", -1), "start_loss"),
    ],
)
def test_settings_of_a_fit_that_are_out_of_range_are_refused(call, name, option, word):
    assert_refused(call(*QUESTIONS[name][0], *option), word)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        *((("recommend", TABLE, "--flops", x), ["flops is", "positive"]) for x in (0, -1e19, "nan", "inf")),
        *((("recommend", TABLE, "--flops", x), ["flops is", "forecasts stop"]) for x in (1e-3, 1e40)),
        *((("recommend", TABLE, "--gpu-hours", x), ["gpu-hours"]) for x in (0, "inf", "nan")),
        (("recommend", TABLE, "--gpu-hours", 1, "--mfu", 1.5), ["mfu"]),
        (("recommend", TABLE, *FLOPS, "--objective", "score"), ["'score'", "auto, return, loss"]),
        (("recommend", "losses.csv", "--flops", 1e18, "--objective", "return"), ["losses.csv has no returns"]),
        (("recommend", "returns.csv", "--flops", 1e18, "--objective", "loss"), ["returns.csv has no losses"]),
        *((("recommend", TABLE, *FLOPS, "--max-params", x), ["max_params"]) for x in (0, -1, "inf", "nan", 5)),
        *((("recommend", TABLE, *FLOPS, "--max-samples", x), ["max_samples"]) for x in (0, -1, "inf", "nan")),
        *((("recommend", TABLE, *FLOPS, "--unique-samples", x), ["unique_samples"]) for x in (0, "nan", 1e40)),
        *((("recommend", TABLE, *FLOPS, "--params", x), ["between"]) for x in (1, 1e15)),
        *((("recommend", TABLE, *FLOPS, "--params", x), ["params is", "positive"]) for x in (0, -1, "nan", "inf")),
        (("recommend", TABLE, *FLOPS, "--max-params", 1e7, "--params", 2e7), ["between", "10 M"]),
        *((("required", TABLE, "--loss", x), ["loss is", "positive"]) for x in (0, -1, "nan", "inf")),
        *((("required", TABLE, "--return", x), ["return is", "finite"]) for x in ("nan", "inf")),
        *((("required", TABLE, "--loss", 0.2, "--probability", x), ["probability"]) for x in (0, 1, -0.5, 50, "nan")),
        (("required", "losses.csv", "--return", 5), ["losses.csv has no returns"]),
        (("required", "returns.csv", "--loss", 0.2), ["returns.csv has no losses"]),
        (("next", TABLE, "--target-flops", 1e40, "--spend", 1e18), ["target_flops", "forecasts stop"]),
        (("next", TABLE, "--target-flops", 1e19, "--spend", "nan"), ["spend", "positive"]),
        (("next", TABLE, "--target-flops", 1e19, "--spend", 1e9), ["no run fits"]),
        (("next", TABLE, "--target-flops", 1e19, "--spend", 1e18, "--count", 0), ["count is 0", "whole number"]),
        (("compare", "losses.csv", "returns.csv"), ["do not both have a loss or a return"]),
        (("compare", TABLE, "losses.csv", "--flops", 1e40), ["flops is", "forecasts stop"]),
        (("compare", GAMES), ["name two of them", "Qbert"]),
        (("compare", GAMES, "--group", "Qbert", "--group", "Tetris"), ["Tetris"]),
        (("predict", GAMES, "--at", "games.csv"), ["Tetris"]),
        (("predict", GAMES, "--at", "zero.csv"), ["samples", "positive"]),
        (("predict", TABLE, "--at", "nowhere.csv"), ["nowhere.csv"]),
        *((("report", TABLE, "--flops", x), ["flops is", "positive"]) for x in (0, "inf")),
        (("report", "losses.csv", "--backtest", "--seed", 0), ["nothing to back-test"]),
        *((("backtest", TABLE, *x), [x[0].strip("-"), str(x[1])]) for x in (
            ("--law", "cubic"), ("--cutoffs", 0), ("--method", "tea"), ("--seed", -1), ("--workers", 0))),
        (("fit", TABLE, "--prior", "--law", "cubic"), ["cubic"]),
        (("fit", TABLE, "--compare", "--seed", -1), ["seed"]),
    ],
)  # fmt: skip
def test_what_a_table_cannot_answer_is_refused(call, arguments, words):
    assert_refused(call(*arguments), *words)


WRITING = {
    "fit": ("fit", TABLE),
    **{name: questions[0] for name, questions in QUESTIONS.items() if name not in ("required", "report")},
    "backtest": ("backtest", TABLE, "--forecasts"),
}


@pytest.mark.parametrize("name", WRITING)
@pytest.mark.parametrize(
    ("place", "word"), [("no/where.out", "does not exist"), ("folder", "is a folder"), ("losses.csv/x", "not exist")]
)
def test_a_file_that_cannot_be_written_is_refused(call, name, place, word):
    arguments = WRITING[name]
    assert_refused(call(*arguments, *(() if name == "backtest" else ("--out",)), place), word)


@pytest.mark.parametrize("name", ["report", "backtest"])
def test_a_folder_that_cannot_be_made_is_refused(call, name):
    assert_refused(call(name, TABLE, "--out", "losses.csv"), "losses.csv is a file")
    assert_refused(call(name, TABLE, "--out", "losses.csv/inside"), "losses.csv is a file")


@pytest.mark.parametrize("name", ["fit", "report"])
def test_a_folder_without_permission_is_refused(call, name, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    assert_refused(call(name, TABLE, "--out", "folder/inside"), "nothing can be written")


def test_a_report_keeps_the_forecasts_that_are_frozen(call, tmp_path):
    (tmp_path / "folder" / "recommendation.toml").touch()
    (tmp_path / "folder" / "recommendation-Qbert.toml").touch()
    for table in (TABLE, GAMES):
        assert_refused(call("report", table, "--out", "folder"), "a frozen forecast is kept", "--force")


def test_a_forecast_of_another_table_is_not_reported(call, tmp_path):
    """Nor one whose group the report does not show: said before the table of the report is fitted."""
    (tmp_path / "other.csv").write_text("params,samples,flops,loss\n1e7,1e10,6e17,0.5\n")
    frozen = tmp_path / "recommendation.toml"
    quantiles = "q05 = 0.4\nq25 = 0.45\nmedian = 0.5\nq75 = 0.55\nq95 = 0.6\n"
    frozen.write_text(
        '[recommendation]\nflops = 6e17\ngroup = "all"\nbeyond_table = 10.0\nparams = { recommended = 1e7 }\n'
        f'[recommendation.loss]\n{quantiles}[table]\nsource = "another"\nsha256 = "{"0" * 64}"\n'
    )
    done = call("report", TABLE, "--out", "new", "--scored", "recommendation.toml", "--outcome", "other.csv")
    assert_refused(done, "another table")
    assert not (tmp_path / "new").exists()
