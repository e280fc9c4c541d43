"""Run configs as a new user meets them: TOML in, TOML out, and one clear sentence when something is wrong."""

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from training.config.base import CORES, SCHEDULES, to_toml
from training.config.cloning import CloningConfig
from training.config.read import read_config
from training.design.recommendation import Recommended, read_recommendation
from training.errors import ConfigError

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


@st.composite
def configs(draw):
    env = draw(st.sampled_from(sorted(CORES)))
    core = draw(st.sampled_from(CORES[env]))
    nethack = st.sampled_from(
        ["mon-hum-neu-mal", "val-dwa-law-fem", "@", "NetHackScore", "NetHackScore:val-hum-neu-fem"]
    )
    atari = st.from_regex(r"[A-Z][A-Za-z0-9]{0,20}", fullmatch=True)
    batch_size = draw(st.integers(1, 4096))
    unroll_length = 1 if env == "atari" else draw(st.integers(1, 512))
    positive = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
    return CloningConfig(
        env=env,
        task=draw(nethack if env == "nethack" else atari),
        core=core,
        params=draw(st.integers(1, 2**63 - 1)),
        samples=draw(st.integers(batch_size * unroll_length, 2**63 - 1)),
        flops=draw(positive),
        batch_size=batch_size,
        unroll_length=unroll_length,
        learning_rate=draw(positive),
        schedule=draw(st.sampled_from(SCHEDULES)),
        data=draw(st.text(max_size=20)),
        warmup=draw(st.floats(0, 1)),
        seed=draw(st.integers(0, 2**32 - 1)),
    )


@given(config=configs())
@example(config=CloningConfig(params=1, samples=10**18, flops=1e300, learning_rate=5e-324))
def test_toml_round_trip(config, tmp_path_factory):
    path = write(tmp_path_factory.mktemp("round"), to_toml(config))
    assert read_config(path) == config


def test_a_short_file_takes_defaults_and_whole_floats_are_ints(tmp_path):
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
        ({"env": "atari", "task": "Breakout"}, ["core of a run in atari", "cnn", "'lstm'"]),
        ({"env": "atari", "task": "Breakout", "core": "cnn"}, ["unroll_length", "must be 1", "got 80"]),
        ({"schedule": "linear"}, ["schedule", "wsd", "'linear'"]),
        ({"precision": "float16"}, ["precision", "bfloat16", "'float16'"]),
        ({"compile": "yes"}, ["compile", "auto or on or off", "'yes'"]),
        ({"warmup": 1.5}, ["warmup", "share", "1.5"]),
        ({"group": " a"}, ["group", "one line", "' a'"]),
        ({"group": "a\nb"}, ["group", "one line"]),
        ({"clip": 0}, ["clip", "positive"]),
        ({"episodes": -1}, ["episodes", "-1"]),
        ({"checkpoints": 1e15}, ["checkpoints", "list of numbers"]),
        ({"checkpoints": [1e15, "x"]}, ["checkpoints", "finite number", "'x'"]),
        ({"checkpoints": [7e16]}, ["checkpoints", "up to flops = 6e+16", "7e+16"]),
        ({"checkpoints": [1e9]}, ["checkpoint at 1e+09", "first update", "6.14e+11"]),
        ({"task": "Breakout"}, ["task", "mon-hum-neu-mal", "'Breakout'"]),
        ({"task": "mon-hum-neu-mal\n"}, ["task", "NetHack character"]),
        ({"env": "atari", "core": "cnn", "unroll_length": 1}, ["task", "Atari game", "mon-hum-neu-mal"]),
    ],
)
def test_every_bad_value_is_refused_by_name(change, words):
    good = {"params": 10**7, "samples": 10**9, "flops": 6e16}
    with pytest.raises(ConfigError) as caught:
        CloningConfig(**{**good, **change})
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert message.endswith(".")
    assert "\n" not in message


def test_budgets_end_with_the_whole_and_updates_stay_within():
    config = CloningConfig(
        params=1000, samples=10_000, flops=1e9, batch_size=10, unroll_length=7, checkpoints=(5e8, 1e8)
    )
    assert config.budgets == (1e8, 5e8, 1e9)
    assert [config.updates_within(b) for b in config.budgets] == [14, 71, 142]
    cost = config.flops_per_sample * config.samples_per_update
    assert all(u * cost <= b < (u + 1) * cost for u, b in zip([14, 71, 142], config.budgets, strict=True))


def test_identity_is_that_of_the_whole_config():
    config = CloningConfig(params=1000, samples=10_000, flops=1e9, batch_size=10, unroll_length=7)
    assert config.identity == CloningConfig(**vars(config)).identity
    others = [CloningConfig(**{**vars(config), k: v}) for k, v in (("seed", 1), ("clip", 2.0), ("task", "@"))]
    assert len({config.identity, *(o.identity for o in others)}) == 4


def test_how_a_run_is_computed_is_no_part_of_which_run_it_is(tmp_path):
    config = CloningConfig(params=1000, samples=10_000, flops=1e9, batch_size=10, unroll_length=7)
    compiled = replace(config, compile="on")
    assert (compiled, compiled.identity, compiled.name) == (config, config.identity, config.name)
    assert config.identity == "f914876f640d"  # as before there was a choice
    assert read_config(write(tmp_path, to_toml(compiled))).compile == "on"


def test_rows_are_grouped_by_environment_and_core_unless_named():
    config = CloningConfig(params=1000, samples=10_000, flops=1e9, batch_size=10, unroll_length=7)
    named = replace(config, group="human games")
    assert (config.row_group, named.row_group) == ("nethack-lstm", "human games")
    assert named.identity != config.identity


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
def test_a_bad_file_is_refused_in_one_sentence(tmp_path, text, words):
    with pytest.raises(ConfigError) as caught:
        read_config(write(tmp_path, text))
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)


def test_what_is_no_text_file_is_refused(tmp_path):
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    for path, words in (
        (tmp_path / "absent.toml", "cannot be read"),
        (tmp_path, "cannot be read"),
        (binary, "not valid"),
    ):
        with pytest.raises(ConfigError, match=words):
            read_config(path)


def test_a_recommendation_is_read_and_another_file_is_none(tmp_path):
    source = write(tmp_path, RECOMMENDATION, "recommendation.toml")
    assert read_recommendation(source) == Recommended(params=18600000.4, samples=8.96e9, flops=1e18)
    assert read_recommendation(write(tmp_path, GOOD)) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("recommendation = 4\n", ["recommendation is no table"]),
        (RECOMMENDATION.replace("samples =", "data ="), ["recommendation.samples.recommended", "got None"]),
        (RECOMMENDATION.replace("{recommended = 8.96e9, q05 = 6e9}", "8.96e9"), ["recommendation.samples.recommended"]),
        (RECOMMENDATION.replace("flops = 1e18", "flops = nan"), ["recommendation.flops", "nan"]),
        (RECOMMENDATION.replace("8.96e9", "-1"), ["recommendation.samples.recommended must be a positive number"]),
    ],
)
def test_a_bad_recommendation_is_refused_in_one_sentence(tmp_path, text, words):
    with pytest.raises(ConfigError) as caught:
        read_recommendation(write(tmp_path, text, "recommendation.toml"))
    assert all(word in str(caught.value) for word in words), caught.value
