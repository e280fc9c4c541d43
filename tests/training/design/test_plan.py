"""Grids of runs: written, read, spread into trainings, and refused in words."""

import math
import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from letter_game import write_letters
from typer.testing import CliRunner

import forecast
from training.cli.commands import app
from training.config.reinforcement import ReinforcementConfig
from training.design.plan import RunGrid, propose, read_plan, to_toml
from training.errors import ConfigError
from training.shards.format import read_header


def test_a_plan_is_read_back(tmp_path):
    plan = RunGrid(
        grid={1e11: [1e4, 2e4], 4e11: [2e4]}, seeds=(0, 3), separate=True, run={"env": "nethack", "episodes": 5}
    )
    (tmp_path / "plan.toml").write_text("# a remark\n" + to_toml(plan))
    found = read_plan(tmp_path / "plan.toml", data="shards")
    assert found.run == {"env": "nethack", "episodes": 5, "data": "shards"}
    assert (found.grid, list(found.seeds), found.separate) == ({1e11: [1e4, 2e4], 4e11: [2e4]}, [0, 3], True)


def test_the_grid_alone_is_a_plan(tmp_path):
    (tmp_path / "plan.toml").write_text("[[grid]]\nflops = 1e12\nparams = [2e4]\n")
    (run,) = read_plan(tmp_path / "plan.toml").runs
    assert (run.env, run.core, run.algorithm, run.flops, run.seed) == ("nethack", "lstm", "bc", 1e12, 0)


def test_what_forecast_next_writes_is_a_plan(tmp_path):
    runs = pd.DataFrame({"params": [4e4, 2e4, 2e4], "flops": [2e12, 1e12, 2e12], "samples": 1e5, "regret": 0.01})
    numbers = dict.fromkeys(
        ("target_flops", "spend", "cost", "regret_now", "regret_after", "regret_grid", "gain_instead"), 0.02
    )
    written = forecast.Plan(group="a", objective="loss", runs=runs, grid=runs, provenance=None, **numbers).to_toml()
    (tmp_path / "next.toml").write_text(written)
    read = read_plan(tmp_path / "next.toml")
    assert read.grid == {1e12: [2e4], 2e12: [2e4, 4e4]}
    assert {run.row_group for run in read.runs} == {"a"}


def test_a_run_that_names_its_own_group_is_the_same_run():
    """A plan of `forecast next` names its group: what the table has already is not trained again."""
    named, unnamed = (RunGrid(grid={1e12: [2e4]}, run=run).runs for run in ({"group": "nethack-lstm"}, {}))
    assert named == unnamed


def test_a_size_trains_once_for_all_budgets_if_the_step_allows():
    grid = {1e11: [1e4, 2e4], 4e11: [2e4, 4e4], 1.6e12: [2e4]}
    together = RunGrid(grid=grid).runs
    assert [run.budgets for run in together] == [(1e11,), (4e11,), (1e11, 4e11, 1.6e12)]
    for apart in (RunGrid(grid=grid, separate=True).runs, RunGrid(grid=grid, run={"schedule": "cosine"}).runs):
        assert [run.flops for run in apart] == [1e11, 1e11, 4e11, 4e11, 1.6e12]
        assert not any(run.checkpoints for run in apart)


def test_small_runs_come_first_and_equal_runs_are_one():
    runs = RunGrid(grid={1e12: [4e4, 2e4, 2.0001e4], 1e11: [8e4]}, seeds=(1, 0)).runs
    assert [run.flops for run in runs] == [1e11, 1e11, 1e12, 1e12, 1e12, 1e12]
    assert [run.seed for run in runs] == [0, 1, 0, 1, 0, 1]
    assert len({run.identity for run in runs}) == 6


def test_reinforcement_learning_is_planned_too():
    (run,) = RunGrid(
        grid={1e12: [2.2e4]}, run={"algorithm": "ppo", "task": "NetHackScore", "episode_steps": 100, "entropy": 0.1}
    ).runs
    assert isinstance(run, ReinforcementConfig)
    assert (run.task, run.entropy, run.episode_steps) == ("NetHackScore", 0.1, 100)


