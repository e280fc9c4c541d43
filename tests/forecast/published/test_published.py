"""The bundled tables, and the recomputed Atari compute against what was published."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecast.published import atari_flops, datasets
from forecast.published import example as planted
from forecast.published.build import compact, main
from forecast.runs.read import read_runs

WIDTHS = [1, 3, 5, 8, 13, 23, 34, 50, 81, 117, 167, 266]


def atari() -> pd.DataFrame:
    table = read_runs("atari-cnn").table
    actions = table["group"].map(atari_flops.ACTIONS)
    widths = [atari_flops.width_of(int(n), int(a)) for n, a in zip(table["params"], actions, strict=True)]
    return table.assign(actions=actions, width=widths)


def test_datasets_have_provenance():
    assert list(datasets()) == ["atari-cnn", "chinchilla", "constant-rate", "example", "nethack-transformer"]
    for name, dataset in datasets().items():
        assert dataset.name == name
        assert ("arXiv" in dataset.source) == (name != "example")
        assert dataset.url.startswith("https://") == (name != "example")
        assert dataset.expert_return is None
        assert read_runs(name).notes[0].startswith(dataset.title)
        assert set(dataset.notes) < set(read_runs(name).notes)


def test_bundled_files_are_small():
    assert sum(d.path.stat().st_size for d in datasets().values()) < 120_000


@pytest.mark.parametrize(
    ("name", "rows", "sizes", "runs"), [("chinchilla", 240, 62, None), ("constant-rate", 121, 16, 16)]
)
def test_tables_of_language_models(name, rows, sizes, runs):
    table = read_runs(name)
    summary = table.summary()
    assert (summary["rows"], summary["sizes"], summary["runs"]) == (rows, sizes, runs)
    assert not table.has_returns
    assert np.median(table.table["flops"] / table.table["params"] / table.table["samples"]) == pytest.approx(6, rel=0.1)


def test_nethack_table():
    runs = read_runs("nethack-transformer")
    assert runs.source == "nethack-transformer"
    assert runs.has_trajectories
    assert runs.has_returns
    assert runs.groups == ("all",)
    summary = runs.summary()
    assert (summary["rows"], summary["runs"], summary["sizes"], summary["budgets"]) == (186, 15, 10, 14)
    replicated = runs.table.groupby("params")["run"].nunique()
    assert replicated[replicated == 2].index.min() == 10301305
    assert len(replicated[replicated == 2]) == 5
    ratio = runs.table["flops"] / runs.table["params"] / runs.table["samples"]
    assert (ratio.min() > 1.9, ratio.max() < 6.0) == (True, True)


def test_atari_table():
    runs = read_runs("atari-cnn")
    table = runs.table
    assert runs.groups == ("BankHeist", "BattleZone", "Breakout", "NameThisGame", "Qbert")
    assert len(table) == 765  # 768 published, three pairs of which are one training
    assert runs.has_trajectories  # a game and size
    assert table.groupby("run")[["group", "params"]].nunique().eq(1).all().all()
    assert runs.summary()["runs"] == 56
    borrowed = table[table["samples_source"] == "matched:BankHeist"]
    assert set(borrowed["group"]) == {"BattleZone"}
    assert sorted(set(borrowed["params"])) == [2234645, 5350076]
    assert len(borrowed) == 31  # 32 published
    assert borrowed["return_mean"].isna().all()
    assert table["return_mean"].isna().sum() == 31
    assert table["loss"].max() > 62  # early checkpoints are kept
    assert (table["return_se"].dropna() > 0).all()
    assert (table["episodes"].dropna() >= 1).all()


def test_atari_widths_are_exact():
    assert sorted(set(atari()["width"])) == WIDTHS
    for width in WIDTHS:
        assert atari_flops.width_of(atari_flops.params(width, 6), 6) == width
    with pytest.raises(ValueError, match="nearest"):
        atari_flops.width_of(2112, 18)
    with pytest.raises(ValueError, match="no width"):
        atari_flops.width_of(1, 18)


def test_params_and_flops_agree_with_a_count_over_output_cells():
    """A slow and independent count: slide each kernel over the frame and add up its taps."""
    width, actions = 5, 6
    side, params, macs = 84, 0, []
    for kernel, stride, inputs, outputs in ((8, 4, 4, width), (4, 2, width, 2 * width), (3, 1, 2 * width, 2 * width)):
        positions = len(range(0, side - kernel + 1, stride))
        params += outputs * (inputs * kernel**2 + 1)
        macs.append(positions**2 * outputs * inputs * kernel**2)
        side = positions
    params += (side**2 * 2 * width + 1) * actions
    macs.append(side**2 * 2 * width * actions)
    assert atari_flops.params(width, actions) == params
    assert atari_flops.forward_flops(width, actions) == 2 * sum(macs)
    # forward and weight gradient of every layer, input gradient of all but the first
    assert atari_flops.training_flops(width, actions) == 2 * (sum(macs) + sum(macs) + sum(macs[1:]))


@pytest.mark.parametrize(("width", "excess"), [(8, 13.9), (266, 4.74)])
def test_published_counter_overcharges_the_forward_pass(width: int, excess: float):
    ratio = atari_flops.nominal_forward_flops(width, 6) / atari_flops.forward_flops(width, 6)
    assert ratio == pytest.approx(excess, rel=0.01)


def test_published_samples_follow_from_the_nominal_counter():
    table = atari()
    want = [
        atari_flops.nominal_samples(c, w, a)
        for c, w, a in zip(table["flops_nominal"], table["width"], table["actions"], strict=True)
    ]
    assert table["samples"].tolist() == want


def test_bundled_flops_are_the_true_compute():
    table = atari()
    each = [atari_flops.training_flops(w, a) for w, a in zip(table["width"], table["actions"], strict=True)]
    np.testing.assert_array_equal(table["flops"], np.array(each) * table["samples"].to_numpy())
    ratio = table["flops"] / table["params"] / table["samples"]
    assert ratio.between(211, 605).all()


def source_of_atari() -> pd.DataFrame:
    """A miniature of the authors' figures: the gap to fill, and a budget pair that is one training."""
    rows = []
    for game, gap in (("BankHeist", False), ("BattleZone", True)):
        for width in (117, 167, 266):
            for budget in (1e13, 2e13, 1e16):
                samples = atari_flops.nominal_samples(budget, width, 18)
                lost = gap and width != 117
                loss = width / 100 + np.log10(samples) / 2
                sets = 0 if gap else 1
                score = None if gap else budget / 1e13
                rows.append((game, budget, atari_flops.params(width, 18), None if lost else samples, loss, score, sets))
    names = ["game", "flops", "params", "samples", "loss", "return_mean", "return_sets"]
    return pd.DataFrame(rows, columns=names).assign(return_sets_sd=np.nan)


