"""Run configs as a new user meets them: TOML in, TOML out, and one clear sentence when something is wrong."""

import json
import subprocess
import sys
import tomllib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from typer.testing import CliRunner

from training.cli import main
from training.config import CORES, ConfigError, RunConfig, from_recommendation, read_config, to_toml

GOOD = """\
params = 1e7
samples = 2_000_000_000
flops = 1.2e17
core = "lstm"
"""
RECOMMENDATION = """\
schema = 1
[recommendation]
flops = 1e18
params = {recommended = 18600000.4, median = 1.7e7, q05 = 1.1e7, q95 = 3.0e7}
samples = {recommended = 8.96e9, q05 = 6e9}
[forecast]
loss = {median = 0.16}
"""


def write(folder, text, name="run.toml"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def invoke(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def assert_refused(result, *words):
    """One sentence on stderr, exit code 2, nothing on stdout."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr


@st.composite
def configs(draw):
    env = draw(st.sampled_from(sorted(CORES)))
    core = draw(st.sampled_from(CORES[env]))
    nethack = st.sampled_from(["mon-hum-neu-mal", "val-dwa-law-fem", "@"])
    atari = st.from_regex(r"[A-Z][A-Za-z0-9]{0,20}", fullmatch=True)
    batch_size = draw(st.integers(1, 4096))
    unroll_length = 1 if core == "cnn" else draw(st.integers(1, 512))
    positive = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
    return RunConfig(
        env=env,
        task=draw(nethack if env == "nethack" else atari),
        core=core,
        params=draw(st.integers(1, 2**63 - 1)),
        samples=draw(st.integers(batch_size * unroll_length, 2**63 - 1)),
        flops=draw(positive),
        batch_size=batch_size,
        unroll_length=unroll_length,
        learning_rate=draw(positive),
        seed=draw(st.integers(0, 2**32 - 1)),
    )


@given(config=configs())
@example(config=RunConfig(params=1, samples=10**18, flops=1e300, learning_rate=5e-324))
def test_toml_round_trip(config, tmp_path_factory):
    path = write(tmp_path_factory.mktemp("round"), to_toml(config))
    assert read_config(path) == config


def test_a_short_file_takes_the_defaults_and_whole_floats_are_integers(tmp_path):
    config = read_config(write(tmp_path, GOOD))
    assert config.params == 10_000_000
    assert isinstance(config.params, int)
    assert (config.env, config.algorithm, config.core, config.seed) == ("nethack", "bc", "lstm", 0)
    assert config.samples_per_update == config.batch_size * config.unroll_length
    assert config.updates == 2_000_000_000 // config.samples_per_update
    assert config.flops_per_sample == 6e7


def test_a_file_saved_with_a_byte_order_mark_is_read(tmp_path):
    path = tmp_path / "run.toml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert read_config(path).core == "lstm"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"params": 0}, ["params", "got 0"]),
        ({"params": 1.5}, ["params", "whole number", "1.5"]),
        ({"params": True}, ["params", "whole number", "True"]),
        ({"params": "10M"}, ["params", "whole number", "'10M'"]),
        ({"params": float("nan")}, ["params", "whole number", "nan"]),
        ({"samples": 2**63}, ["samples", "2^63 - 1"]),
        ({"samples": 100}, ["samples = 100", "one update", "10240"]),
        ({"flops": -1e17}, ["flops", "positive", "-1e+17"]),
        ({"flops": float("inf")}, ["flops", "finite", "inf"]),
        ({"flops": 10**400}, ["flops", "finite"]),
        ({"learning_rate": 0}, ["learning_rate", "positive"]),
        ({"seed": -1}, ["seed", "got -1"]),
        ({"seed": 2**32}, ["seed", "2^32 - 1"]),
        ({"env": "go"}, ["env", "nethack or atari", "'go'"]),
        ({"algorithm": "ppo"}, ["algorithm", "bc", "'ppo'"]),
        ({"core": "cnn"}, ["core of a run in nethack", "lstm or transformer", "'cnn'"]),
        ({"env": "atari", "task": "Breakout"}, ["core of a run in atari", "cnn", "'transformer'"]),
        ({"env": "atari", "task": "Breakout", "core": "cnn"}, ["unroll_length", "must be 1", "got 80"]),
        ({"task": "Breakout"}, ["task", "mon-hum-neu-mal", "'Breakout'"]),
        ({"task": "mon-hum-neu-mal\n"}, ["task", "NetHack character"]),
        ({"env": "atari", "core": "cnn", "unroll_length": 1}, ["task", "Atari game", "mon-hum-neu-mal"]),
    ],
)
def test_every_bad_value_is_refused_by_name(change, words):
    good = {"params": 10**7, "samples": 10**9, "flops": 6e16}
    with pytest.raises(ConfigError) as caught:
        RunConfig(**{**good, **change})
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert message.endswith(".")
    assert "\n" not in message


def test_check_prints_the_run(tmp_path):
    result = invoke("check", write(tmp_path, GOOD))
    assert result.exit_code == 0, result.output
    assert "10,000,000" in result.stdout
    assert "flops_per_sample" in result.stdout


def test_check_prints_json_alone(tmp_path):
    shown = json.loads(invoke("check", write(tmp_path, GOOD), "--json").stdout)
    assert (shown["params"], shown["flops"], shown["core"]) == (10_000_000, 1.2e17, "lstm")
    assert shown["updates"] == 2_000_000_000 // shown["samples_per_update"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD + "learning_rat = 1e-3\n", ["run.toml", "'learning_rat'", "did you mean learning_rate"]),
        (GOOD + "zzz = 1\n", ["unknown key 'zzz'", "the keys are params"]),
        (GOOD + "[optimiser]\nbeta = 1\n", ["unknown key 'optimiser'"]),
        ("flops = 1e17\n", ["params and samples missing", "`params = 1e7`"]),
        (GOOD.replace("1.2e17", "-1"), ["run.toml: flops must be positive"]),
        (GOOD + "core = 1\n", ["not valid TOML"]),
        ("params: 10", ["not valid TOML", "line 1"]),
        ("params = [1, 2]\nsamples = 1e9\nflops = 1e17", ["params must be a whole number, got [1, 2]"]),
    ],
)
def test_check_refuses_a_bad_file_in_one_sentence(tmp_path, text, words):
    assert_refused(invoke("check", write(tmp_path, text)), *words)


def test_check_refuses_what_is_no_text_file(tmp_path):
    assert_refused(invoke("check", tmp_path / "absent.toml"), "absent.toml", "cannot be read")
    assert_refused(invoke("check", tmp_path), "cannot be read")
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    assert_refused(invoke("check", binary), "not valid TOML")


def test_a_recommendation_becomes_a_run(tmp_path):
    source, out = write(tmp_path, RECOMMENDATION, "recommendation.toml"), tmp_path / "run.toml"
    result = invoke("from-recommendation", source, "--out", out, "--core", "lstm", "--seed", 3)
    assert result.exit_code == 0, result.output
    assert "18,600,000 params" in result.stdout
    expected = RunConfig(params=18_600_000, samples=8_960_000_000, flops=1e18, core="lstm", seed=3)
    assert read_config(out) == expected == from_recommendation(source, core="lstm", seed=3)
    assert invoke("check", out).exit_code == 0
    assert tomllib.loads(out.read_text())["flops"] == 1e18


def test_a_recommendation_for_atari(tmp_path):
    source, out = write(tmp_path, RECOMMENDATION, "recommendation.toml"), tmp_path / "run.toml"
    arguments = ("from-recommendation", source, "--out", out, "--env", "atari", "--task", "Breakout", "--core", "cnn")
    assert invoke(*arguments).exit_code == 0
    assert (read_config(out).env, read_config(out).unroll_length) == ("atari", 1)


def test_an_existing_file_is_overwritten_only_by_force(tmp_path):
    source, out = write(tmp_path, RECOMMENDATION, "recommendation.toml"), write(tmp_path, "mine = true\n")
    assert_refused(invoke("from-recommendation", source, "--out", out), "already exists", "--force")
    assert out.read_text() == "mine = true\n"
    assert invoke("from-recommendation", source, "--out", out, "--force").exit_code == 0
    assert read_config(out).params == 18_600_000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("params = 1\n", ["no table [recommendation]"]),
        ("recommendation = 4\n", ["no table [recommendation]"]),
        (RECOMMENDATION.replace("samples =", "data ="), ["recommendation.samples.recommended", "got None"]),
        (RECOMMENDATION.replace("{recommended = 8.96e9, q05 = 6e9}", "8.96e9"), ["recommendation.samples.recommended"]),
        (RECOMMENDATION.replace("flops = 1e18", "flops = nan"), ["recommendation.flops", "nan"]),
        (RECOMMENDATION.replace("8.96e9", "12.0"), ["recommendation.toml", "less than one update"]),
        (RECOMMENDATION.replace("8.96e9", "-1"), ["samples must be between 1"]),
    ],
)
def test_a_bad_recommendation_is_refused_in_one_sentence(tmp_path, text, words):
    source = write(tmp_path, text, "recommendation.toml")
    assert_refused(invoke("from-recommendation", source, "--out", tmp_path / "run.toml"), *words)
    assert not (tmp_path / "run.toml").exists()


def test_an_output_that_cannot_be_written_is_one_sentence(tmp_path):
    source = write(tmp_path, RECOMMENDATION, "recommendation.toml")
    assert_refused(invoke("from-recommendation", source, "--out", tmp_path / "no" / "run.toml"), "cannot be written")


def test_training_does_not_import_forecast():
    code = "import sys, training.cli; sys.exit(any(name.split('.')[0] == 'forecast' for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
