"""The fit against planted laws, and what must not change it."""

import importlib

import numpy as np
import pandas as pd
import pytest

from forecast import compare, read_runs, recommend
from forecast.bayes import fit
from forecast.bayes.diagnostics import convergence, diagnose, leave_out
from forecast.bayes.sampler import Settings, sample
from forecast.model.laws import coefficients
from forecast.model.weights import LOCALITIES, MOST_ROWS, NEIGHBOUR, weigh_rows

PLANTED = {"E": 0.3, "alpha": 0.45, "beta": 0.55}
TABLES = 20


@pytest.fixture(scope="module")
def runs(planted):
    return read_runs(planted(0))


@pytest.fixture(scope="module")
def recovered(planted, quick):
    """Posteriors of the same planted law from tables that differ in their noise, of a memory that the prior expects."""
    return [fit(read_runs(planted(s, memory=0.4)), law="additive", seed=s, **quick) for s in range(TABLES)]


def draws_of(posterior, name):
    if name == "noise":
        return np.asarray(posterior.parameters.noise["noise"])[:, 0]
    reference = posterior.reference()
    return np.asarray(coefficients(posterior.parameters.law, reference.params, reference.samples)[name])[:, 0]


def same_draws(a, b):
    return set(a.draws) == set(b.draws) and all(np.array_equal(a.draws[k], b.draws[k]) for k in a.draws)


# ---- recovery -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "truth"), [*PLANTED.items(), ("noise", 0.02)])
def test_planted_values_lie_inside_their_intervals(recovered, name, truth):
    ends = np.array([np.quantile(draws_of(p, name), [0.05, 0.95]) for p in recovered])
    inside = int(((ends[:, 0] <= truth) & (truth <= ends[:, 1])).sum())
    # Of 20 intervals of 90% fewer than 14 hold the truth once in 400 sessions; of 20 of 50%, in 94 of 100.
    assert inside >= 14
    # And they are not vacuous: a small part of the prior's 90% interval.
    prior_width = {"E": 0.7, "alpha": 0.92, "beta": 0.92, "noise": 0.054}[name]
    assert np.median(np.diff(ends)) < 0.55 * prior_width


def test_estimates_are_not_shifted(recovered):
    for name, truth in PLANTED.items():
        medians = np.array([np.median(draws_of(p, name)) for p in recovered])
        # The mean over tables within four standard errors, plus what a prior may do (a tenth of the truth).
        assert abs(medians.mean() - truth) < 4 * medians.std(ddof=1) / np.sqrt(TABLES) + 0.1 * truth, name


def test_more_noise_in_the_table_is_more_noise_in_the_posterior(planted, quick, recovered):
    noisy = fit(read_runs(planted(0, noise=0.06, memory=0.4)), law="additive", **quick)
    assert np.median(draws_of(noisy, "noise")) / np.median(draws_of(recovered[0], "noise")) == pytest.approx(3, rel=0.4)
    assert np.ptp(np.quantile(draws_of(noisy, "alpha"), [0.05, 0.95])) > np.ptp(
        np.quantile(draws_of(recovered[0], "alpha"), [0.05, 0.95])
    )


# ---- what must not matter -----------------------------------------------------------------------------------------


def test_units_and_row_order_change_no_draw(planted, quick, additive):
    table = planted(0).sample(frac=1.0, random_state=3)
    # The units of compute go along: a table whose flops contradict params times samples is refused.
    scaled = table.assign(params=table["params"] / 1e6, samples=table["samples"] / 1e9, flops=table["flops"] / 1e15)
    other = fit(read_runs(scaled), law="additive", **quick)
    assert same_draws(other, additive)
    here = additive.predict(3e8, 1e11).table()
    there = other.predict(300.0, 100.0).table()
    np.testing.assert_allclose(there.loc[:, "q05":], here.loc[:, "q05":], rtol=1e-6)


def test_units_of_compute_alone_change_no_draw(planted, quick, additive):
    table = planted(0)
    other = fit(read_runs(table.assign(flops=table["flops"] * 7.0)), law="additive", **quick)
    assert same_draws(other, additive)


def test_seed_decides_the_draws(planted, quick, additive):
    runs = read_runs(planted(0))
    assert same_draws(fit(runs, law="additive", seed=0, **quick), additive)
    other = fit(runs, law="additive", seed=1, **quick)
    assert not any(np.array_equal(other.draws[k], additive.draws[k]) for k in additive.draws)
    assert not any(np.array_equal(chain[0], chain[1]) for chain in additive.draws.values())


