"""The model against densities written out by hand, its documented priors, and a real table."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pytest
from jaxtyping import jaxtyped
from numpyro.infer.util import log_density
from scipy import stats

from forecast import read_runs
from forecast.bayes.sampler import prior_parameters, row_forecasts
from forecast.model.data import Data, Spec
from forecast.model.encode import encode
from forecast.model.likelihood import row_locations, run_model, sample_parameters
from forecast.model.parameters import SCALE_KNOTS, SKILL_KNOTS
from forecast.model.weights import weigh_rows

ADDITIVE = Spec(law="additive", groups=1, trajectories=True, returns=False)
LOSS_SITES = {
    "floor_logit@0": -0.5,
    "share_logit@0": 0.3,
    "log_alpha@0": -0.8,
    "log_beta@0": -0.6,
    "level_shift@0": 0.07,
    "log_noise@0": np.log(0.03),
    "noise_growth": 0.6,
    "dof_above_2": 4.0,
    "memory": 1.7,
}
RETURN_SITES = {
    "log_return_spread@0": -1.5,
    "return_dof_above_2": 3.0,
    "return_episode_cv": 0.8,
    "return_elasticity_log@0": 0.5,
    "return_headroom@0": 0.4,
    "return_level_shift@0": 0.2,
    "return_drift": 0.4,
    "return_drift_steps@0": np.zeros(6),
    "return_size@0": 0.1,
    "return_floor_shift@0": -0.3,
}


@pytest.fixture(scope="module")
def encoded(planted):
    """Three runs of four checkpoints in shuffled order, some losses with a standard error."""
    table = planted(4, sizes=3, checkpoints=4).sample(frac=1.0, random_state=1)
    table["loss_se"] = np.where(np.arange(len(table)) % 3 == 0, 0.04 * table["loss"], np.nan)
    return read_runs(table)


@functools.cache
def compiled_density(spec):
    return jax.jit(lambda data, sites: log_density(run_model, (data, spec), {}, sites)[0])


def density(data, spec, sites):
    """Log density of constrained sites; the data is an argument of a compiled function, as in the sampler."""
    with jax.enable_x64(True):
        data = Data(*(jnp.asarray(x) for x in data))
        value = compiled_density(spec)(data, {k: jnp.asarray(v) for k, v in sites.items()})
    return float(value)


@pytest.mark.parametrize("returns", [False, True])
def test_sites_given_here_are_all_sites(encoded, returns):
    """One that is missing would be drawn at random, and the densities below would mean nothing."""
    spec = Spec(law="additive", groups=1, trajectories=True, returns=returns)
    data = encode(encoded).data._replace(weight=1.0, return_weight=1.0)
    with jax.enable_x64(True), numpyro.handlers.seed(rng_seed=0):
        trace = numpyro.handlers.trace(run_model).get_trace(data, spec)
    found = {name for name, site in trace.items() if not site["is_observed"]}
    assert found == set(LOSS_SITES) | (set(RETURN_SITES) if returns else set())


def location_by_hand(data, u, v):
    """Log loss of the additive law of LOSS_SITES."""
    floor, share = 1 / (1 + np.exp(0.5)), 1 / (1 + np.exp(-0.3))
    removable = share * np.exp(-np.exp(-0.8) * u) + (1 - share) * np.exp(-np.exp(-0.6) * v)
    return data.level[0] + 0.07 + np.log(floor + (1 - floor) * removable)


def scale_by_hand(data, predicted):
    return 0.03 * np.exp(0.6 * np.log1p(np.exp(4 * (predicted - data.level[0] - 0.07))) / 4)


def loss_prior_by_hand():
    return (
        stats.norm(-1.5, 1.3).logpdf(-0.5)
        + stats.norm(0.0, 1.0).logpdf(0.3)
        + stats.norm(np.log(0.5), 0.5).logpdf(-0.8)
        + stats.norm(np.log(0.5), 0.5).logpdf(-0.6)
        + stats.norm(0.0, 0.2).logpdf(0.07)
        + stats.norm(np.log(0.005), 1.0).logpdf(np.log(0.03))
        + stats.halfnorm(scale=1.0).logpdf(0.6)
        + stats.lognorm(0.8, scale=5.0).logpdf(4.0)
        + stats.lognorm(0.5, scale=np.exp(-1.0)).logpdf(1.7)
    )


# ---- likelihood ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("uncounted", [None, 1])
def test_density_of_trajectories_equals_the_one_written_out(encoded, uncounted):
    """Also where a row of each run, its second, has weight 0: it says nothing of the noise of the next."""
    encoding = encode(encoded)
    data, reference = encoding.data, encoding.references["all"]
    if uncounted is not None:
        weight = np.where(np.arange(data.u.size) % 4 == uncounted, 0.0, data.weight)
        data = data._replace(weight=weight)
    total = loss_prior_by_hand()
    for _, run in encoded.table.groupby("run"):  # from the table itself, run by run, not from the encoded order
        before = None
        for place, row in enumerate(run.sort_values("samples").itertuples()):
            if place == uncounted:
                before = None
                continue
            predicted = location_by_hand(
                data, np.log(row.params / reference.params), np.log(row.samples / reference.samples)
            )
            relative_se = 0.0 if np.isnan(row.loss_se) else row.loss_se / row.loss
            scale = np.hypot(scale_by_hand(data, predicted), relative_se)
            residual = (np.log(row.loss) - predicted) / scale
            centre, width = 0.0, 1.0
            if before is not None:
                kept = (row.samples / before[1]) ** (-1 / 1.7)
                centre, width = kept * before[0], np.sqrt(1 - kept**2)
            total += stats.t(6.0, centre, width).logpdf(residual) - np.log(scale)
            before = residual, row.samples
    assert density(data, ADDITIVE, LOSS_SITES) == pytest.approx(total, abs=1e-5)


def test_density_without_trajectories_takes_every_row_for_itself(encoded):
    data = encode(encoded).data
    sites = {k: v for k, v in LOSS_SITES.items() if k != "memory"}
    n = len(encoded.table)
    predicted = location_by_hand(data, data.u[:n], data.v[:n])
    scale = np.hypot(scale_by_hand(data, predicted), data.log_loss_se[:n])
    rows = stats.t(6.0, predicted, scale).logpdf(data.log_loss[:n])
    by_hand = loss_prior_by_hand() - stats.lognorm(0.5, scale=np.exp(-1.0)).logpdf(1.7) + rows.sum()
    spec = Spec(law="additive", groups=1, trajectories=False, returns=False)
    assert density(data, spec, sites) == pytest.approx(by_hand, abs=1e-6)


def test_density_of_returns_equals_the_one_written_out(planted):
    table = planted(5, sizes=3, checkpoints=4)
    table["return_mean"] = [0, 3, 20, 90, 1, 8, np.nan, 200, 2, 15, 80, np.nan]
    table["episodes"] = 50.0
    table["return_se"] = [0.1, np.nan] * 6
    table.loc[table["return_mean"].isna(), ["return_se", "episodes"]] = np.nan
    encoding = encode(read_runs(table))
    data, n = encoding.data, len(table)
    offset = encoding.references["all"].return_offset
    ordered = table.sort_values(["params", "samples"]).reset_index(drop=True)
    predicted = location_by_hand(data, data.u[:n], data.v[:n])
    total = 0.0
    for i, row in ordered.iterrows():
        if np.isnan(row["return_mean"]):
            continue
        skill = data.level[0] - np.log(row["loss"])  # no loss_se: the latent loss is the measured one
        signal = data.return_level[0] + 0.2 + np.exp(0.5) * skill + 0.1 * data.u[i]
        floor, ceiling = np.exp(data.return_floor[0] - 0.3), np.exp(data.ceiling[0] + 0.4)
        location = -np.log(1 / (floor + np.exp(signal)) + 1 / ceiling)
        shifted = row["return_mean"] + offset
        error = 0.8 / np.sqrt(row["episodes"]) if np.isnan(row["return_se"]) else row["return_se"] / shifted
        scale = np.hypot(np.exp(-1.5), error)
        total += stats.t(5.0, location, scale).logpdf(np.log(shifted))
    spec = Spec(law="additive", groups=1, trajectories=True, returns=True)
    prior = (
        stats.norm(np.log(0.2), 0.8).logpdf(-1.5)
        + stats.lognorm(0.8, scale=5.0).logpdf(3.0)
        + stats.lognorm(0.5, scale=1.0).logpdf(0.8)
        + stats.norm(np.log(2.5), 0.7).logpdf(0.5)
        + stats.halfnorm(scale=2.5).logpdf(0.4)
        + stats.norm(0.0, 1.0).logpdf(0.2)
        + stats.lognorm(0.5, scale=0.7).logpdf(0.4)
        + 6 * stats.norm(0.0, 0.4).logpdf(0.0)
        + stats.norm(0.0, 0.15).logpdf(0.1)
        + stats.norm(0.0, 0.5).logpdf(-0.3)
    )
    losses = density(data, ADDITIVE, LOSS_SITES)
    both = density(data, spec, LOSS_SITES | RETURN_SITES)
    assert predicted.shape == (n,)
    assert both - losses == pytest.approx(total + prior, abs=1e-6)


def test_padding_changes_no_density(nethack_runs):
    kept = nethack_runs.subset(~nethack_runs.table.index.isin(weigh_rows(nethack_runs).set_aside.index))
    data = encode(kept).data
    more = {f: np.concatenate([x, np.full(64, x[-1])]) for f, x in data._asdict().items() if x.shape == data.u.shape}
    assert data.weight[-1] == 0  # so every row added is padding
    spec = Spec(law="additive", groups=1, trajectories=True, returns=True)
    sites = LOSS_SITES | RETURN_SITES
    assert density(data._replace(**more), spec, sites) == pytest.approx(density(data, spec, sites), abs=1e-8)
    # Whatever stands in a padding row; and a row that is not padding does count.
    other = {"log_loss": np.where(data.weight > 0, data.log_loss, 5.0), "u": np.where(data.weight > 0, data.u, -9.0)}
    assert density(data._replace(**other), spec, sites) == pytest.approx(density(data, spec, sites), abs=1e-8)
    fewer = data._replace(weight=np.where(np.arange(data.u.size) == 3, 0.0, data.weight))
    assert abs(density(fewer, spec, sites) - density(data, spec, sites)) > 1e-3


# ---- priors -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prior(nethack):
    """Draws of the default model's prior, around the real table."""
    return prior_parameters(nethack.spec, nethack.encoding.data, 4000, 3)