def build_atari(source: pd.DataFrame, folder: Path) -> pd.DataFrame:
    source.to_csv(folder / "src.csv", index=False)
    main(["atari", str(folder / "src.csv"), str(folder / "out.csv")])
    return read_runs(folder / "out.csv").table


def test_build_fills_and_merges(tmp_path: Path):
    table = build_atari(source_of_atari(), tmp_path)
    assert len(table) == 16
    assert (table["samples_source"] == "matched:BankHeist").sum() == 5
    merged = table[(table["params"] == 5350076) & (table["samples"] == 4096) & (table["group"] == "BankHeist")]
    assert merged[["return_mean", "episodes", "flops_nominal"]].to_numpy().tolist() == [[1.5, 2.0, 1e13]]


def test_build_refuses_to_guess(tmp_path: Path):
    source = source_of_atari()
    disagree = (source["game"] == "BattleZone") & (source["params"] == atari_flops.params(117, 18))
    with pytest.raises(ValueError, match="disagree"):
        build_atari(source.assign(samples=source["samples"].where(~disagree, 8192)), tmp_path)
    with pytest.raises(ValueError, match="no samples"):
        build_atari(source.assign(samples=None), tmp_path)
    pair = (source["params"] == 5350076) & (source["flops"] == 2e13)
    with pytest.raises(ValueError, match="separate trainings"):
        build_atari(source.assign(loss=source["loss"] + 0.1 * pair), tmp_path)
    with pytest.raises(SystemExit, match="usage"):
        main(["pong", "a", "b"])


def test_bundled_nethack_is_a_fixed_point_of_its_build(tmp_path: Path):
    source = datasets()["nethack-transformer"].path
    main(["nethack", str(source), str(tmp_path / "out.csv")])
    assert (tmp_path / "out.csv").read_bytes() == source.read_bytes()


def test_the_example_is_what_its_generator_makes(tmp_path: Path):
    main(["example", str(tmp_path / "out.csv")])
    assert (tmp_path / "out.csv").read_bytes() == datasets()["example"].path.read_bytes()


def test_the_example_follows_its_planted_law():
    runs = read_runs("example")
    table = runs.table
    assert (len(table), runs.summary()["sizes"], runs.summary()["runs"]) == (48, 13, 13)
    true = [planted.loss(n, d) for n, d in zip(table["params"], table["samples"], strict=True)]
    assert np.abs(np.log(table["loss"] / true)).max() < 0.08
    np.testing.assert_allclose(table["flops"], table["samples"] * planted.cost_of_a_sample(table["params"]), rtol=1e-5)


@pytest.mark.parametrize("value", [0.1, 1e17, 409500385280.0, 2.0518094430797824e17, 1 / 3, 5e-324, -0.25])
def test_compact_is_lossless(value: float):
    assert float(compact(value)) == value
    assert len(compact(value)) <= len(repr(value))
