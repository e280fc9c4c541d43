"""Simulation-based calibration of the real sampler (Talts et al., 2018).

Where parameters are drawn from the prior and data from the model given them, the rank of the true value among posterior
draws is uniform, for every parameter. A wrong likelihood, prior, gradient or sampler bends the histogram of ranks.
"""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pytest
from scipy import stats

from forecast.bayes.sampler import Settings, sample
from forecast.model.data import Data, Spec
from forecast.model.laws import log_loss, log_return, log_worth
from forecast.model.likelihood import sample_parameters
from forecast.model.parameters import SCALE_KNOTS, SKILL_KNOTS, parameters_of_draws

DRAWS = 99  # kept of each posterior, so that ranks are 0 to 99
BINS = 10
RUNS, CHECKPOINTS, PADDING = 10, 6, 4
SETTINGS = Settings(chains=2, draws=1000, warmup=600)
SITES = {
    "additive": (
        *("floor_logit@0", "share_logit@0", "log_alpha@0", "log_beta@0", "level_shift@0"),
        *("log_noise@0", "noise_growth", "dof_above_2", "memory"),
        *("log_return_spread@0", "return_elasticity_log@0", "return_level_shift@0", "return_size@0"),
    )
}
SITES["repeats"] = (*SITES["additive"], "repeats")
SITES["drifting"] = (*SITES["additive"], "interaction", "params_drift", "samples_drift", "return_drift")


def design(repeats=False):
    """Ten runs of five sizes, six checkpoints each, around the reference; the rest of the rows is padding.

    With `repeats` each run has e^-1 times the samples of the reference, and sees them up to 20 times.

    Every third loss has a standard error, every fourth row no return, and the errors of returns are given or left to
    the episodes in turn. The centres of the priors are part of the design, as in a fit they are read off the table.
    """
    rows = RUNS * CHECKPOINTS
    i = np.arange(rows)
    run, checkpoint = np.divmod(i, CHECKPOINTS)
    u = np.linspace(-2.5, 1.5, RUNS // 2)[run // 2]
    v = np.linspace(-2.5, 2.0, CHECKPOINTS)[checkpoint] + 0.2 * u

    def pad(values, fill=0.0):
        return np.concatenate([values, np.full(PADDING, fill)])

    one = np.ones(1)
    return Data(
        u=pad(u),
        v=pad(v),
        passes=pad(np.maximum(v + 1, 0) if repeats else np.zeros(rows)),
        log_loss=np.zeros(rows + PADDING),
        log_loss_se=pad(np.where(i % 3 == 0, 0.02, 0.0)),
        group=np.zeros(rows + PADDING, dtype=int),
        gap=pad(np.where(checkpoint == 0, 1e6, 4.5 / (CHECKPOINTS - 1)), 1e6),
        weight=pad(np.ones(rows)),
        log_return=np.zeros(rows + PADDING),
        return_se=pad(np.where(i % 2 == 0, 0.1, 0.0)),
        episodes=pad(np.where(i % 2 == 0, 0.0, 40.0)),
        return_weight=pad(np.where(i % 4 == 3, 0.0, 1.0)),
        level=0.3 * one,
        start=2.0 * one,
        start_known=0.0 * one,
        return_level=4.0 * one,
        return_floor=2.0 * one,
        ceiling=6.0 * one,
        ceiling_known=0.0 * one,
    )


def prior_draws(spec, data, count, seed):
    """Values of the sites and the parameters they make, arrays [count, ...]."""

    def one(key):
        with numpyro.handlers.trace() as trace, numpyro.handlers.seed(rng_seed=key):
            parameters = sample_parameters(spec, data)
        return {k: site["value"] for k, site in trace.items() if site["type"] == "sample"}, parameters

    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.PRNGKey(seed), count)
        return jax.tree.map(np.asarray, jax.jit(jax.vmap(one))(keys))