@pytest.mark.parametrize(("env", "actions"), [("nethack", 121), ("atari", 18)])
def test_a_proposal_surrounds_the_expected_optimum(env, actions):
    budgets = [1e14, 1e15, 1e16]
    plan = propose(budgets, sizes=5, spacing=2.0, centre=(1e6, 1e15), run={"env": env}, actions=actions)
    for flops in budgets:
        best, sizes = 1e6 * math.sqrt(flops / 1e15), plan.grid[flops]
        assert len(sizes) == 5
        assert sizes == sorted(sizes)
        assert abs(math.log(sizes[2] / best)) <= math.log(2) / 2 + 0.03  # sizes are rounded to two digits
    assert len(set().union(*plan.grid.values())) < 12  # one ladder: neighbouring budgets share sizes
    assert plan.runs


def test_a_proposal_stays_within_the_family():
    small = propose([1e6], run={}, actions=121).grid[1e6]
    large = propose([1e30], run={}, actions=121).grid[1e30]
    assert len(small) == len(large) == 5
    assert max(large) <= 1e9


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seeds = [0]", r"needs a \[\[grid\]\]"),
        ("[[grid]]\nflops = 1e12", r"each \[\[grid\]\] has flops"),
        ("[[grid]]\nflops = -1\nparams = [2e4]", "flops must be positive"),
        ("[[grid]]\nflops = 1e12\nparams = ['x']", "params must be positive, got 'x'"),
        ("[[grid]]\nflops = 1e12\nparams = []", "params must be positive, got no number"),
        ("seeds = [-1]\n[[grid]]\nflops = 1e12\nparams = [2e4]", "seeds must be whole numbers"),
        ("seeds = 3\n[[grid]]\nflops = 1e12\nparams = [2e4]", "seeds must be a list"),
        ("rules = 6\n[[grid]]\nflops = 1e12\nparams = [2e4]", "rules must be one of 1, 2, 3, 4, 5, got 6"),
        ("rules = true\n[[grid]]\nflops = 1e12\nparams = [2e4]", "rules must be one of 1, 2, 3, 4, 5, got True"),
        ("device = 'tpu'\n[[grid]]\nflops = 1e12\nparams = [2e4]", "device must be cpu or cuda, got 'tpu'"),
        ("separate = 1\n[[grid]]\nflops = 1e12\nparams = [2e4]", "separate must be true or false"),
        ("[run]\nflops = 1e12\n[[grid]]\nflops = 1e12\nparams = [2e4]", "flops of a run is settled by the grid"),
        ("[run]\nepisode = 3\n[[grid]]\nflops = 1e12\nparams = [2e4]", "did you mean episodes"),
        ("[run]\nalgorithm = 'dqn'\n[[grid]]\nflops = 1e12\nparams = [2e4]", "algorithm must be bc or ppo or vtrace"),
        ("grids = 1", "unknown key 'grids'"),
        ("[[grid]", "not valid TOML"),
    ],
)
def test_what_is_no_plan_is_refused_in_words(tmp_path, text, words):
    (tmp_path / "plan.toml").write_text(text)
    with pytest.raises(ConfigError, match=words) as refused:
        read_plan(tmp_path / "plan.toml")
    assert str(tmp_path / "plan.toml") in str(refused.value)


def test_a_size_that_cannot_be_built_is_named():
    with pytest.raises(ConfigError, match=r"the run of 3 parameters at 1e\+12 FLOPs: params"):
        _ = RunGrid(grid={1e12: [3.0]}).runs


REPORTS = Path(__file__).parents[3] / "reports"


def test_a_committed_plan_is_that_of_its_table():
    # So a release keeps the hashes of runs that were made before it: their sweeps go on, and nothing is trained again.
    folder = REPORTS / "nethack-ppo"  # those of cloning need their demonstrations
    made = set(pd.read_csv(folder / "runs.csv", dtype={"config": str})["config"])
    assert {run.identity for run in read_plan(folder / "plan.toml").runs} == made


@pytest.mark.parametrize(
    "name", ["nethack-lstm/plan-nld-aa-mini", "nethack-lstm/plan-scripted-bot", "nethack-bot/plan"]
)
def test_a_committed_plan_keeps_the_rules_of_its_table(tmp_path, name):
    file = REPORTS / f"{name}.toml"
    (tmp_path / "plan.toml").write_text(re.sub("^data = .*$", "", file.read_text(), flags=re.MULTILINE))
    told = ["params", "batch_size", "unroll_length", "learning_rate", "seed"]
    made = pd.read_csv(file.parent / "runs.csv")
    plan = read_plan(tmp_path / "plan.toml")
    made = made[made["group"] == plan.run.get("group", "nethack-lstm")]
    rows = set(made[told].itertuples(index=False, name=None))
    assert {tuple(getattr(run, key) for key in told) for run in plan.runs} == rows


