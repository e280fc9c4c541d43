"""Ctrl-C while the command trains, and while its modules load."""

import pytest
from helpers import interrupted
from letter_game import write_letters
from small_sweeps import plan

from training.config.base import to_toml as run_toml
from training.design.plan import to_toml as plan_toml
from training.design.reinforcement import configure
from training.learn.runs.monitor import PROGRESS

SENTENCE = "training: interrupted; start the same command again."


ENOUGH = 4
"""Seconds to the end; below one on a machine that does nothing else."""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with runs and plans that take minutes: of many updates, of long ones, and of games."""
    folder = tmp_path_factory.mktemp("interrupted")
    data = write_letters(folder / "shards")
    many = plan(data, budgets=(2e11,), sizes=(1e4,), max_epochs=1e6)
    long = plan(data, budgets=(2e13,), sizes=(1e5,), max_epochs=1e9, batch_size=64, unroll_length=64)
    games = plan(data, budgets=(4e8,), sizes=(1e4,), max_epochs=1e6, episodes=1000, heldout_frames=16)
    for name, made in (("many", many), ("long", long), ("games", games)):
        (folder / f"{name}.toml").write_text(plan_toml(made))
        (folder / f"{name}-run.toml").write_text(run_toml(made.runs[0]))
    (folder / "play-run.toml").write_text(run_toml(configure(env="nethack", params=1e6, flops=1e16)))
    return folder


@pytest.mark.parametrize("seconds", [0.02, 0.3, 0.7])
def test_ctrl_c_while_modules_load_is_one_sentence(files, seconds):
    """Also while torch loads, which an exception would abort."""
    code, told, took = interrupted("training", files, "sweep", "many.toml", after="here", seconds=seconds)
    assert (code, told.splitlines()[1:]) == (130, [SENTENCE])
    assert took < 3


AGAIN = "start the same command again to go on."
SAVED = "which is saved; start the same command again to go on."
STOPPED = "training: stopped with 0 of 1 runs finished; start the same command again to go on."


def written(folder, pattern, text):
    """What says whether a file like this holds a text."""
    return lambda: any(text in path.read_text() for path in folder.glob(pattern))


@pytest.mark.parametrize(
    ("arguments", "after", "doing", "words"),
    [
        (("bc", "many-run.toml", "--out", "many", "--table", "many.csv"), "To come", "training", SAVED),
        (("bc", "long-run.toml", "--out", "long", "--table", "long.csv"), "To come", None, AGAIN),
        (("rl", "play-run.toml", "--out", "play", "--table", "play.csv"), "To come", None, AGAIN),
        (("bc", "games-run.toml", "--out", "games", "--table", "games.csv"), "To come", "playing", "again to go on."),
        (("collect", "recorded", "--games", "1000"), "Recording", None, "go on with --append."),
    ],
    ids=["training", "long-update", "learning-by-play", "playing", "recording"],
)
def test_ctrl_c_keeps_what_there_is_and_ends(files, arguments, after, doing, words):
    ready = written(files, f"*/{PROGRESS}", f'"doing": "{doing}') if doing else lambda: True
    code, told, took = interrupted("training", files, *arguments, after=after, seconds=1.0, ready=ready)
    assert code == 130, told
    assert told.splitlines()[-1].endswith(words)
    assert "Traceback" not in told
    assert took < ENOUGH


@pytest.mark.parametrize(("name", "said"), [("many", ""), ("many", "To come"), ("long", "To come")])
def test_ctrl_c_ends_a_sweep_however_long_an_update_is(files, name, said):
    """While the process of a run loads, while it trains, and in the middle of an update of many seconds."""
    out = f"{name}{len(said)}"
    ready = written(files, f"{out}/runs/*/log.txt", said)
    started = ("sweep", f"{name}.toml", "--parallel", "1", "--out", out)
    code, told, took = interrupted("training", files, *started, after=": running", seconds=0.5, ready=ready)
    assert code == 130, told
    assert told.splitlines()[-1] == STOPPED
    assert "Traceback" not in told
    assert took < ENOUGH


@pytest.mark.slow
def test_ctrl_c_ends_a_sweep_on_ray(files):
    ready = written(files, "ray/runs/*/log.txt", "To come")
    started = ("sweep", "long.toml", "--on", "ray", "--address", "local", "--out", "ray")
    code, told, took = interrupted("training", files, *started, after=": running", seconds=0.5, ready=ready)
    assert (code, told.splitlines()[-1]) == (130, STOPPED)
    assert took < ENOUGH
