"""Advantages against sums done by hand."""

import pytest
import torch

from training.learn.advantages import generalised_advantage, vtrace

HALF = 0.5


def row(*values: float) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.float64)


def flags(*values: int) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.bool)


def test_generalised_advantage_by_hand():
    # Three frames, discount 0.5, lambda 0.5; the second ends its game by the rules, so nothing comes after it.
    reward, value, following = row(1, 2, 3), row(10, 20, 30), row(20, 99, 40)
    done = terminated = flags(0, 1, 0)
    advantage, target = generalised_advantage(reward, value, following, done, terminated, HALF, HALF)
    last = 3 + HALF * 40 - 30  # -7
    second = 2 - 20  # -18
    first = (1 + HALF * 20 - 10) + HALF * HALF * second  # 1 - 4.5
    assert advantage.tolist() == [[first, second, last]]
    assert target.tolist() == [[first + 10, second + 20, last + 30]]


def test_a_game_cut_off_is_worth_what_its_last_frame_is():
    reward, value, following = row(1, 2, 3), row(10, 20, 30), row(20, 8, 40)
    done, terminated = flags(0, 1, 0), flags(0, 0, 0)
    advantage, _ = generalised_advantage(reward, value, following, done, terminated, HALF, HALF)
    second = 2 + HALF * 8 - 20  # bootstraps from its own last frame, and hears nothing of the next game
    assert advantage.tolist() == [[1 + HALF * 20 - 10 + HALF * HALF * second, second, 3 + HALF * 40 - 30]]


def test_vtrace_by_hand():
    # Ratios 2 (cut to 1) and 0.5: IMPALA, eq. 1.
    behaviour = row(0.25, 0.5).log()
    log_prob = row(0.5, 0.25).log()
    reward, value, following = row(1, 2), row(10, 20), row(20, 40)
    none = flags(0, 0)
    advantage, target = vtrace(log_prob, behaviour, reward, value, following, none, none, HALF)
    second = 0.5 * (2 + HALF * 40 - 20)  # 1
    first = 1 * (1 + HALF * 20 - 10) + HALF * 1 * second  # 1.5
    assert target.tolist() == [[10 + first, 20 + second]]
    assert advantage.tolist() == [[1 * (1 + HALF * (20 + second) - 10), 0.5 * (2 + HALF * 40 - 20)]]


def test_on_policy_vtrace_is_the_sum_of_rewards_to_come():
    generator = torch.Generator().manual_seed(0)
    reward, value, following = (torch.randn(3, 7, generator=generator, dtype=torch.float64) for _ in range(3))
    following[:, :-1] = value[:, 1:]
    none, same = torch.zeros(3, 7, dtype=torch.bool), torch.randn(3, 7, generator=generator, dtype=torch.float64)
    _, target = vtrace(same, same, reward, value, following, none, none, 0.9)
    wanted = following[:, -1]
    for t in reversed(range(7)):
        wanted = reward[:, t] + 0.9 * wanted
        assert target[:, t].tolist() == pytest.approx(wanted.tolist(), abs=1e-5)
