"""Before a run begins it says what comes, then how long that takes, in a terminal and elsewhere."""

import dataclasses

import pytest

from training.config.cloning import CloningConfig
from training.config.reinforcement import ReinforcementConfig
from training.durations import duration
from training.learn.runs import monitor as module
from training.learn.runs.monitor import Monitor
from training.learn.runs.outlook import measurements_left, outlook
from training.learn.runs.rows import sentence_of

CLONE = CloningConfig(
    params=1000, samples=64_000, flops=1e12, batch_size=8, unroll_length=8, checkpoints=(1e11, 1.00001e11, 5e11)
)
PLAY = ReinforcementConfig(params=1000, samples=20_480, flops=1e12, envs=16, rollout=128)


def test_what_comes_is_said_with_its_games():
    assert outlook(CLONE) == (
        "To come: 1,000 updates of 8 × 8 frames (64,000 samples), and at 3 checkpoints the held-out loss; no games are "
        "played."
    )
    playing = dataclasses.replace(CLONE, episodes=30, episode_steps=5000)
    assert outlook(playing, 100).endswith(
        "900 updates of 8 × 8 frames (57,600 samples), and at 2 checkpoints the held-out loss and 30 games of at most "
        "5,000 actions, 60 in all."
    )
    assert outlook(PLAY) == (
        "To come: 10 updates of 16 × 128 frames (20,480 samples), and at the end 30 games of any length."
    )


def test_a_budget_that_shares_its_update_is_measured_once():
    assert [measurements_left(CLONE, update) for update in (0, 99, 100, 500, 1000)] == [3, 3, 2, 1, 0]


def test_lengths_of_time_for_people():
    assert [duration(s) for s in (12.4, 720, 9000, 4e9)] == ["12 s", "12 min", "2.5 h", "1,111,111 h"]


@pytest.fixture
def clock(monkeypatch):
    """Time that passes when told."""

    class Clock:
        now = 1000.0

    monkeypatch.setattr(module.time, "perf_counter", lambda: Clock.now)
    return Clock


def test_the_time_left_is_said_when_it_is_known(tmp_path, clock, capsys):
    playing = dataclasses.replace(CLONE, episodes=30)
    with Monitor(playing, tmp_path, start=0, peak=1e12, quiet=False) as shown:
        for update in range(1, 101):
            clock.now += 0.5
            shown.training(update, 2.0, 1e-3)
        told = capsys.readouterr().err.splitlines()
        assert told[0] == "At 128 frames/s: about 8 min left, and measuring."
        assert [line.split(" · ")[0] for line in told[1:]] == [f"update {n} of 1,000" for n in (20, 40, 60, 80, 100)]
        assert told[-1].endswith("about 8 min left, and measuring")
        for game in range(31):
            clock.now += 2.0
            shown.measuring("playing", game, 30, 600.0 - 20 * game)
        told = capsys.readouterr().err.splitlines()
        assert told[0] == "playing: 5 of 30 after 10 s, at most 8 min left"
        assert len(told) == 6
        shown.measured(100, {"loss": 1.0})
        clock.now += 0.5
        shown.training(101, 2.0, 1e-3)
        assert capsys.readouterr().err == "At 128 frames/s: about 9 min left.\n"


def test_lines_are_fewer_in_a_long_run(tmp_path, clock, capsys):
    with Monitor(dataclasses.replace(CLONE, samples=6_400_000), tmp_path, start=0, peak=1e12, quiet=False) as shown:
        for update in range(1, 501):
            clock.now += 1.0
            shown.training(update, 2.0, 1e-3)
    assert len(capsys.readouterr().err.splitlines()) == 1  # of 28 hours, a line about every 17 minutes


def test_games_that_were_cut_off_are_told_with_the_return():
    row = {"params": 10, "flops": 1e9, "return_mean": 3.0, "return_se": 0.5, "episodes": 30, "games_cut_off": 0}
    assert sentence_of(row).endswith("return 3 ± 0.5 over 30 games")
    cut = sentence_of({**row, "games_cut_off": 4})
    assert cut.endswith("over 30 games, 4 cut off before their end")
