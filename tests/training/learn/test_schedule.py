"""Step sizes against their formulas."""

import math

import pytest

from training.config.cloning import CloningConfig
from training.learn.schedule import learning_rate


def rates(**choices):
    config = CloningConfig(
        params=1000, samples=1000, flops=1e9, batch_size=1, unroll_length=1, learning_rate=1.0, **choices
    )
    return [learning_rate(config, update) for update in range(config.updates)]


def test_constant_rises_once_and_stays():
    found = rates(schedule="constant", warmup=0.1)
    assert found[:100] == pytest.approx([(i + 1) / 101 for i in range(100)])
    assert set(found[100:]) == {1.0}
    assert set(rates(schedule="constant", warmup=0.0)) == {1.0}


def test_cosine_ends_at_a_tenth():
    found = rates(schedule="cosine", warmup=0.0)
    assert found[0] == 1.0
    assert found[500] == pytest.approx(0.55)
    assert found[250] == pytest.approx(0.55 + 0.45 * math.cos(math.pi / 4))
    assert found[-1] == pytest.approx(0.1, abs=1e-4)


def test_wsd_is_constant_and_then_falls_linearly_to_zero():
    found = rates(schedule="wsd", warmup=0.05, decay=0.2)
    assert set(found[50:800]) == {1.0}
    assert found[800:] == pytest.approx([(200 - i) / 201 for i in range(200)])


def test_shares_that_cover_everything_are_still_positive():
    for schedule in ("constant", "cosine", "wsd"):
        assert min(rates(schedule=schedule, warmup=1.0, decay=1.0)) > 0
