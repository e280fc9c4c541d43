"""Fits of tables without losses that one test each needs: a highest return, the command, two games."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from returns_tables import QUICK, inside, law, played, pong

import forecast
from forecast.report.page import write_report
from forecast.runs.read import read_runs


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
    predicted = answer("predict", kept, "--at", points)
    assert [p["target"] for p in predicted["predictions"]] == ["return"]
    assert predicted["diagnostics"]["level"] in ("green", "amber", "red")
    assert predicted["notes"]
    recommended = answer("recommend", kept, "--flops", "1e18", "--out", out)
    assert recommended["loss"] is None
    assert recommended["return"]["q05"] < recommended["return"]["q95"]
    assert tomllib.loads(out.read_text())["recommendation"]["objective"] == "return"
    assert answer("required", kept, "--return", "3000")["flops"] > 0
    assert Path(answer("report", kept, "--out", page)["page"]).is_file()


@pytest.mark.slow
def test_two_games_on_one_page(tmp_path):
    table = pd.concat([played(0).assign(group="nethack"), pong(1).assign(group="pong")])
    posterior = forecast.fit(read_runs(table), expert_return={"pong": 21.0}, **QUICK)
    found = [forecast.recommend(posterior, flops=1e18, group=g) for g in posterior.groups]
    assert found[1].returns["q95"] <= 21.0
    text = write_report(posterior, found, tmp_path).read_text(encoding="utf-8")
    assert "zero or negative" in text  # why the power law of Pong gives no answer
    assert "nats" not in text