def test_draws_are_doubled_until_they_are_enough_and_no_further(additive, quick):
    def drawn(max_draws, enough):
        settings = Settings(chains=quick["chains"], draws=200, max_draws=max_draws, warmup=quick["warmup"])
        weights = additive.encoding.chain_weights(settings.chains)
        told = []
        found = sample(
            additive.spec,
            additive.encoding.data,
            settings,
            additive.seed,
            weights=weights,
            enough=enough,
            progress=lambda done, total: told.append((done, total)),
        )
        assert told[-1] == (300 + found.diverging.shape[1],) * 2
        return found.values

    never, at_400 = drawn(700, lambda values: False), drawn(1600, lambda values: values["log_alpha@0"].shape[1] >= 400)
    assert never["log_alpha@0"].shape == (2, 700)
    assert at_400["log_alpha@0"].shape == (2, 400)
    np.testing.assert_array_equal(never["log_alpha@0"][:, :400], at_400["log_alpha@0"])
    np.testing.assert_array_equal(drawn(100, lambda values: False)["log_alpha@0"], at_400["log_alpha@0"][:, :200])


def test_chains_that_disagree_or_creep_have_not_converged():
    rng = np.random.default_rng(0)
    good = rng.normal(size=(4, 1000))
    assert convergence({"x": good}, 2).reached
    # Two views may differ; two chains of one view may not.
    assert convergence({"x": good + np.array([[0.0], [9.0]] * 2)}, 2).reached
    assert not convergence({"x": good + np.array([[0.0], [0.0], [0.5], [0.5]])}, 2).reached
    creeping = np.cumsum(good, axis=1)
    assert not convergence({"x": good, "y": creeping - creeping.mean(axis=1, keepdims=True)}, 2).reached


# ---- rows set aside -----------------------------------------------------------------------------------------------


def test_rows_weigh_less_far_from_frontier_and_largest_compute(planted):
    table = planted(0, noise=1e-3, sizes=9, checkpoints=30)
    runs = read_runs(table)
    best = np.array([table.loc[table["flops"] <= c, "loss"].min() for c in table["flops"]])
    excess = np.log(table["loss"] / best).to_numpy()
    behind = np.log10(table["flops"].max() / table["flops"]).to_numpy()
    begun = table["loss"] <= table.loc[table["flops"] <= 1.5 * table["flops"].min(), "loss"].min()
    assert 0 < begun.sum() < len(table)
    weights = weigh_rows(runs).weights
    assert weights.index.tolist() == runs.table.index.tolist()
    for view, (of_excess, of_compute) in enumerate(LOCALITIES):
        by_hand = begun * np.exp(-0.5 * ((excess / of_excess) ** 2 + (behind / of_compute) ** 2))
        assert by_hand.sum() > 10  # enough is left, so that nothing is widened
        np.testing.assert_allclose(weights[view], np.where(by_hand < 0.01, 0.0, by_hand), atol=1e-8)


def test_transients_are_set_aside_with_their_reason(planted, quick):
    table = planted(0, noise=1e-3)
    first = table.loc[table["flops"] <= 1.5 * table["flops"].min(), "loss"].min()
    far = table.index == table.loc[table["params"] == table["params"].min(), "samples"].idxmax()
    table.loc[far, "loss"] = 0.99 * first  # below the beginning of the frontier, far above it at its own compute
    transients = table[table["params"] == table["params"].max()].nsmallest(2, "samples").index
    table.loc[transients, "loss"] = first * np.array([1.8, 1.1])
    posterior = fit(read_runs(table), law="additive", **quick)
    early = set(2 + np.flatnonzero(table["loss"] > first))  # line 1 is the header
    assert {2 + i for i in transients} <= early
    assert early | {2 + int(np.flatnonzero(far)[0])} == set(posterior.set_aside.index)
    assert all("smallest budget" in posterior.set_aside[i] for i in early)
    assert "too far above" in posterior.set_aside[2 + int(np.flatnonzero(far)[0])]
    assert sorted([*posterior.encoding.rows, *posterior.set_aside.index]) == sorted(posterior.runs.table.index)


def test_a_small_table_keeps_enough_rows_to_be_fitted(planted):
    """Of nine rows far apart a narrow view would keep one."""
    table = planted(0, sizes=3, checkpoints=3)
    weights = weigh_rows(read_runs(table)).weights
    assert (weights.sum() >= 4.5).all()
    assert all(table.loc[(weights[k] > 0.1).to_numpy(), "params"].nunique() == 3 for k in weights)


def test_kept_and_set_aside_rows_of_the_real_table_are_all_rows(nethack, nethack_runs):
    assert nethack.runs is nethack_runs
    assert nethack.set_aside.notna().all()
    assert not set(nethack.encoding.rows) & set(nethack.set_aside.index)
    assert sorted([*nethack.encoding.rows, *nethack.set_aside.index]) == sorted(nethack_runs.table.index)


