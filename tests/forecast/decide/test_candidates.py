"""The choice among given runs, against choices whose worth is known."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import forecast
from forecast.cli.commands import app
from forecast.decide.candidates import choose


def saving(worth):
    """Regret 10 less what the chosen are worth: each by itself."""
    return lambda chosen: 10.0 - sum(worth[j] for j in chosen)


def test_the_best_affordable_runs_are_taken():
    costs, worth = np.array([4.0, 1.0, 1.0, 1.0, 9.0]), [3.0, 2.0, 1.5, 0.5, 8.0]
    assert choose(costs, 4.0, 8, saving(worth)) == [1, 2, 3]  # 4.0 saved, where the dearest one saves 3.0
    assert choose(costs, 9.0, 8, saving(worth)) == [4]  # 8.0, where the cheap ones save 7.0
    assert choose(costs, 4.0, 1, saving(worth)) == [0]
    assert choose(costs, 0.5, 8, saving(worth)) == []


def test_runs_that_add_nothing_are_left_out():
    copies = choose(np.ones(6), 6.0, 6, lambda chosen: 10.0 - 5.0 * bool(chosen))
    assert len(copies) == 1
    assert choose(np.ones(3), 3.0, 3, lambda chosen: 1.0 + len(chosen)) == []


@pytest.fixture(scope="module")
def candidates():
    sizes = np.geomspace(3e5, 3e9, 9)
    return pd.DataFrame({"run": [f"r{i}" for i in range(9)], "params": sizes, "samples": 1e18 / (6 * sizes)})


def test_a_choice_keeps_the_spend_and_the_rows(nethack, candidates):
    plan = forecast.next_runs(nethack, target_flops=3e19, spend=2.1e18, objective="loss", candidates=candidates)
    assert 1 <= len(plan.runs) <= 2
    assert plan.cost <= 2.1e18 * (1 + 1e-9)
    assert plan.regret_after < plan.regret_now
    given = candidates.set_index("run").loc[plan.runs["run"]]
    np.testing.assert_array_equal(given["params"], plan.runs["params"])
    np.testing.assert_array_equal(given["samples"], plan.runs["samples"])
    assert plan.table().columns[0] == "run"


def test_candidates_that_cannot_be_read_get_a_sentence(nethack, candidates):
    question = {"target_flops": 3e19, "spend": 2.1e18}
    for given, said in (
        (candidates.drop(columns="samples"), "positive number in each row of the column samples"),
        (candidates.assign(params=-1.0), "of the column params"),
        (candidates[:0], "of the column params"),
        ([1, 2], "candidates is"),
        (candidates.assign(flops=1e20), "no candidate fits into 2.1e18 FLOPs: the cheapest takes 1e20"),
    ):
        with pytest.raises(forecast.ForecastError, match=said):
            forecast.next_runs(nethack, **question, candidates=given)


def test_the_command_chooses_from_a_file(nethack, candidates, tmp_path):
    saved, file = tmp_path / "p.nc", tmp_path / "c.csv"
    nethack.save(saved)
    candidates.to_csv(file, index=False)
    asked = ("next", str(saved), "--target-flops", "3e19", "--spend", "2.1e18", "--objective", "loss")
    made = CliRunner().invoke(app, [*asked, "--from", str(file), "--json"])
    assert made.exit_code == 0
    chosen = json.loads(made.stdout)["runs"]
    assert {run["run"] for run in chosen} <= set(candidates["run"])
    refused = CliRunner().invoke(app, [*asked, "--from", str(tmp_path / "none.csv")])
    assert isinstance(refused.exception, forecast.TableError)
    assert "none.csv" in str(refused.exception)