def test_a_plan_names_its_rules():
    assert 'rules = 5\ndevice = "cpu"\n' in to_toml(propose([1e12], run={"env": "nethack"}, actions=121))
    old, new = (RunGrid(grid={3.2e11: [2e4]}, rules=rules).runs[0] for rules in (1, 2))
    assert (old.batch_size, old.unroll_length, old.learning_rate) == (8, 32, 1.5e-3)
    assert (new.batch_size, new.unroll_length, new.learning_rate) == (8, 8, 2.3e-3)
    newest = RunGrid(grid={3.2e11: [2e4]}).runs[0]
    assert (new.family, newest.family) == (1, 2)
    assert newest == RunGrid(grid={3.2e11: [2e4]}, rules=3).runs[0]
    assert replace(newest, family=1) == new
    (long,) = RunGrid(grid={3.2e11: [2e4]}, run={"unroll_length": 32}).runs
    assert long.batch_size == 8  # fewer games at a time would be learned one after the other
    for run in ({"core": "transformer"}, {"env": "atari"}):
        of_both = (RunGrid(grid={1e13: [5e4]}, run=run, rules=rules).runs[0].identity for rules in (1, 2))
        assert len(set(of_both)) == 1


@pytest.mark.parametrize("run", [{"episodes": 30}, {"algorithm": "ppo", "task": "NetHackScore"}])
def test_games_have_a_limit_in_what_is_designed_now(run):
    def made(**choices):
        return RunGrid(grid={1e12: [2.2e4]}, **choices).runs[0]

    now, before = made(run=run), made(run=run, rules=3)
    assert (now.episode_steps, before.episode_steps) == (5_000, 0)
    assert replace(now, episode_steps=0) == before
    assert made(run={**run, "episode_steps": 0}) == before
    assert made(run={**run, "episode_steps": 70}).episode_steps == 70
    unplayed = made(run={"episodes": 0})
    assert unplayed.identity == made(run={"episodes": 0}, rules=3).identity


def test_a_file_without_rules_means_the_same_in_every_release(tmp_path):
    (tmp_path / "plan.toml").write_text("[[grid]]\nflops = 1e14\nparams = [1e6]")
    assert read_plan(tmp_path / "plan.toml") == RunGrid(grid={1e14: [1e6]}, rules=2)


def test_batches_of_a_gpu_keep_it_busy():
    def frames(flops, device):
        (run,) = RunGrid(grid={flops: [1e6]}, rules=3, device=device).runs
        return run.samples_per_update, run.updates

    assert frames(1e16, "cuda") == frames(1e16, "cpu")
    assert [frames(flops, "cpu")[0] for flops in (1e13, 1e14)] == [64, 512]
    assert [frames(flops, "cuda")[0] for flops in (1e13, 1e14)] == [256, 2048]
    assert frames(1e13, "cuda")[1] > 700  # near 1,000: frames are a power of two


def test_a_plan_of_ppo_has_the_actions_it_is_trained_on(monkeypatch):
    # The smallest policies exist for NetHackScore's 23 actions alone, not for NetHackChallenge's 121.
    command = ["plan", "--algorithm", "ppo", "--flops", "1e16", "--sizes", "70", "--spacing", "1.2"]
    monkeypatch.setattr("training.cli.sweeps._remarks", lambda *_: "")
    shown = CliRunner().invoke(app, command)
    assert shown.exit_code == 0, shown.output
    proposed = tomllib.loads(shown.stdout)["grid"][0]["params"]
    assert proposed == propose([1e16], sizes=70, spacing=1.2, run={"algorithm": "ppo"}, actions=23).grid[1e16]
    assert min(proposed) < min(propose([1e16], sizes=70, spacing=1.2, run={"algorithm": "ppo"}, actions=121).grid[1e16])


def test_a_plan_opens_its_demonstrations_once(tmp_path, monkeypatch):
    data, opened = write_letters(tmp_path / "shards"), []
    monkeypatch.setattr("training.shards.reader.read_header", lambda path: opened.append(path) or read_header(path))
    command = [
        "plan",
        "--flops",
        "3e10,6e10",
        "--sizes",
        "3",
        "--data",
        str(data),
        "--parallel",
        "1",
        "--max-epochs",
        "1e6",
    ]
    shown = CliRunner().invoke(app, command)
    assert shown.exit_code == 0, shown.output
    assert len(opened) == 1