@pytest.mark.parametrize("named", [True, False])
def test_of_a_large_table_spaced_checkpoints_are_fitted(planted, named):
    """With or without names of runs; the last checkpoint of every curve stays, and no size is lost."""
    table = planted(0, noise=1e-3, sizes=9, checkpoints=300)
    runs = read_runs(table if named else table.drop(columns="run"))
    weighed = weigh_rows(runs)
    used = runs.table[(weighed.weights > 0).any(axis=1)]
    assert 0.5 * MOST_ROWS < len(used) <= MOST_ROWS
    stood_for = runs.table.loc[weighed.set_aside[weighed.set_aside == NEIGHBOUR].index]
    counted = pd.concat([used, stood_for])
    assert set(used["params"]) == set(counted["params"])
    assert used.groupby("params")["samples"].max().equals(counted.groupby("params")["samples"].max())
    steps = np.log(used["samples"]).groupby(used["params"]).diff().dropna()
    assert steps.max() < 2.1 * steps.median()


def test_of_more_curves_than_rows_allowed_some_stand_for_all(planted):
    table = planted(0, noise=1e-3, sizes=900, checkpoints=1)
    table["samples"] = np.geomspace(1e9, 1e11, 900)
    weights = weigh_rows(read_runs(table.assign(flops=6 * table["params"] * table["samples"]))).weights
    assert 0.5 * MOST_ROWS < (weights > 0).any(axis=1).sum() <= MOST_ROWS


@pytest.mark.slow
def test_naming_runs_of_one_training_a_size_widens_nothing():
    """The effect of size is not the noise of a run: with the names the interval was twenty times as wide."""
    named = read_runs("constant-rate")
    unnamed = read_runs(named.table.drop(columns=["run"]).reset_index(drop=True))
    widths, sizes = [], []
    for runs in (named, unnamed):
        posterior = fit(runs)
        assert posterior.diagnostics.passed
        chosen = recommend(posterior, flops=10 * float(runs.table["flops"].max()))
        assert chosen.loss is not None
        widths.append(np.log(chosen.loss["q95"] / chosen.loss["q05"]))
        sizes.append(np.log(chosen.params))
    assert widths[0] < 1.3 * widths[1]
    assert abs(sizes[0] - sizes[1]) < 0.3


# ---- verdict ------------------------------------------------------------------------------------------------------


TRAININGS = [f"r{i}" for i in range(20)]


def checked(*, apart=0.0, diverged=False, pit=0.5, pareto_k=None, sizes=9, plateau=0.1):
    """Diagnostics of a fit that is sound but for what is said."""
    draws = np.random.default_rng(0).normal(size=(4, 500)) + apart * np.arange(4)[:, None]
    k = pd.Series(0.0, index=TRAININGS) if pareto_k is None else pd.Series(pareto_k, index=TRAININGS)
    return diagnose({"x": draws}, np.full((4, 500), diverged), np.full(100, pit), k, sizes, plateau=plateau)


@pytest.mark.parametrize(
    ("wrong", "level", "advice"),
    [
        ({"apart": 1.0}, "red", "ample longer (--draws"),
        ({"pit": 0.0}, "red", "wrong units"),
        ({"diverged": True}, "red", "--law additive"),
        ({"pareto_k": 0.9}, "amber", "column `run`"),
        ({"sizes": 3}, "amber", "rain more sizes."),
        ({"plateau": 0.4}, "amber", "larger budgets."),
    ],
)
def test_advice_and_level_fit_the_check_that_failed(wrong, level, advice):
    found = checked(**wrong)
    assert found.verdict.level == level
    assert found.passed == (level != "red")
    advices = (
        "ample longer (--draws",
        "wrong units",
        "--law additive",
        "column `run`",
        "rain more sizes.",
        "larger budgets.",
    )
    assert [other for other in advices if other in found.sentence] == [advice], found.sentence
    assert checked().verdict.level == "green"


def test_the_trainings_that_a_fit_leans_on_are_named():
    k = np.where(np.arange(20) < 6, 0.8 + 0.01 * np.arange(20), 0.2)
    found = checked(pareto_k=k)
    assert "it leans on few trainings (30% of them: r5, r4, r3, r2 and 2 more)" in found.sentence
    assert found.sentence.startswith("Take this forecast with care")


def test_red_comes_before_amber_and_far_beyond_is_amber():
    both = checked(apart=1.0, sizes=2)
    assert both.verdict.level == "red"
    assert "it rests on 2 model sizes" in both.sentence
    sound = checked().verdict
    assert sound.at(2.0) == sound
    far = sound.at(np.log10(5000))
    assert far.level == "amber"
    assert "5,000 times the largest compute of the table" in far.sentence
    assert both.verdict.at(4.0).level == "red"


