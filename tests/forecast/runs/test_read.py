"""Which columns read_runs takes, by name or through a mapping, and what it makes of them."""

from pathlib import Path

import numpy as np
import pytest
from helpers import frame
from refusals import message, refused

from forecast.errors import TableError
from forecast.runs.read import read_columns, read_runs


def test_defaults_fill_group_and_run_and_say_so():
    runs = read_runs(frame())
    assert list(runs.table.columns) == ["group", "run", "params", "samples", "flops", "loss"]
    assert runs.table.index.tolist() == list(range(2, 11))
    assert runs.table.index.name == "row"
    assert runs.groups == ("all",)
    assert runs.table["run"].is_unique
    assert not runs.has_trajectories
    assert not runs.has_returns
    assert [note[:28] for note in runs.notes] == ["There is no `group` column, ", "There is no `run` column, so"]
    assert [str(t) for t in runs.table.dtypes] == ["string", "string"] + ["float64"] * 4


def test_text_of_a_csv_is_not_reinterpreted(tmp_path: Path):
    table = frame(run=[f"0{i}" for i in range(9)], group="1e3", tag="007", epoch=range(9))
    table.to_csv(tmp_path / "t.csv", index=False)
    got = read_runs(tmp_path / "t.csv").table
    assert got["run"].tolist() == [f"0{i}" for i in range(9)]
    assert set(got["group"]) == {"1e3"}
    assert set(got["tag"]) == {"007"}
    assert got["epoch"].tolist() == list(range(9))
    assert got["epoch"].dtype == "float64"


def test_wandb_export_is_read_through_a_mapping(tmp_path: Path):
    table = frame()
    lines = ['"Name","State","config.params_m","frames","compute","val/loss","eval/return","eval/n","Seed"']
    for i, row in enumerate(table.itertuples()):
        played = '"12.5","10"' if i != 1 else '"NaN",""'
        head = f'"run-{i}","finished","{row.params / 1e6}","{row.samples!r}"'
        lines.append(f'{head},"{row.flops / 1e15!r}","{row.loss!r}",{played},"{i}"')
    (tmp_path / "wandb.csv").write_text("\n".join(lines))
    mapping = {
        "run": "Name",
        "params": "config.params_m*1e6",
        "samples": "frames",
        "flops": "compute * 1e15",
        "loss": "val/loss",
        "return_mean": "eval/return",
        "episodes": "eval/n",
        "seed": "Seed",
    }
    runs = read_runs(tmp_path / "wandb.csv", columns=mapping)
    numbers = ["params", "samples", "flops", "loss"]
    np.testing.assert_array_equal(runs.table[numbers].to_numpy(), table[numbers].to_numpy())
    assert runs.table["return_mean"].isna().tolist() == [False, True] + [False] * 7
    assert runs.table["State"].tolist() == ["finished"] * 9
    assert "config.params_m" not in runs.table
    assert any("config.params_m" in n and "1e6" in n for n in runs.notes)


def test_factor_scales_in_decimal_so_that_sizes_stay_equal():
    table = frame(params=[188793.0] * 3 + [516729.0] * 3 + [10301305.0] * 3)
    table["samples"] = table["flops"] / 6 / table["params"]
    millions = table.assign(m=["0.188793"] * 3 + ["0.516729"] * 3 + ["10.301305"] * 3).drop(columns="params")
    assert read_runs(millions, columns={"params": "m*1e6"}).sha256 == read_runs(table).sha256
    as_floats = millions.astype({"m": float})
    assert read_runs(as_floats, columns={"params": "m*1e6"}).sha256 == read_runs(table).sha256


def test_column_whose_name_has_a_star_is_taken_whole():
    table = frame().rename(columns={"loss": "nll*2"})
    got = read_runs(table, columns={"loss": "nll*2"}).table["loss"]
    np.testing.assert_array_equal(got, frame()["loss"])


def test_named_index_levels_are_columns():
    table = frame(group="qbert", run=list("aaabbbccc")).set_index(["group", "run"])
    runs = read_runs(table)
    assert runs.groups == ("qbert",)
    assert runs.has_trajectories


def test_partly_missing_optionals_are_fine():
    table = frame(return_mean=[1.0, None, 2.0] * 3, episodes=[5, None, 5] * 3, loss_se=[None, 0.1, 0.1] * 3)
    runs = read_runs(table)
    assert runs.table["return_mean"].isna().sum() == 3
    assert runs.table["loss_se"].isna().sum() == 3


def test_missing_column_suggests_near_names_and_the_mapping():
    text = message(frame().rename(columns={"params": "net_params"}))
    assert "did you mean `net_params`? rename the column, or map it: columns={'params': 'net_params'}" in text