def test_priors_are_as_documented(prior):
    """The 90% intervals that the docstring of the model states."""
    stated = {
        "floor": (prior.law.floor, 0.025, 0.66),
        "share": (prior.law.share, 0.16, 0.84),
        "alpha": (prior.law.params_exponents[..., SCALE_KNOTS.below], 0.22, 1.14),
        "beta": (prior.law.samples_exponents[..., SCALE_KNOTS.below], 0.22, 1.14),
        "interaction": (prior.law.interaction, 0.5, 1.9),
        "noise": (prior.noise["noise"], 0.001, 0.026),
        "memory": (prior.noise["memory"], 0.16, 0.84),
        "elasticity": (prior.return_law.elasticity[..., SKILL_KNOTS.below], 0.8, 7.9),
        "return_spread": (prior.return_noise["spread"], 0.05, 0.75),
    }
    # One or two digits are stated, and 4000 draws place the ends of an interval within a tenth.
    ends = {name: np.quantile(draws, [0.05, 0.95]) for name, (draws, _, _) in stated.items()}
    wrong = {n: (ends[n], low, high) for n, (_, low, high) in stated.items() if ends[n] != approx_ends(low, high)}
    assert not wrong
    assert np.sqrt(np.mean(drift_steps(prior.law.params_exponents) ** 2)) == pytest.approx(0.32, rel=0.1)
    assert np.sqrt(np.mean(drift_steps(prior.law.samples_exponents) ** 2)) == pytest.approx(0.32, rel=0.1)
    assert np.sqrt(np.mean(drift_steps(prior.return_law.elasticity) ** 2)) == pytest.approx(0.89, rel=0.1)


