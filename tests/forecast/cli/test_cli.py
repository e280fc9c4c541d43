"""The command as people and scripts use it: in a process of its own where the exit code and the streams matter."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest
from helpers import assert_refused
from typer.main import get_command
from typer.testing import CliRunner

import forecast
from forecast.cli import main
from forecast.cli.commands import app
from forecast.errors import ForecastError

COMMAND = str(Path(sys.executable).parent / "forecast")


def run(*arguments):
    return subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def saved(nethack, tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "posterior.nc"
    nethack.save(path)
    return path


@pytest.mark.parametrize("name", get_command(app).commands)
def test_every_command_shows_an_example(name):
    shown = CliRunner().invoke(app, [name, "--help"])
    assert shown.exit_code == 0
    assert f"Example: forecast {name}" in " ".join(shown.output.split())


@pytest.mark.parametrize(("error", "code"), [(ValueError("numpy's own"), 1), (ForecastError("mend it."), 2)])
def test_only_a_bug_shows_its_traceback(monkeypatch, capsys, error, code):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(forecast, "datasets", fail)
    monkeypatch.setattr(sys, "argv", ["forecast", "datasets"])
    with pytest.raises(SystemExit) as ended:
        main()
    shown = capsys.readouterr().err
    assert ended.value.code == code
    assert ("Traceback" in shown) == (code == 1)
    assert ("report it" in shown and "forecast datasets" in shown) == (code == 1)
    assert str(error) in shown


def test_datasets_as_json():
    found = json.loads(run("datasets", "--json").stdout)
    assert [d["name"] for d in found] == ["atari-cnn", "chinchilla", "constant-rate", "example", "nethack-transformer"]
    assert [d["rows"] for d in found] == [765, 240, 121, 48, 186]


def test_recommend_as_json_agrees_with_python(saved, nethack):
    done = run("recommend", saved, "--flops", "1e19", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["flops"] == 1e19
    for name in ("params", "samples", "loss", "return"):
        q = found[name]
        assert q["q05"] <= q["q25"] <= q["median"] <= q["q75"] <= q["q95"]
    wanted = forecast.recommend(nethack, flops=1e19)
    assert found["params"]["recommended"] == pytest.approx(wanted.params, rel=1e-9)
    assert found["return"]["q95"] == pytest.approx(wanted.returns["q95"], rel=1e-9)


def test_a_budget_in_hours_is_flops(saved):
    hours = run("recommend", saved, "--gpu-hours", 24, "--device", "h200", "--mfu", 0.3, "--json")
    assert json.loads(hours.stdout)["flops"] == pytest.approx(24 * 3600 * 989e12 * 0.3)


def test_recommendation_is_written(saved, tmp_path):
    out = tmp_path / "recommendation.toml"
    done = run("recommend", saved, "--flops", "1e19", "--max-samples", "1e10", "--params", "3e7", "--out", out)
    assert done.returncode == 0, done.stderr
    assert "gives away" in done.stdout
    assert f"Wrote the recommendation to {out}.\n" in done.stderr
    content = tomllib.loads(out.read_text())
    assert content["recommendation"]["samples"]["recommended"] <= 1e10
    assert content["table"]["sha256"] == forecast.read_runs("nethack-transformer").sha256


def test_a_recommendation_is_scored_once_its_run_is_there(saved, tmp_path):
    frozen, runs, out = tmp_path / "recommendation.toml", tmp_path / "runs.csv", tmp_path / "score.json"
    assert run("recommend", saved, "--flops", "1e19", "--out", frozen).returncode == 0
    kept = frozen.read_bytes()
    assert_refused(run("recommend", saved, "--flops", "2e19", "--out", frozen), "a frozen forecast is kept", "--force")
    assert frozen.read_bytes() == kept
    told = tomllib.loads(frozen.read_text())["recommendation"]
    numbers = [told["params"]["recommended"], told["samples"]["recommended"], told["flops"], told["loss"]["median"]]
    runs.write_text("params,samples,flops,loss\n" + ",".join(map(str, numbers)) + "\n")
    done = run("score", frozen, "--runs", runs, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "inside the 50% interval" in done.stdout
    written = json.loads(out.read_text())
    assert written == json.loads(run("score", frozen, "--runs", runs, "--json").stdout)
    assert written["runs"][0]["scores"][0]["percentile"] == pytest.approx(0.5, abs=0.01)
    runs.write_text("params,samples,flops,loss\n1e6,1e9,6e15,1\n")
    assert_refused(run("score", frozen, "--runs", runs), "carried out", "nearest", "line 2")
    assert_refused(run("score", "nowhere.toml", "--runs", runs), "nowhere.toml")
    assert run("recommend", saved, "--flops", "2e19", "--out", frozen, "--force").returncode == 0
    assert tomllib.loads(frozen.read_text())["recommendation"]["flops"] == 2e19


def test_predict_writes_a_row_for_every_point_and_target(saved, tmp_path):
    points, out = tmp_path / "points.csv", tmp_path / "predicted.csv"
    points.write_text("params,samples\n1e7,1e10\n5e7,2e10\n")
    done = run("predict", saved, "--at", points, "--out", out)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(out)
    assert list(table.columns) == ["target", "params", "samples", "q05", "q25", "median", "q75", "q95", "beyond_table"]
    assert table["target"].tolist() == ["loss", "loss", "return", "return"]
    assert table["params"].tolist() == [1e7, 5e7] * 2


def test_required_says_what_it_takes(saved):
    done = run("required", saved, "--loss", "0.15", "--json")
    found = json.loads(done.stdout)
    assert 5e17 < found["flops"] < 1e20
    assert len(found["curve"]["flops"]) == len(found["curve"]["probability"])


@pytest.mark.slow
def test_next_writes_a_plan_that_a_sweep_can_train(saved, tmp_path):
    out = tmp_path / "plan.toml"
    done = run("next", saved, "--target-flops", "3e19", "--spend", "1e19", "--count", 3, "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert 1 <= len(found["runs"]) <= 3
    planned = [(n, g["flops"]) for g in tomllib.loads(out.read_text())["grid"] for n in g["params"]]
    assert sorted(planned) == sorted((r["params"], r["flops"]) for r in found["runs"])
    assert_refused(run("next", saved, "--target-flops", "3e19", "--spend", "1e9"), "no run fits")
    assert_refused(run("next", saved, "--target-flops", "-1", "--spend", "1e18"), "target_flops", "positive")
    assert_refused(run("next", saved, "--target-flops", "3e19", "--spend", "1e18", "--out", "no/where.toml"), "no")


def test_a_wandb_export_is_read_through_a_mapping(tmp_path, nethack_runs):
    table = nethack_runs.table
    export = pd.DataFrame(
        {
            "Name": table["run"],
            "State": "finished",
            "config.params_m": table["params"] / 1e6,
            "samples seen": table["samples"],
            "compute": table["flops"],
            "val/loss": table["loss"],
        }
    )
    source, mapping, out = tmp_path / "wandb.csv", tmp_path / "columns.toml", tmp_path / "p.nc"
    export.to_csv(source, index=False)
    mapping.write_text('[columns]\nparams = "config.params_m*1e6"\nsamples = "samples seen"\nflops = "compute"\n')
    options = ("--columns", mapping, "--column", "loss=val/loss", "--column", "run=Name")
    quick = ("--law", "additive", "--chains", 2, "--draws", 200, "--warmup", 300)
    done = run("fit", source, *options, *quick, "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["table"]["rows"] == 186
    assert len(found["set_aside"]) + len(forecast.load_posterior(out).encoding.rows) == 186
    assert found["diagnostics"]["passed"] in (True, False)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("fit", "nowhere.csv"), ["nowhere.csv", "no such file"]),
        (("fit", "nethack-transformer", "--law", "cubic"), ["cubic", "additive"]),
        (("fit", "nethack-transformer", "--draws", "150"), ["150", "hundreds"]),
        (("recommend", "nethack-transformer"), ["--flops"]),
        (("recommend", "nethack-transformer", "--flops", "1e19", "--gpu-hours", "3"), ["once"]),
        (("recommend", "nethack-transformer", "--gpu-hours", "3", "--device", "abacus"), ["abacus", "h200"]),
        (("recommend", "nethack-transformer", "--flops", "1e19", "--column", "loss"), ["NAME=COLUMN"]),
        (("required", "nethack-transformer"), ["--loss, --return or --expert-share"]),
        (("recommend", "missing.nc", "--flops", "1e19"), ["missing.nc", "not a saved posterior"]),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(arguments, words):
    assert_refused(run(*arguments), *words)


def test_bad_budgets_and_groups_are_refused(saved):
    assert_refused(run("recommend", saved, "--flops", "-1"), "flops", "positive")
    assert_refused(run("recommend", saved, "--flops", "1e19", "--group", "Tetris"), "Tetris")
    assert_refused(run("recommend", saved, "--flops", "1e19", "--params", "1"), "between")


def test_a_bad_table_names_every_row_and_column(tmp_path):
    source = tmp_path / "bad.csv"
    source.write_text("params,samples,flops,loss\n1e6,1e8,6e14,-1\n1e7,x,6e15,2\n1e8,1e9,6e17,nan\n")
    done = run("fit", source)
    assert_refused(done, "loss", "samples", "'x'")


def test_bad_points_name_the_row(saved, tmp_path):
    points = tmp_path / "points.csv"
    points.write_text("params,samples\n1e7,1e10\n-5,1e10\n")
    assert_refused(run("predict", saved, "--at", points), "params", "3")
    points.write_text("params\n1e7\n")
    assert_refused(run("predict", saved, "--at", points), "samples", "missing")
    assert not (tmp_path / "predicted.csv").exists()


def test_a_report_far_beyond_the_table_says_so(saved, tmp_path):
    done = run("report", saved, "--flops", "1e22", "--out", tmp_path / "report")
    assert done.returncode == 0, done.stderr
    assert "checked to 100 times" in done.stderr
    assert "For the least loss it would be" in done.stdout
