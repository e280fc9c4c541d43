"""Tables with a planted truth, and posteriors that several files share so that each is sampled once a session."""

import numpy as np
import pandas as pd
import pytest

import forecast

SETTINGS = {"chains": 2, "draws": 200, "max_draws": 200, "warmup": 300}


def planted_table(
    seed,
    *,
    E=0.3,
    A=0.4,
    B=0.5,
    alpha=0.45,
    beta=0.55,
    g=1.0,
    noise=0.02,
    dof=7.0,
    memory=1.0,
    sizes=6,
    checkpoints=9,
    replicates=1,
):
    """Runs of L = E + (A·(N/1e7)^(-α/g) + B·(D/1e9)^(-β/g))^g with the noise of the model: Student, shared in a run."""
    rng = np.random.default_rng(seed)
    rows = []
    for size in np.geomspace(1e6, 1e8, sizes):
        for replicate in range(replicates):
            samples = np.geomspace(2e7, 2e10, checkpoints) * (size / 1e7) ** 0.2
            kept = np.append(0.0, np.exp(-np.diff(np.log(samples)) / memory))
            shocks, residual = rng.standard_t(dof, checkpoints), 0.0
            for d, c, t in zip(samples, kept, shocks, strict=True):
                residual = c * residual + np.sqrt(1 - c**2) * t
                removable = (A * (size / 1e7) ** (-alpha / g) + B * (d / 1e9) ** (-beta / g)) ** g
                loss = (E + removable) * np.exp(noise * residual)
                rows.append((f"n{size:.0f}-{replicate}", size, d, 6 * size * d, loss))
    return pd.DataFrame(rows, columns=["run", "params", "samples", "flops", "loss"])


@pytest.fixture(scope="session")
def planted():
    return planted_table


@pytest.fixture(scope="session")
def quick():
    """The settings of every fit here: one compilation for each model and padded shape."""
    return SETTINGS


@pytest.fixture(scope="session")
def nethack_runs():
    return forecast.read_runs("nethack-transformer")


@pytest.fixture(scope="session")
def nethack(nethack_runs):
    """The real table under the default law, with returns and trajectories."""
    return forecast.fit(nethack_runs, **SETTINGS)


@pytest.fixture(scope="session")
def additive(planted):
    """A planted additive law, without returns."""
    return forecast.fit(forecast.read_runs(planted(0)), law="additive", **SETTINGS)


@pytest.fixture(scope="session")
def two_groups(planted):
    """Two games with different planted laws, whose runs carry the same names."""
    one, other = planted(0).assign(group="one"), planted(1, E=0.6, alpha=0.3).assign(group="other")
    return forecast.fit(forecast.read_runs(pd.concat([one, other])), law="additive", **SETTINGS)
