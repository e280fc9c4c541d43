"""The coordinates that NUTS moves in: a change of variables that leaves the posterior what it is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from forecast import read_runs
from forecast.model.data import Spec
from forecast.model.encode import encode
from forecast.model.sites import from_coordinates, packed, sites_of, unpacked


@pytest.fixture(scope="module")
def sites(planted):
    spec = Spec(law="drifting", groups=2, trajectories=True, returns=True)
    table = planted(4, sizes=3, checkpoints=4)
    both = read_runs(table.assign(group=np.where(np.arange(len(table)) % 2, "a", "b"), return_mean=1.0, episodes=10))
    return sites_of(spec, encode(both).data)


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