def approx_ends(low, high):
    return pytest.approx([low, high], rel=0.15)


def drift_steps(rates):
    """Change of the log rate between neighbouring knots; its mean square is the middle squared times e^(2 · 0.5²)."""
    return np.diff(np.log(rates), axis=-1)


def test_prior_predicts_losses_like_those_of_a_real_table(nethack, prior):
    encoding = nethack.encoding
    n = len(encoding.rows)
    observed = encoding.data.log_loss[:n]
    location, scale = row_forecasts(prior, encoding.data)
    noise = np.random.default_rng(0).standard_t(prior.noise["dof"])[:, None]
    losses = (location + scale * noise)[:, :n]
    assert (np.abs(np.median(losses, axis=0) - observed) < np.log(20)).mean() >= 0.9
    low, high = np.quantile(losses, [0.01, 0.99], axis=0)
    assert ((observed >= low) & (observed <= high)).mean() >= 0.95
    # And it rules something out: at the frontier a loss tenfold off is outside.
    near = np.hypot(encoding.data.u[:n], encoding.data.v[:n]) < 2
    assert near.sum() >= 5
    assert (high - low)[near].max() < 2 * np.log(10)


def test_every_exponent_is_positive(nethack, prior):
    assert prior.law.params_exponents.shape == prior.law.samples_exponents.shape == (4000, 1, SCALE_KNOTS.count)
    for law in (prior.law, nethack.parameters.law):
        assert (law.params_exponents > 0).all()
        assert (law.samples_exponents > 0).all()
        assert ((law.floor > 0) & (law.floor < 1)).all()