def simulate(data, parameters, rng):
    """Losses and returns of one table, checkpoint after checkpoint, from one draw of the parameters."""
    n = RUNS * CHECKPOINTS
    u, se = data.u[:n], data.log_loss_se[:n]
    noise = parameters.noise
    with jax.enable_x64(True):
        law = jax.tree.map(lambda x: jnp.asarray(x[0]), parameters.law)
        v = data.v[:n] if law.repeats is None else data.v[:n] + log_worth(data.passes[:n], law.repeats)
        location = np.asarray(log_loss(law, u, v, SCALE_KNOTS))
    rise = np.logaddexp(0.0, 4 * (location - parameters.law.level[0])) / 4
    sd = noise["noise"][0] * np.exp(noise["noise_growth"] * rise)
    total = np.hypot(sd, se)
    residual = np.zeros(n)
    for i in range(n):
        first = data.gap[i] > 1e5
        kept = 0.0 if first else np.exp(-data.gap[i] / noise["memory"])
        residual[i] = kept * residual[i - 1] + np.sqrt(1 - kept**2) * rng.standard_t(noise["dof"])
    losses = location + total * residual
    latent = location + (sd / total) ** 2 * (losses - location)
    with jax.enable_x64(True):
        return_law = jax.tree.map(lambda x: jnp.asarray(x[0]), parameters.return_law)
        mean = np.asarray(log_return(return_law, data.level[0] - latent, u, SKILL_KNOTS))
    returns = parameters.return_noise
    by_episode = np.where(data.episodes > 0, returns["episode_cv"] / np.sqrt(np.maximum(data.episodes, 1)), 0.0)[:n]
    error = np.sqrt(returns["spread"][0] ** 2 + data.return_se[:n] ** 2 + by_episode**2)
    played = mean + error * rng.standard_t(returns["dof"], n)
    padding = np.zeros(PADDING)
    return data._replace(
        log_loss=np.append(losses, padding),
        log_return=np.append(np.where(data.return_weight[:n] > 0, played, 0.0), padding),
    )


def loss_ahead(parameters):
    """What the law says three factors of e beyond the reference in both sizes and samples: [S]."""
    ahead = jnp.full(1, 3.0)
    with jax.enable_x64(True):
        law = jax.tree.map(lambda x: jnp.asarray(x[:, 0]), parameters.law)
        return np.asarray(jax.vmap(lambda one: log_loss(one, ahead, ahead, SCALE_KNOTS)[0])(law))


def ranks_of_truth(case, replications, seed=0):
    """Rank of the true value among DRAWS posterior draws, by quantity [replications].

    case: a law, or `repeats` for the additive law of samples that are seen again.
    """
    repeats = case == "repeats"
    spec = Spec(law="additive" if repeats else case, groups=1, trajectories=True, returns=True, repeats=repeats)
    data = design(repeats)
    truths, parameters = prior_draws(spec, data, replications, seed)
    truths["loss_ahead"] = loss_ahead(parameters)
    rng = np.random.default_rng(seed)
    ranks = {name: np.zeros(replications, dtype=int) for name in (*SITES[case], "loss_ahead")}
    for r in range(replications):
        one = jax.tree.map(lambda x, r=r: x[r], parameters)
        table = simulate(data, one, rng)
        found = sample(spec, table, SETTINGS, seed=1000 + r).values
        drawn = dict(found, loss_ahead=loss_ahead(parameters_of_draws(spec, table, found)))
        for name in ranks:
            values = drawn[name].ravel()
            thin = values[np.linspace(0, values.size - 1, DRAWS).astype(int)]
            ranks[name][r] = np.sum(thin < truths[name][r])
    return ranks


def uniformity(ranks):
    """p-values of a chi-square test over ten bins and of Kolmogorov and Smirnov's, for ranks 0 to DRAWS."""
    counts = np.bincount(ranks * BINS // (DRAWS + 1), minlength=BINS)
    spread = np.random.default_rng(0).uniform(size=ranks.size)  # within a rank, so that the distribution is continuous
    return stats.chisquare(counts).pvalue, stats.kstest((ranks + spread) / (DRAWS + 1), "uniform").pvalue


def test_the_test_of_uniformity_accepts_uniform_ranks_alone():
    rng = np.random.default_rng(1)
    centred = stats.norm.cdf(rng.normal(size=2000))
    p = [uniformity(r) for r in (np.floor(centred * (DRAWS + 1)).astype(int)).reshape(20, 100)]
    assert min(map(min, p)) > 0.001
    assert np.mean(p) == pytest.approx(0.5, abs=0.2)

    def refused(truth, posterior_sd):
        ranks = stats.norm(0, posterior_sd).cdf(truth)
        return min(uniformity(np.floor(ranks * (DRAWS + 1)).astype(int))) < 1e-3

    assert refused(rng.normal(size=100), 0.5)  # posteriors half as wide as they should be
    assert refused(rng.normal(size=100), 2.5)  # too wide
    assert refused(rng.normal(0.6, 1.0, size=100), 1.0)  # shifted by half a posterior sd


@pytest.mark.slow
@pytest.mark.parametrize("case", ["additive", "repeats", "drifting"])
def test_truth_ranks_uniformly_among_posterior_draws(case):
    ranks = ranks_of_truth(case, 100)
    p = {name: uniformity(r) for name, r in ranks.items()}
    print("\n".join(f"{case} {name:28s} chi2 {a:.3f} KS {b:.3f}" for name, (a, b) in p.items()))
    # A correct sampler fails in one of a hundred choices of seed: Bonferroni over all tests of the case.
    level = 0.01 / (2 * len(p))
    assert {name: found for name, found in p.items() if min(found) < level} == {}
