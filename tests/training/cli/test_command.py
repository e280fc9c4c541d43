"""The command as people type it: what it prints, what it refuses, and that it never shows a traceback."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import assert_refused, command

from training.cli import commands, main
from training.config.cloning import CloningConfig
from training.config.read import read_config
from training.config.reinforcement import ReinforcementConfig
from training.errors import DataError
from training.policies.family import count_params, spec_for
from training.policies.flops import flops_per_sample
from training.shards.reader import Shards

RECOMMENDATION = """\
schema = 1
[recommendation]
flops = 2e13
params = {recommended = 31000.4, median = 1.7e7}
samples = {recommended = 8.96e9, q05 = 6e9}
"""


@pytest.fixture
def run(monkeypatch, capsys):
    return command(main, "training", monkeypatch, capsys)


def test_every_command_shows_an_example(run):
    for name in ("collect", "shard", "configure", "flops", "bc", "evaluate", "check"):
        code, out, _ = run(name, "--help")
        assert code == 0
        assert f"Example: training {name}" in " ".join(out.split())


def test_help_and_check_need_no_torch():
    code = "import sys, training.cli; sys.exit(bool({'torch', 'nle', 'forecast', 'jax'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_configure_prints_a_run_whose_samples_cost_the_budget(run, tmp_path):
    code, out, _ = run("configure", "--params", "5e4", "--flops", "1e12", "--checkpoints", "1e11,3e11", "--seed", 4)
    assert code == 0
    path = tmp_path / "run.toml"
    path.write_text(out)
    found = read_config(path)
    assert found.params == pytest.approx(5e4, rel=0.1)
    spec = spec_for("nethack", "lstm", found.params, actions=121)
    assert count_params(spec) == found.params
    cost = flops_per_sample(spec, found.unroll_length)
    assert 0 <= found.flops - found.samples * cost < cost
    assert (found.core, found.seed, found.checkpoints) == ("lstm", 4, (1e11, 3e11))
    assert f"# width {spec.width}" in out
    assert " on this machine, at " in out


@pytest.mark.parametrize(("core", "env"), [("transformer", "nethack"), ("cnn", "atari")])
def test_other_cores_cost_their_budget_too(run, tmp_path, core, env):
    path = tmp_path / "run.toml"
    assert run("configure", "--env", env, "--core", core, "--params", "3e5", "--flops", "1e14", "--out", path)[0] == 0
    found = read_config(path)
    cost = json.loads(run("flops", path, "--json")[1])["total"]["flops"]
    assert 0 <= found.flops - found.samples * cost < cost
    assert (found.unroll_length == 1) == (core == "cnn")


def test_larger_models_step_less_and_larger_budgets_batch_more(run, tmp_path):
    found = []
    for params, flops in ((3e4, 1e12), (3e4, 1e16), (3e6, 1e16)):
        path = tmp_path / f"{params}-{flops}.toml"
        assert run("configure", "--params", params, "--flops", flops, "--out", path)[0] == 0
        found.append(read_config(path))
    assert found[0].learning_rate == found[1].learning_rate > found[2].learning_rate
    assert found[0].samples_per_update < found[1].samples_per_update


def test_a_recommendation_becomes_a_run_of_its_size_and_budget(run, tmp_path):
    source, path = tmp_path / "recommendation.toml", tmp_path / "run.toml"
    source.write_text(RECOMMENDATION)
    measured_like_others = ("--heldout-frames", 5000, "--group", "theirs")
    code, _, err = run("configure", source, *measured_like_others, "--out", path)
    assert code == 0, err
    found = read_config(path)
    assert isinstance(found, CloningConfig)
    assert (found.heldout_frames, found.group) == (5000, "theirs")
    assert found.params == pytest.approx(31000, rel=0.1)
    assert found.flops == 2e13
    assert "recommends 8.96e+09 samples; this policy's cost makes them" in err
    assert_refused(run("configure", source, "--out", path), "already exists", "--force")
    assert run("configure", source, "--out", path, "--force")[0] == 0
    assert_refused(run("configure", source, "--params", "1e6"), "leave out --params")


def test_a_recommendation_for_returns_becomes_a_run_that_plays(run, tmp_path):
    source, path = tmp_path / "recommendation.toml", tmp_path / "run.toml"
    source.write_text(RECOMMENDATION)
    learning = ("--algorithm", "ppo", "--task", "NetHackScore")
    assert run("configure", source, *learning, "--out", path)[0] == 0
    found = read_config(path)
    assert isinstance(found, ReinforcementConfig)
    assert (found.params, found.flops) == (pytest.approx(31000, rel=0.1), 2e13)
    assert_refused(run("configure", source, *learning, "--data", "shards"), "takes no --data")


def test_a_size_between_two_policies_becomes_the_nearest(run, tmp_path):
    source, path = tmp_path / "recommendation.toml", tmp_path / "run.toml"
    source.write_text(RECOMMENDATION.replace("31000.4", "3100.4"))
    code, _, err = run("configure", source, "--env", "atari", "--task", "Breakout", "--out", path)
    assert code == 0, err
    assert "recommends 3100 parameters; the nearest policy has" in err
    assert_refused(run("configure", "--params", 3100, "--flops", 1e12, "--env", "atari"), "choose ")


def test_flops_prints_layers_that_add_up(run, tmp_path):
    path = tmp_path / "run.toml"
    assert run("configure", "--params", "3e4", "--flops", "1e12", "--out", path)[0] == 0
    code, out, _ = run("flops", path, "--json")
    assert code == 0
    found, config = json.loads(out), read_config(path)
    spec = spec_for("nethack", "lstm", config.params, actions=121)
    assert sum(layer["params"] for layer in found["layers"]) == found["total"]["params"] == config.params
    assert found["total"]["flops"] == flops_per_sample(spec, config.unroll_length)
    assert_refused(run("flops", path, "--nominal"), "Atari")
    code, out, _ = run("flops", path)
    assert code == 0
    assert "core.recurrent" in out


def test_check_shows_what_follows_from_a_config(run, tmp_path):
    path = tmp_path / "run.toml"
    path.write_text("params = 1e7\nsamples = 2_000_000_000\nflops = 1.2e17\n")
    code, out, _ = run("check", path, "--json")
    assert code == 0
    assert json.loads(out)["updates"] == 2_000_000_000 // 10_240
    assert "10,000,000" in run("check", path)[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("check", "absent.toml"), ["absent.toml", "cannot be read"]),
        (("configure", "--params", "1e6"), ["give --params and --flops"]),
        (("configure", "--params", "1e12", "--flops", "1e20"), ["1e9", "1e+12"]),
        (("configure", "--params", "1e6", "--flops", "1e9"), ["less than one update"]),
        (("configure", "--params", "1e6", "--flops", "1e15", "--checkpoints", "x"), ["--checkpoints", "'x'"]),
        (("configure", "--params", "1e6", "--flops", "1e15", "--core", "gru"), ["core", "'gru'"]),
        (("configure", "--params", "1e6", "--flops", "1e15", "--data", "absent"), ["absent"]),
        (("bc", "absent.toml"), ["absent.toml", "cannot be read"]),
        (("evaluate", "absent"), ["absent", "no checkpoint"]),
        (("evaluate", "random", "--task", "dwarf"), ["'dwarf'"]),
        (("shard", "absent", "out"), ["absent"]),
        (("collect", "out"), ["either steps or games"]),
        (("collect", "out", "--env", "doom", "--games", "2"), ["--env", "'doom'"]),
        (("collect", "out", "--steps", "10", "--player", "nobody"), ["--player", "nobody"]),
        (("collect", "out", "--steps", "10", "--max-steps", "0"), ["max_episode_steps", "got 0"]),
        (("evaluate", "random", "--env", "doom"), ["--env", "'doom'"]),
        (("configure", "--params", "nan", "--flops", "1e15"), ["params", "nan"]),
        (("configure", "--params", "1e5", "--flops", "1e15", "--batch-size", "0"), ["batch_size", "got 0"]),
    ],
)
def test_bad_input_is_one_sentence(run, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert_refused(run(*arguments), *words)
    assert list(Path().iterdir()) == []


def test_a_run_without_demonstrations_says_what_to_give(run, tmp_path):
    path = tmp_path / "run.toml"
    assert run("configure", "--params", "3e4", "--flops", "1e12", "--out", path)[0] == 0
    assert_refused(run("bc", path), "names no demonstrations", "--data")


def test_random_play_is_seeded_and_has_a_standard_error(run):
    told = [run("evaluate", "random", "--episodes", 3, "--max-steps", 60, "--workers", 1, "--json") for _ in range(2)]
    assert told[0] == told[1]
    found = json.loads(told[0][1])
    assert (found["episodes"], found["crashed"]) == (3, 0)
    assert found["return_se"] >= 0
    assert 0 < found["mean_length"] <= 60


def test_demonstrations_settle_the_game(run, tmp_path, monkeypatch):
    shards, path = tmp_path / "shards", tmp_path / "run.toml"
    told = run("collect", shards, "--env", "atari", "--task", "MsPacman", "--player", "random",
               "--games", 2, "--max-steps", 20)  # fmt: skip
    assert told[0] == 0, told
    recorded = Shards(shards)
    assert recorded.expert_loss == pytest.approx(np.log(9))  # of nine actions, each as likely
    assert [recorded.cut_before(actions) for actions in (0, 21, 20, 5)] == [True, True, False, False]
    opened, open_shards = [], Shards.__init__
    with monkeypatch.context() as patch:
        patch.setattr(Shards, "__init__", lambda self, folder: open_shards(self, opened.append(folder) or folder))
        asked = ("configure", "--params", "1e5", "--flops", "1e12", "--data", shards, "--out", path)
        assert_refused(run(*asked), "passes where max_epochs = 4")
        assert run(*asked, "--max-epochs", "1e6")[0] == 0
    assert opened == [str(shards)] * 2  # once a command: a large folder takes long to open
    found = read_config(path)
    assert (found.env, found.core, found.task) == ("atari", "cnn", "MsPacman")
    asked = ("configure", "--params", "1e5", "--flops", "1e12", "--data", shards, "--env", "nethack")
    assert_refused(run(*asked), "demonstrations of atari", "'nethack'")


def test_names_are_printed_as_they_are_and_steer_no_terminal(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path, options = "run[v2]\x1b[31m :warning:.toml", ("--params", "3e4", "--flops", "1e12", "--algorithm", "ppo")
    code, out, err = run("configure", *options, "--group", "[/red] <b> $x$", "--out", path)
    assert code == 0, err
    assert out.startswith(r"run[v2]\x1b[31m :warning:.toml: 3")
    assert Path(path).exists()
    code, out, err = run("check", path)
    assert code == 0, err
    assert "[/red] <b> $x$" in out
    assert out.startswith(r"run[v2]\x1b[31m :warning:.toml")
    assert_refused(run("check", "no[v2]\x1b\udcff.toml"), r"training: no[v2]\x1b\udcff.toml: ")
    assert_refused(run("configure", *options, "--group", "\x1b[31m"), "letters that are printed", r"'\x1b[31m'")


@pytest.mark.parametrize("where", ["training.play.evaluate.evaluate", "training.cli.commands.app"])
def test_an_interrupted_command_says_so(monkeypatch, capsys, where):
    def interrupt(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(where, interrupt)
    run = command(commands.main, "training", monkeypatch, capsys)  # the whole of it would leave this process, too
    code, out, err = run("evaluate", "random", "--episodes", 1)
    assert (code, out, err) == (130, "", "training: interrupted; start the same command again.\n")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DataError("mend it."), 2),
        (OSError(errno.ENOSPC, "No space left on device"), 2),
        (ValueError("numpy's own"), 1),
        (OSError("a library's own"), 1),
    ],
)
def test_only_a_bug_shows_its_traceback(monkeypatch, capsys, error, code):
    def fail(*_):
        raise error

    monkeypatch.setattr("training.cli.design.read_config", fail)
    monkeypatch.setattr(sys, "argv", ["training", "check", "run.toml"])
    with pytest.raises(SystemExit) as ended:
        main()
    shown = capsys.readouterr().err
    assert ended.value.code == code
    assert ("Traceback" in shown) == (code == 1)
    assert ("report it" in shown and "training check run.toml" in shown) == (code == 1)
    assert str(error) in shown
