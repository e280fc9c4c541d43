"""What samples are worth that are seen again, against the published formula."""

import jax
import jax.numpy as jnp
import numpy as np
from helpers import frame
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast.model.encode import encode
from forecast.model.laws import log_worth
from forecast.runs.read import read_runs

LOG_PASSES = st.floats(0, 12)
REPEATS = st.floats(0.1, 1e3)


def fresh_samples(samples, unique, repeats):
    """D' of Muennighoff et al. (2023), eq. 5, as printed there."""
    again = samples / unique - 1
    return unique + unique * repeats * (1 - np.exp(-again / repeats))


@settings(deadline=None)  # jax compiles at the first example
@given(LOG_PASSES, REPEATS)
def test_worth_is_the_published_formula(passes, repeats):
    samples = 1e6 * np.exp(passes)
    expected = fresh_samples(samples, 1e6, repeats) / samples
    np.testing.assert_allclose(np.exp(log_worth(passes, repeats)), expected, rtol=1e-9)
    with jax.enable_x64(True):
        np.testing.assert_allclose(log_worth(jnp.asarray(passes), repeats), np.log(expected), rtol=1e-9, atol=1e-12)


@given(LOG_PASSES, REPEATS)
def test_more_passes_add_ever_less(passes, repeats):
    steps = np.log(np.exp(passes) + np.array([0.0, 1.0, 2.0]))
    fresh = np.exp(steps + log_worth(steps, repeats))  # in units of the distinct samples
    first, second = np.diff(fresh)
    assert -1e-9 <= second <= first + 1e-9 <= 1 + 1e-5
    assert fresh[-1] <= (1 + repeats) * (1 + 1e-9)


def test_samples_seen_once_are_worth_themselves():
    assert log_worth(0.0, 15.0) == 0.0
    assert log_worth(-3.0, 15.0) == 0.0  # more distinct samples than are seen


def test_a_table_without_repeats_is_encoded_as_before():
    table = frame()
    encoded = encode(read_runs(table.assign(unique_samples=table["samples"])))
    plain = encode(read_runs(table))
    assert not encoded.repeats
    for before, after in zip(plain.data, encoded.data, strict=True):
        np.testing.assert_array_equal(before, after)


def test_passes_of_a_row_are_samples_over_distinct_ones():
    table = frame()
    encoding = encode(read_runs(table.assign(unique_samples=np.minimum(table["samples"], 1e6))))
    rows = encoding.rows
    samples = read_runs(table).table["samples"].loc[rows].to_numpy()
    np.testing.assert_allclose(encoding.data.passes[: len(rows)], np.log(np.maximum(samples / 1e6, 1)), atol=1e-8)
    assert encoding.repeats == bool((samples > 1e6).any())
