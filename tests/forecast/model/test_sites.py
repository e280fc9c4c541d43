"""What the model samples, and the coordinates that NUTS moves in, which leave the posterior what it is."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from forecast import read_runs
from forecast.model import LAWS
from forecast.model.data import Spec
from forecast.model.encode import encode
from forecast.model.evaluate import law_on_points, return_on_draws
from forecast.model.laws import log_loss, log_return
from forecast.model.parameters import SCALE_KNOTS, SKILL_KNOTS, parameters_of, parameters_of_draws
from forecast.model.priors import site_shapes
from forecast.model.sites import as_jax, from_coordinates, packed, sites_of, unpacked


@pytest.fixture(scope="module")
def data(planted):
    """By whether there are losses: rows of two groups, with returns."""
    table = planted(4, sizes=3, checkpoints=4).assign(episodes=10)
    both = table.assign(group=np.where(np.arange(len(table)) % 2, "a", "b"), return_mean=3 / table["loss"])
    played = read_runs(both.drop(columns="loss"))
    losses = encode(read_runs(both), expert_loss={"a": 0.25}).data
    return {True: losses, False: encode(played, expert_return={"a": 50.0}).data}


@pytest.fixture(scope="module")
def sites(data):
    return sites_of(Spec(law="drifting", groups=2, trajectories=True, returns=True), data[True])


SPECS = [
    Spec(law=law, groups=groups, trajectories=trajectories, returns=returns, losses=losses)
    for law, groups, trajectories in itertools.product(LAWS, (1, 2), (True, False))
    for returns, losses in ((True, True), (False, True), (False, False))
]


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_sites_are_those_that_numpyro_samples(spec, data):
    of_group = {f: x[: spec.groups] for f, x in data[spec.losses]._asdict().items() if x.shape == (2,)}
    rows = data[spec.losses]._replace(**of_group)
    traced = jax.eval_shape(functools.partial(sites_of, spec), rows)
    assert {name: value.shape for name, value in traced.items()} == site_shapes(spec)


def test_a_law_falls_to_the_loss_of_its_demonstrator(data):
    spec = Spec(law="drifting", groups=2, trajectories=True, returns=True, experts=True)
    rng = np.random.default_rng(3)
    draws = {name: rng.normal(0, 1, (2, 50, *shape)) for name, shape in site_shapes(spec).items()}
    known, free = (
        parameters_of_draws(one, data[True], draws).law for one in (spec, dataclasses.replace(spec, experts=False))
    )
    least = np.exp(known.level) * known.floor
    np.testing.assert_allclose(least[:, 0], 0.25)  # of group a
    np.testing.assert_array_equal(least[:, 1], (np.exp(free.level) * free.floor)[:, 1])
    assert np.corrcoef(known.level[:, 0], free.level[:, 0])[0, 1] > 0.9
    assert (known.level[:, 0] > np.log(0.25)).all()


@pytest.mark.parametrize("losses", [True, False])
@pytest.mark.parametrize("law", LAWS)
def test_numpy_and_jax_give_the_same_forecasts(law, losses, data):
    spec = Spec(law=law, groups=2, trajectories=True, returns=losses, losses=losses, experts=losses)
    rng = np.random.default_rng(1)
    draws = {name: rng.uniform(0.2, 1.5, (2, 3, *shape)) for name, shape in site_shapes(spec).items()}
    found = parameters_of_draws(spec, data[losses], draws)
    u, v = rng.uniform(-6, 6, (2, 50))
    laws = found.law._replace(**{f: x[:, 1] for f, x in found.law._asdict().items() if x is not None})
    with jax.enable_x64(True):
        joined = {name: jnp.asarray(x.reshape(6, *x.shape[2:])) for name, x in draws.items()}
        wanted = jax.vmap(lambda values: parameters_of(spec, as_jax(data[losses]), values))(joined)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), found, wanted)
        by_jax = jax.vmap(lambda one: log_loss(one, u, v, SCALE_KNOTS))(jax.tree.map(jnp.asarray, laws))
        np.testing.assert_allclose(law_on_points(laws, u, v), by_jax, rtol=1e-11, atol=1e-12)
        if losses:
            returned = jax.tree.map(lambda x: x[:, 1], wanted.return_law)
            skill = rng.uniform(-3, 3, (6, 50))
            by_jax = jax.vmap(lambda one, s: log_return(one, s, u, SKILL_KNOTS))(returned, skill)
            by_numpy = return_on_draws(jax.tree.map(np.asarray, returned), skill, np.broadcast_to(u, skill.shape))
            np.testing.assert_allclose(by_numpy, by_jax, rtol=1e-11, atol=1e-12)


def test_packed_values_come_back(sites):
    back = unpacked(sites, packed(sites))
    assert back.keys() == sites.keys()
    assert all(np.array_equal(back[k], sites[k]) for k in sites)


def test_volume_of_coordinates_is_that_of_their_jacobian(sites):
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        values = {k: jnp.asarray(rng.standard_normal(np.shape(v))) for k, v in sites.items()}
        vector, unravel = ravel_pytree(values)
        moved, log_volume = from_coordinates(values)
        jacobian = jax.jacobian(lambda x: ravel_pytree(from_coordinates(unravel(x))[0])[0])(vector)
    assert log_volume == pytest.approx(np.linalg.slogdet(np.asarray(jacobian))[1], abs=1e-9)
    changed = {k for k in values if not np.array_equal(values[k], moved[k])}
    assert changed == {k for k in values if "_steps@" in k}
    assert len(changed) == 6  # sizes, samples and elasticity, of two groups
