"""Measuring at a checkpoint says how far it has come, and stops when asked."""

import dataclasses

import numpy as np
import pytest
import torch

from training.design.cloning import configure
from training.errors import DivergedError
from training.interrupts import InterruptedRunError, StopFlag
from training.learn.measure import measure
from training.learn.runs.monitor import Monitor
from training.policies.family import build, spec_of
from training.record.nethack.convert import nethack_writer
from training.shards.reader import Shards

LENGTHS = (70, 90, 40, 60)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("measure") / "shards"
    with nethack_writer(folder, source="test") as writer:
        for length in LENGTHS:
            encoder = writer.game(str(length))
            encoder.append(
                chars=np.full((length, 24, 80), 32, np.uint8),
                colors=np.full((length, 24, 80), 7, np.uint8),
                cursor=np.full((length, 2), 10, np.uint8),
                action=np.zeros(length, np.uint8),
                mask=np.ones(length, bool),
                score=np.zeros(length, np.int32),
            )
            writer.add(encoder.finish())
        writer.finish(holdout=0.5)
    return Shards(folder)


@pytest.fixture(scope="module")
def run(shards):
    """A run whose games last 30 actions, and its untrained policy."""
    config = configure(
        params=2.2e4, flops=1e11, data=str(shards.path), batch_size=2, unroll_length=16, episodes=3, episode_steps=30,
        max_epochs=1000,
    )  # fmt: skip
    torch.manual_seed(0)
    return config, build(spec_of(config, shards.actions))


def test_measuring_tells_how_far_it_is(shards, run):
    told = []
    config, policy = run
    values = measure(config, policy, shards, torch.float32, tell=lambda *now: told.append(now[:3]))
    losses, games = ([(done, total) for w, done, total in told if w == what] for what in ("held-out loss", "playing"))
    assert len(losses) + len(games) == len(told)
    frames = sum(game.frames for game in shards.heldout)
    assert losses[-1] == (frames, frames)
    assert games[-1] == (3, 3)
    for stage in (losses, games):
        assert [done for done, _ in stage] == sorted(done for done, _ in stage)
    assert len(losses) > 1
    assert (values["episodes"], values["games_cut_off"]) == (3, 3)
    assert values["heldout_frames"] == frames


@pytest.mark.parametrize("stage", ["held-out loss", "playing"])
def test_measuring_stops_when_asked(shards, run, stage):
    stop, after = StopFlag(), []

    def tell(what, done, total, left):
        if stop.raised:
            after.append(what)
        stop.raised |= what == stage

    with pytest.raises(InterruptedRunError, match="start the same command again"):
        measure(*run, shards, torch.float32, stop, tell)
    assert not after


def test_a_policy_without_numbers_gets_no_row(shards, run):
    config, policy = run[0], build(spec_of(run[0], shards.actions))
    torch.nn.init.constant_(policy.policy.weight, torch.inf)
    with pytest.raises(DivergedError, match="held-out loss is not finite: training diverged"):
        measure(config, policy, shards, torch.float32)


def test_a_terminal_shows_what_is_measured_while_it_is(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal, for rich
    config = dataclasses.replace(run[0], checkpoints=())
    with Monitor(config, tmp_path, start=0, peak=1e12, quiet=False) as monitor:
        monitor.measuring("playing", 1, 3)
        monitor.say("between")
        seen = capsys.readouterr().err
        assert "playing" in seen
        assert "1 of 3" in seen
        monitor.measured(0, {"loss": 1.0})
        monitor.say("after")
        seen = capsys.readouterr().err
        assert "training" in seen
        assert "playing" not in seen