def test_only_what_a_law_names_is_free(nethack, prior):
    assert (np.ptp(prior.law.params_exponents, axis=-1) > 0).all()
    for law in ("additive", "interaction", "saturating"):
        found = one_draw(Spec(law=law, groups=1, trajectories=True, returns=False), nethack.encoding.data).law
        assert found.params_exponents.shape == (1, 1)
        assert (found.start is not None) == (law in ("saturating", "drifting"))
        assert (found.interaction != 1.0).all() == (law == "interaction")


def one_draw(spec, data, seed=5):
    with jax.enable_x64(True), numpyro.handlers.seed(rng_seed=seed):
        return jax.tree.map(np.asarray, sample_parameters(spec, data))


# ---- groups -------------------------------------------------------------------------------------------------------


def test_groups_share_a_centre_and_keep_their_own_values(encoded):
    one = encode(encoded).data
    data = one._replace(**{f: np.repeat(x, 3) for f, x in one._asdict().items() if x.shape == (1,)})
    spec = Spec(law="additive", groups=3, trajectories=True, returns=False)
    found = prior_parameters(spec, data, 3000, 6)
    assert found.law.floor.shape == found.law.share.shape == found.law.level.shape == (3000, 3)
    assert found.law.params_exponents.shape == (3000, 3, 1)
    assert found.noise["noise"].shape == (3000, 3)
    assert found.noise["memory"].shape == (3000,)
    log_alpha = np.log(found.law.params_exponents[..., 0])
    # Common sd 0.5, between groups exp(N(log 0.3, 0.5)): mean square 0.3² e^0.5, so a correlation of 0.63.
    assert np.corrcoef(log_alpha[:, 0], log_alpha[:, 1])[0, 1] == pytest.approx(0.63, abs=0.08)
    assert abs(np.corrcoef(found.law.level[:, 0], found.law.level[:, 1])[0, 1]) < 0.08  # not pooled


def test_a_row_follows_the_law_of_its_group(encoded):
    one = encode(encoded).data
    data = one._replace(level=np.repeat(one.level, 3), start=np.repeat(one.start, 3))
    law = one_draw(Spec(law="additive", groups=3, trajectories=True, returns=False), data).law
    group = np.arange(one.u.size) % 3
    with jax.enable_x64(True):
        mixed = np.asarray(row_locations(jax.tree.map(jnp.asarray, law), data._replace(group=group)))
    floor, share, alpha, beta = law.floor, law.share, law.params_exponents[:, 0], law.samples_exponents[:, 0]
    removable = share[group] * np.exp(-alpha[group] * one.u) + (1 - share[group]) * np.exp(-beta[group] * one.v)
    by_hand = law.level[group] + np.log(floor[group] + (1 - floor[group]) * removable)
    np.testing.assert_allclose(mixed, by_hand, atol=1e-10)


# ---- shapes -------------------------------------------------------------------------------------------------------


def test_encoded_arrays_have_the_declared_shapes(nethack_runs, two_groups):
    of_numpy = Data.__annotations__
    for data in (encode(nethack_runs).data, two_groups.encoding.data):
        with jaxtyped("context"):  # `rows` and `groups` mean one number each in here
            assert not [name for name, kind in of_numpy.items() if not isinstance(getattr(data, name), kind)]
    assert not isinstance(np.zeros((3, 1)), of_numpy["u"])