@pytest.mark.parametrize(
    ("ours", "theirs", "hint"),
    [
        ("samples", "tokens_seen", "did you mean `tokens_seen`? rename the column, or map it: samples=tokens_seen"),
        ("params", "Model Size (params)", "did you mean `Model Size (params)`?"),
        ("flops", "trainingCompute", "did you mean `trainingCompute`?"),
        ("params", "Params (M)", "or map it: params=Params (M)*1e6"),
        ("samples", "tokens_seen_B", "or map it: samples=tokens_seen_B*1e9"),
        ("flops", "PFLOPs", "or map it: flops=PFLOPs*1e15"),
        ("flops", "FLOPs / 10^18", "or map it: flops=FLOPs / 10^18*1e18"),
        ("loss", "eval/nll_nats", "did you mean `eval/nll_nats`?"),
        ("loss", "valid_ppl", "if `valid_ppl` is a perplexity, map its logarithm: loss=log(valid_ppl)"),
        (
            "loss",
            "rollout/ep_rew_mean",
            "is fitted through its returns; if `rollout/ep_rew_mean` is one, map it: return_m",
        ),
        ("samples", "global_step", "if `global_step` counts the frames of all games, map it: samples=global_step"),
        ("samples", "lookahead", "for a dense network it follows from the others: samples=flops/(6*params)"),
    ],
)
def test_missing_column_suggests_what_it_may_be(ours, theirs, hint):
    with pytest.raises(TableError) as caught:
        read_runs(frame().rename(columns={ours: theirs}))
    problem = caught.value.problems[0]
    assert hint in f"{problem.fix}: {problem.mapping}"


def test_a_factor_in_a_name_is_in_the_mapping_suggested():
    table = frame().assign(**{"Params (M)": lambda t: t["params"] / 1e6}).drop(columns="params")
    assert "columns={'params': 'Params (M)*1e6'}" in message(table)
    params = read_runs(table, columns={"params": "Params (M)*1e6"}).table["params"]
    np.testing.assert_allclose(params, frame()["params"])


def test_usual_names_may_be_parted_by_other_marks():
    table = frame().rename(columns={"loss": "val/loss", "params": "Num Params", "flops": "train.flops"})
    runs = read_runs(table)
    assert "`loss` was read from `val/loss`." in runs.notes
    np.testing.assert_array_equal(runs.table["params"], frame()["params"])


def test_returns_alone_say_which_column_may_be_the_loss():
    table = frame(return_mean=[1.0, 2.0, 3.0] * 3, episodes=5).rename(columns={"loss": "last_nll"})
    notes = " ".join(read_runs(table).notes)
    assert "The column `last_nll` was not read as the loss; if it is the loss, map it: `loss=last_nll`." in notes


def test_samples_may_be_steps_of_batches():
    table = frame().assign(steps=lambda t: t["samples"] / 256, batch_size=256).drop(columns="samples")
    assert "samples': 'steps*batch_size'" in message(table)
    mapped = read_runs(table, columns={"samples": "steps*batch_size"}).table["samples"]
    np.testing.assert_allclose(mapped, frame()["samples"])


def test_optional_column_in_another_case_is_not_ignored():
    runs = read_runs(frame(Group="qbert"))
    assert runs.groups == ("qbert",)
    assert "`group` was read from `Group`." in runs.notes


def test_bad_mappings_list_what_there_is():
    assert "map it to one of `params`, `samples`, `flops`, `loss`" in message(frame(), columns={"params": "size*2"})
    assert refused(frame(), columns={"size": "params"}) == [((), "size")]
    assert refused(frame(name="a"), columns={"group": "name*2"}) == [((), "group")]
    assert refused(frame(), columns={"params": "params*0"}) == [(tuple(range(2, 11)), "params")]


def test_read_columns(tmp_path: Path):
    path = tmp_path / "m.toml"
    path.write_text('[columns]\nparams = "config.params_m*1e6"\nloss = "val/loss"\n')
    assert read_columns(path) == {"params": "config.params_m*1e6", "loss": "val/loss"}


@pytest.mark.parametrize("content", [b"", b"[columns]", b"columns = 3", b"[columns]\nparams = 3", b"not toml", b"\xff"])
def test_bad_mapping_file(tmp_path: Path, content: bytes):
    path = tmp_path / "m.toml"
    path.write_bytes(content)
    with pytest.raises(TableError, match=r"columns|params"):
        read_columns(path)
    with pytest.raises(TableError, match="cannot be read"):
        read_columns(tmp_path / "absent.toml")
