"""Ctrl-C while the command trains, and while its modules load."""

import pytest
from helpers import interrupted
from letter_game import write_letters
from small_sweeps import plan

from training.config.base import to_toml as run_toml
from training.design.plan import to_toml as plan_toml

SENTENCE = "training: interrupted; start the same command again."


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a run and a plan that take minutes."""
    folder = tmp_path_factory.mktemp("interrupted")
    long = plan(write_letters(folder / "shards"), budgets=(2e11,), sizes=(1e4,), max_epochs=1e6)
    (folder / "run.toml").write_text(run_toml(long.runs[0]))
    (folder / "plan.toml").write_text(plan_toml(long))
    return folder


@pytest.mark.parametrize("seconds", [0.02, 0.3, 0.7])
def test_ctrl_c_while_modules_load_is_one_sentence(files, seconds):
    """Also while torch loads, which an exception would abort."""
    code, told, took = interrupted("training", files, "sweep", "plan.toml", after="here", seconds=seconds)
    assert (code, told.splitlines()[1:]) == (130, [SENTENCE])
    assert took < 3


@pytest.mark.parametrize(
    ("arguments", "after", "words"),
    [
        (("bc", "run.toml", "--table", "bc.csv"), "To come", "which is saved; start the same command again to go on."),
        (("sweep", "plan.toml", "--parallel", "1"), ": running", "start the same command again to go on."),
    ],
    ids=["bc", "sweep"],
)
def test_ctrl_c_saves_and_ends_what_trains(files, arguments, after, words):
    code, told, took = interrupted("training", files, *arguments, after=after, seconds=1.0)
    assert code == 130, told
    assert told.splitlines()[-1].endswith(words)
    assert "Traceback" not in told
    assert took < 8  # a second or two, on a machine that does nothing else
