"""What a sample costs to train on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast.runs.cost import CostLaw, fit_cost

NATURE = {9610: 4.968e6, 19893: 5.030e6, 39668: 5.148e6, 80009: 5.390e6, 159440: 7.609e6, 314852: 1.264e7}
"""FLOPs a sample of six `nature` policies of reports/atari-clones, whose convolutions widen from 128 hidden units."""
LARGE = (5864890, 1.523e8)
"""A larger one, of its outcome."""


def fitted(cost: dict[float, float]) -> CostLaw:
    params = np.array(list(cost))
    return fit_cost(params, np.full(len(params), 1e6), 1e6 * np.array(list(cost.values())))


def test_cost_is_read_from_the_largest_budget_of_each_size() -> None:
    params, flops = np.repeat([1e6, 1e7, 1e8], 3), np.tile([1e14, 1e15, 1e16], 3)
    samples = flops / (40 * params**0.9)
    samples = np.where(flops < 1e15, samples * 2, samples)  # rounding at small budgets
    cost = fit_cost(params, samples, flops)
    assert (cost.coefficient, cost.exponent, cost.fixed) == pytest.approx((40, 0.9, 0), rel=1e-9)


def test_a_part_that_every_size_costs_is_found_where_it_is_plain() -> None:
    law = fitted(NATURE)
    assert law.exponent == 1
    assert law.fixed == pytest.approx(NATURE[9610], rel=0.15)
    size, cost = LARGE
    assert law(size) == pytest.approx(cost, rel=0.15)


@settings(max_examples=50, deadline=None)
@given(exponent=st.floats(0.3, 1.2), noise=st.floats(0, 0.03), seed=st.integers(0, 99))
def test_a_power_law_of_cost_stays_one(exponent: float, noise: float, seed: int) -> None:
    sizes = np.geomspace(1e5, 1e8, 7)
    rough = 1 + noise * np.random.default_rng(seed).uniform(-1, 1, 7)
    law = fitted(dict(zip(sizes, 9.0 * sizes**exponent * rough, strict=True)))
    assert law.fixed == 0
    assert law.exponent == pytest.approx(exponent, abs=0.02)


@pytest.mark.parametrize("fixed", [0.0, 5e6])
def test_the_size_of_a_cost_is_the_inverse(fixed: float) -> None:
    law = CostLaw(coefficient=28.0, exponent=1.1, fixed=fixed)
    for size in (1e3, 1e6, 1e9):
        assert law.params(float(law(size))) == pytest.approx(size, rel=1e-6)
    assert law.params(0.5 * law.fixed) == 0
