"""Parabolas through profiles whose vertices are known."""

import numpy as np
import pytest
from planted_surfaces import BUDGETS, grid

from forecast.classical import isoflop_profiles, parabola
from forecast.classical.parabola import fit_parabolas

# A surface whose isoFLOP profiles are exactly quadratic in log N, with power laws of the vertices planted.
LOSS_LAW, PARAMS_LAW = (300.0, -0.18), (2e-3, 0.55)


def quadratic_surface(response="log_loss"):
    sizes = np.geomspace(1e4, 1e9, 41)
    params, samples, flops = grid(sizes=sizes)
    vertex = np.log(PARAMS_LAW[0] * flops ** PARAMS_LAW[1])
    bowl = 0.07 * (np.log(params) - vertex) ** 2
    least = LOSS_LAW[0] * flops ** LOSS_LAW[1]
    return params, samples, flops, least * np.exp(bowl) if response == "log_loss" else least + bowl


def test_parabola_recovers_planted_vertices():
    found = parabola(*quadratic_surface())
    exponents = found.exponents()
    assert all(fitted.status == "ok" for fitted in found.parabolas)
    assert exponents["loss"].value == pytest.approx(LOSS_LAW[1], abs=1e-8)
    assert exponents["params"].value == pytest.approx(PARAMS_LAW[1], abs=1e-8)
    assert exponents["samples"].value == pytest.approx(1 - PARAMS_LAW[1], abs=1e-8)
    assert found.params.coefficient().value == pytest.approx(PARAMS_LAW[0], rel=1e-6)
    assert found.loss.coefficient().value == pytest.approx(LOSS_LAW[0], rel=1e-6)
    assert [fitted.curvature for fitted in found.parabolas] == pytest.approx([0.14] * BUDGETS.size)


def test_parabola_of_loss_itself_as_in_the_paper():
    found = parabola(*quadratic_surface("loss"), response="loss")
    assert found.exponents()["loss"].value == pytest.approx(LOSS_LAW[1], abs=1e-8)


def test_bad_parabolas_are_reported_and_not_used():
    params, samples, flops, loss = quadratic_surface()
    hill, slope, thin = BUDGETS[[0, 5, 11]]
    loss = np.where(flops == hill, 1 / loss, loss)
    loss = np.where(flops == slope, np.exp(0.01 * (np.log(params) + 20) ** 2), loss)
    kept = (flops != thin) | (params < params.min() * 1.5)
    found = parabola(params[kept], samples[kept], flops[kept], loss[kept], budgets=BUDGETS)
    statuses = {fitted.flops: fitted.status for fitted in found.parabolas}
    assert statuses[hill] == "not convex"
    assert statuses[slope] == "vertex outside the sizes"
    assert statuses[thin] == "too few sizes"
    assert all(fitted.params is None for fitted in found.parabolas if fitted.status != "ok")
    assert found.used.flops.size == BUDGETS.size - 3
    assert found.exponents()["params"].value == pytest.approx(PARAMS_LAW[1], abs=1e-8)


def test_within_keeps_the_neighbourhood_of_the_minimum():
    profiles = isoflop_profiles(*quadratic_surface())
    for fitted in fit_parabolas(profiles, within=1.5):
        near = profiles.loss[profiles.flops == fitted.flops]
        assert fitted.sizes == (near <= 1.5 * near.min()).sum() < near.size
    with pytest.raises(ValueError, match="factor above"):
        fit_parabolas(profiles, within=1.0)


def test_parabola_refuses_a_table_of_hills():
    params, samples, flops, loss = quadratic_surface()
    with pytest.raises(ValueError, match=r"only 0 of 12 .* \(not convex\)"):
        parabola(params, samples, flops, 1 / loss)
