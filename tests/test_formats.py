"""Files that an earlier version wrote are read by this one, to the same numbers."""

import shutil
from pathlib import Path

import pytest
import torch
from letter_game import write_letters

import forecast
from training.config.read import read_config
from training.learn.distributed import place
from training.learn.learner import Learner
from training.learn.measure import heldout_loss
from training.policies.loaded import load_policy
from training.shards.reader import Shards

DATA = Path(__file__).parent / "data"
"""Written at commit 4a36bce (version 0.1.0)."""


def test_a_saved_posterior_still_gives_its_forecast():
    posterior = forecast.load_posterior(DATA / "posterior.nc")
    (loss,) = posterior.predict(3e7, 1e10).table().to_dict(orient="records")
    assert loss["q05"] == pytest.approx(0.6522005770144456, rel=1e-9)
    assert loss["median"] == pytest.approx(0.6807093067783256, rel=1e-9)
    assert loss["q95"] == pytest.approx(0.7098885375528956, rel=1e-9)
    assert forecast.recommend(posterior, flops=1e19).params == pytest.approx(112201845.43019652, rel=1e-9)


def test_a_checkpoint_still_plays_as_it_did(tmp_path):
    shards = Shards(write_letters(tmp_path / "shards"))
    policy = load_policy(DATA / "checkpoint").policy
    assert heldout_loss(policy, shards, batch_size=4, unroll_length=16).loss == pytest.approx(2.08753, abs=1e-4)


def test_a_run_still_goes_on_from_its_checkpoint(tmp_path):
    config = read_config(DATA / "checkpoint.toml")
    assert config.identity == "debb59248d5a"
    shutil.copytree(DATA / "checkpoint", tmp_path / "update-0000000040")
    spec = load_policy(DATA / "checkpoint").spec
    with place() as here:
        learner = Learner.begin(config, spec, here, tmp_path)
    assert (learner.update, learner.measured, learner.passed_over) == (40, 40, ())
    assert learner.loss == pytest.approx(2.094895362854004)
    state = learner.optimizer.state_dict()["state"]
    assert len(state) == len(list(learner.policy.parameters()))
    assert all(entry["step"] == 40 and torch.isfinite(entry["exp_avg"]).all() for entry in state.values())