def test_a_size_far_beyond_those_of_the_table_is_amber():
    sound = checked().verdict
    assert sound.at(1.0, 5.0) == sound
    large = sound.at(1.0, 18.6)
    assert large.level == "amber"
    assert "its model has 18.6 times the parameters of the largest in the table" in large.sentence


# ---- settings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"law": "cubic"}, "additive, interaction, saturating, drifting"),
        ({"draws": 0}, "draws is 0"),
        ({"draws": 150}, "draws is 150"),
        ({"draws": 200, "max_draws": 100}, "max_draws is 100"),
        ({"warmup": -100}, "warmup is -100"),
        ({"chains": 0}, "chains is 0"),
        ({"chains": 65}, "chains is 65"),
        ({"chains": 1.5}, "chains is 1.5"),
        ({"draws": 200.5}, "draws is 200.5"),
        ({"expert_return": float("nan")}, "expert_return of all is nan"),
        ({"expert_return": {"chess": 3.0}}, "chess"),
        ({"start_loss": float("nan")}, "start_loss of all is nan"),
        ({"expert_loss": 0.0}, "expert_loss of all is 0"),
        ({"expert_loss": 9.0}, "expert_loss of all is 9, and a run has a loss of"),
    ],
)
def test_settings_out_of_range_are_refused_in_one_sentence(runs, choices, message):
    with pytest.raises(ValueError, match=r"\.$") as error:
        fit(runs, **choices)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


# ---- returns ------------------------------------------------------------------------------------------------------


def test_expert_return_caps_the_mean_return(nethack, nethack_runs, quick):
    best = nethack_runs.table["return_mean"].max()
    capped = fit(nethack_runs, expert_return=1.5 * best, **quick)
    flops = nethack.largest_flops() * 1e6
    params = np.geomspace(1e7, 1e12, 6)
    samples = flops / nethack.cost["all"](params)

    def mean_returns(posterior):
        losses = posterior.log_loss(params, samples)
        return posterior.returns_at(losses, params, new_run=False)

    assert (mean_returns(capped) <= 1.5 * best * (1 + 1e-9)).all()
    assert mean_returns(nethack).max() > 1.5 * best  # without it nothing stops them there


# ---- comparison ---------------------------------------------------------------------------------------------------


def test_comparison_leaves_out_whole_trajectories(planted, quick, monkeypatch):
    """Runs of the two games carry the same names and are different trainings."""
    table = pd.concat([planted(0).assign(group="one"), planted(1, E=0.6, alpha=0.3).assign(group="other")])
    runs = read_runs(table)
    found = []

    def spy(likelihoods, blocks):
        found.append((likelihoods, blocks, leave_out(likelihoods, blocks)))
        return found[-1][2]

    monkeypatch.setattr(importlib.import_module("forecast.bayes.fit"), "leave_out", spy)
    compared = compare(runs, laws=("additive",), **quick)
    likelihoods, blocks, loo = found[-1]  # fitting leaves out as well, for its diagnostics
    views = [f[2].loo_i for f in found[-len(LOCALITIES) :]]
    trainings = len(table[["group", "run"]].drop_duplicates())
    assert loo.loo_i.size == trainings == 12
    assert likelihoods.shape[-1] == len(blocks)
    assert compared["elpd"].iloc[0] == pytest.approx(float(np.mean(views, axis=0).sum()))
    assert compared["difference"].tolist() == [0.0]


def test_leaving_out_a_block_leaves_out_the_sum_of_its_rows():
    rng = np.random.default_rng(0)
    likelihoods = rng.normal(-1.0, 0.05, (2, 500, 6))
    blocks = np.array(["a", "b", "a", "c", "c", "c"])
    loo = leave_out(likelihoods, blocks)
    # Densities this steady need hardly any smoothing: the harmonic mean of the density of each block.
    summed = np.stack([likelihoods[..., blocks == b].sum(-1).ravel() for b in "abc"])
    by_hand = -np.log(np.mean(np.exp(-summed), axis=1))
    np.testing.assert_allclose(loo.loo_i, by_hand, atol=5e-3)


@pytest.mark.slow
def test_comparison_prefers_the_law_that_was_planted(planted):
    table = planted(3, g=0.3, noise=0.01, sizes=9, replicates=2)
    compared = compare(read_runs(table), laws=("additive", "interaction"), chains=2, draws=500, warmup=500)
    assert compared["law"].tolist() == ["interaction", "additive"]
    assert compared["difference"].iloc[1] < -2 * compared["difference_se"].iloc[1]
