"""The loop on tiny games whose expert follows a rule: it learns, repeats, resumes bit for bit, and refuses in words."""

import dataclasses
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import command, same, weights
from letter_game import game, write_letters

import forecast
from training.cli import main
from training.config.base import to_toml
from training.design.cloning import configure
from training.errors import ConfigError, DataError, DivergedError, MachineError, TrainingError
from training.learn import loop
from training.learn.bc import train
from training.learn.learner import Learner
from training.learn.measure import heldout_loss
from training.policies import compiled
from training.policies.arithmetic import to_device
from training.policies.checkpoint import latest_checkpoint
from training.policies.family import spec_for
from training.policies.flops import flops_per_sample
from training.policies.loaded import export_policy, load_policy
from training.policies.losses import cloning_loss
from training.shards.reader import Shards

ACTIONS = 121


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_letters(tmp_path_factory.mktemp("bc") / "shards")


def config(data, updates=12, params=2.2e4, **choices):
    spec = spec_for("nethack", "lstm", params, ACTIONS)
    flops = (updates + 0.5) * choices.get("batch_size", 4) * 8 * flops_per_sample(spec, 8)
    given = {
        "batch_size": 4,
        "unroll_length": 8,
        "data": str(data),
        "learning_rate": 3e-3,
        "max_epochs": 100,
        **choices,
    }
    return configure(params=params, flops=flops, **given)


@pytest.fixture(scope="module")
def straight(data, tmp_path_factory):
    """A run without interruption, with two checkpoints on the way."""
    folder = tmp_path_factory.mktemp("straight")
    run = config(data)
    run = dataclasses.replace(run, checkpoints=(run.flops / 3, run.flops / 2))
    train(run, out=folder / "run", table=folder / "runs.csv")
    return run, folder


# ---- what it learns and says --------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_rule_is_learned(data, tmp_path, precision):
    run = config(data, updates=200, batch_size=8, precision=precision)
    train(run, out=tmp_path / "run", table=tmp_path / "runs.csv")
    row = pd.read_csv(tmp_path / "runs.csv").iloc[-1]
    # Four equally likely actions: ln 4 nats for whoever does not look at the letter.
    assert row["loss"] < 0.4 * np.log(4)


def test_each_budget_has_its_row_and_its_checkpoint(straight, data):
    run, folder = straight
    table = pd.read_csv(folder / "runs.csv", dtype={"config": str, "data": str})  # a hash may look like a number
    assert table["update"].tolist() == [run.updates_within(b) for b in run.budgets] == [4, 6, 12]
    spec = spec_for("nethack", "lstm", run.params, ACTIONS)
    step = 32 * flops_per_sample(spec, 8)
    assert ((np.array(run.budgets) - table["flops"]).between(0, step, inclusive="left")).all()
    np.testing.assert_allclose(table["flops"], table["samples"] * flops_per_sample(spec, 8))
    assert (table["samples"] == table["update"] * 32).all()
    assert (table["unique_samples"] <= Shards(data).samples).all()
    assert table["expert_return"].unique() == pytest.approx([np.mean([one.points for one in Shards(data).games])])
    assert table["config"].unique().tolist() == [run.identity]
    assert table["data"].unique().tolist() == [Shards(data).identity]
    assert table[["hardware", "code", "seed", "algorithm", "core", "width", "frames_per_second"]].notna().all().all()
    saved = {p.name for p in (folder / "run" / "checkpoints").iterdir()}
    assert saved == {f"update-{u:010d}" for u in (4, 6, 12)}


def test_the_loss_in_the_row_is_that_of_the_saved_weights(straight, data):
    folder = straight[1]
    policy, shards = load_policy(folder / "run").policy, Shards(data)
    row = pd.read_csv(folder / "runs.csv").iloc[-1]
    sums, counts = [], []
    for held in shards.heldout:  # game by game, frame by frame
        frames = game(int(held.name), held.frames)
        previous = np.concatenate([[0], frames["action"][:-1]]).astype(np.int64)
        batch = {k: frames[k][None] for k in ("chars", "colors", "cursor")}
        batch |= {"previous": previous[None], "start": (np.arange(held.frames) == 0)[None]}
        with torch.inference_mode():
            logits, _ = policy(to_device(batch, torch.device("cpu")), policy.initial_state(1))
        log_p = torch.log_softmax(logits[0].double(), -1).numpy()
        each = -log_p[np.arange(held.frames), frames["action"]]
        sums.append(each[frames["mask"]].sum())
        counts.append(frames["mask"].sum())
    loss = sum(sums) / sum(counts)
    assert row["loss"] == pytest.approx(loss, rel=1e-5)
    n = len(sums)
    residual = np.array(sums) - loss * np.array(counts)
    assert row["loss_se"] == pytest.approx(np.sqrt(n / (n - 1) * (residual**2).sum()) / sum(counts), rel=1e-4)
    other = heldout_loss(policy, shards, batch_size=1, unroll_length=13)
    assert other.loss == pytest.approx(loss, rel=1e-5)


def test_shards_know_how_well_their_player_predicts_itself(straight, tmp_path, monkeypatch, capsys):
    run, player = command(main, "training", monkeypatch, capsys), straight[1] / "run"
    games, out = tmp_path / "games", tmp_path / "shards"
    recorded = run("collect", games, "--games", 3, "--max-steps", 60, "--player", player, "--workers", 1)
    assert recorded[0] == 0, recorded
    code, told, _ = run("shard", games, out, "--expert", player, "--workers", 1, "--json")
    assert code == 0
    known = Shards(out)
    assert known.expert_loss == json.loads(told)["expert_loss"]
    by_hand = heldout_loss(load_policy(player).policy, known, batch_size=1, unroll_length=7)
    assert known.expert_loss == pytest.approx(by_hand.loss, rel=1e-5)
    # Of some hundred actions nearly as likely as each other, which it drew.
    assert known.expert_loss == pytest.approx(np.log(ACTIONS), rel=0.2)
    code, _, err = run("shard", games, tmp_path / "other", "--expert", tmp_path / "nobody")
    assert code == 2
    assert "--expert must be a run or checkpoint" in err


def test_cloning_loss_counts_masked_frames_alone():
    logits = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    action, mask = torch.tensor([[0, 1, 2], [3, 4, 0]]), torch.tensor([[1, 0, 1], [1, 0, 0]], dtype=torch.bool)
    total, count = cloning_loss(logits, action, mask)
    p = logits.exp() / logits.exp().sum(-1, keepdim=True)
    assert float(count) == 3
    assert float(total) == pytest.approx(-float(p[0, 0, 0].log() + p[0, 2, 2].log() + p[1, 0, 3].log()), rel=1e-5)


def test_forecast_reads_what_training_writes(data, tmp_path):
    table = tmp_path / "runs.csv"
    for params in (2e4, 3e4, 5e4):
        run = config(data, updates=8, params=params)
        run = dataclasses.replace(run, checkpoints=(run.flops / 4, run.flops / 2))
        train(run, out=tmp_path / f"{params:g}", table=table)
    runs = forecast.read_runs(table)
    assert len(runs.table) == 9
    assert runs.has_trajectories
    assert runs.groups == ("nethack-lstm",)
    assert runs.table[["loss", "loss_se", "unique_samples"]].notna().all().all()


def test_tensorboard_holds_what_the_rows_say(straight):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = straight[1]
    table, events = pd.read_csv(folder / "runs.csv"), EventAccumulator(str(folder / "run" / "tensorboard"))
    events.Reload()
    for name in ("params", "samples", "flops", "loss", "loss_se"):
        seen = events.Scalars(f"measured/{name}")
        assert [one.step for one in seen] == table["update"].tolist()
        np.testing.assert_allclose([one.value for one in seen], table[name], rtol=1e-6)
    assert "loss/training" in events.Tags()["scalars"]


def test_forecast_reads_an_export_from_wandb(data, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="the package wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    init, history, table = wandb.init, {}, tmp_path / "runs.csv"

    def begin(**settings):
        """A true run, offline, that tells what it is given: theirs merges what has the same step."""
        client = init(**settings)

        def log(values, step):
            history.setdefault((client.id, step), {}).update(values)
            type(client).log(client, values, step=step)

        monkeypatch.setattr(client, "log", log)
        return client

    monkeypatch.setattr(wandb, "init", begin)
    for params in (2e4, 3e4, 5e4):
        run = config(data, updates=8, params=params)
        run = dataclasses.replace(run, checkpoints=(run.flops / 4, run.flops / 2))
        train(run, out=tmp_path / f"{params:g}", table=table, wandb=True)
        assert list((tmp_path / f"{params:g}" / "wandb").glob("offline-run-*/*.wandb"))
    # As their site exports the points of a chart: a column a key, and points that have the keys asked for.
    names = ("params", "samples", "flops", "loss", "loss_se")
    points = pd.DataFrame(history.values())[[f"measured/{name}" for name in names]].dropna()
    points.to_csv(tmp_path / "export.csv", index=False)
    runs = forecast.read_runs(tmp_path / "export.csv", columns={name: f"measured/{name}" for name in names})
    expected = forecast.read_runs(table)
    for name in names:
        np.testing.assert_allclose(runs.table[name].astype(float), expected.table[name].astype(float), rtol=1e-6)


# ---- interruptions ------------------------------------------------------------------------------------------------


def test_same_seed_same_weights_and_another_seed_others(straight, data, tmp_path):
    run, folder = straight
    train(run, out=tmp_path / "again", table=tmp_path / "runs.csv")
    assert same(weights(tmp_path / "again"), weights(folder / "run"))
    train(dataclasses.replace(run, seed=1), out=tmp_path / "other", table=tmp_path / "runs.csv")
    assert not same(weights(tmp_path / "other"), weights(folder / "run"))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_that_was_killed_goes_on_to_the_same_weights(straight, tmp_path, number):
    run, folder = straight
    (tmp_path / "config.toml").write_text(to_toml(run))
    code = f"""
        import pathlib, sys, time
        import training.learn.bc as bc
        import training.learn.loop as loop
        from training.config.read import read_config
        from training.interrupts import InterruptedRunError
        from training.learn.learner import Learner
        loop.SAVE_EVERY = 0.0, 0.0
        step = Learner.step
        def slow(self, *arguments):
            time.sleep(0.3)  # so that the signal comes in mid-run
            return step(self, *arguments)
        Learner.step = slow
        folder = pathlib.Path({str(tmp_path)!r})
        try:
            bc.train(read_config(folder / "config.toml"), out=folder / "run", table=folder / "runs.csv")
        except InterruptedRunError as error:
            print(error, file=sys.stderr)
            sys.exit(130)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}  # as here: sums over threads differ in their last bit
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=one_thread)
    first = tmp_path / "run" / "checkpoints" / "update-0000000005"
    end = time.monotonic() + 120
    while not first.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(number)
    told = process.communicate(timeout=60)[1]
    assert process.returncode == (130 if number == signal.SIGTERM else -signal.SIGKILL)
    assert ("start the same command again" in told) == (number == signal.SIGTERM)
    assert 5 <= latest_checkpoint(tmp_path / "run" / "checkpoints")[0].update < run.updates
    train(run, out=tmp_path / "run", table=tmp_path / "runs.csv")
    assert same(weights(tmp_path / "run"), weights(folder / "run"))
    loss = [pd.read_csv(path / "runs.csv")[["run", "update", "loss"]] for path in (tmp_path, folder)]
    pd.testing.assert_frame_equal(*loss)


def test_a_compiled_run_says_so_and_goes_on_to_the_same_weights(straight, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")  # all of torch.compile but the machine's compiler
    run, folder = straight
    run = dataclasses.replace(run, compile="on")
    train(run, out=tmp_path / "whole", table=tmp_path / "runs.csv")
    assert "the policy is compiled, in " in capfd.readouterr().err
    losses = [pd.read_csv(path / "runs.csv")["loss"] for path in (tmp_path, folder)]
    np.testing.assert_allclose(*losses, rtol=1e-3)
    shutil.copytree(tmp_path / "whole", tmp_path / "half")
    shutil.rmtree(tmp_path / "half" / "checkpoints" / "update-0000000012")
    train(run, out=tmp_path / "half", table=tmp_path / "again.csv")
    assert same(weights(tmp_path / "half"), weights(tmp_path / "whole"))
    assert pd.read_csv(tmp_path / "again.csv")["update"].tolist() == [12]
    # It is the same run compiled or not: the one without interruption is finished, whatever is asked now.
    train(run, out=folder / "run", table=tmp_path / "none.csv")
    assert not (tmp_path / "none.csv").exists()


@pytest.mark.parametrize(
    ("every", "share", "saves"),
    [((0.0, 0.0), 1.0, 12), ((60.0, 60.0), 1.0, 3), ((0.0, 60.0), 1e-9, 4), ((0.0, 60.0), 1e9, 12)],
    ids=["always", "at budgets", "not more than its share", "its share is large"],
)
def test_checkpoints_are_as_frequent_as_their_cost_allows(straight, tmp_path, monkeypatch, every, share, saves):
    done, save = [], Learner.save
    monkeypatch.setattr(loop, "SAVE_EVERY", every)
    monkeypatch.setattr(loop, "SAVING", share)
    monkeypatch.setattr(Learner, "save", lambda self, folder: done.append(self.update) or save(self, folder))
    train(straight[0], out=tmp_path / "run", table=tmp_path / "runs.csv")
    assert len(done) == saves


def test_a_run_that_cannot_be_compiled_goes_on(straight, tmp_path, monkeypatch, capfd):
    def broken(graph, inputs):
        raise RuntimeError("no compiler on this machine")

    monkeypatch.setattr(compiled, "BACKEND", broken)
    run, folder = straight
    train(dataclasses.replace(run, compile="on"), out=tmp_path / "run", table=tmp_path / "runs.csv")
    assert "cannot be compiled (RuntimeError: no compiler on this machine); the run goes on" in capfd.readouterr().err
    assert same(weights(tmp_path / "run"), weights(folder / "run"))


def test_a_full_disk_is_one_sentence_and_nothing_is_lost(straight, tmp_path, monkeypatch):
    run, folder = straight
    calls, fsync = [], os.fsync

    def full(fd):
        calls.append(fd)
        if len(calls) > 8:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(fd)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(MachineError, match="No space left on device"):
            train(run, out=tmp_path / "run", table=tmp_path / "runs.csv")
    train(run, out=tmp_path / "run", table=tmp_path / "runs.csv")
    assert same(weights(tmp_path / "run"), weights(folder / "run"))


def test_a_damaged_checkpoint_is_passed_over(straight, tmp_path):
    run, folder = straight
    train(run, out=tmp_path / "run", table=tmp_path / "runs.csv")
    last = tmp_path / "run" / "checkpoints" / "update-0000000012" / "optimizer.safetensors"
    last.write_bytes(last.read_bytes()[:-100])
    train(run, out=tmp_path / "run", table=tmp_path / "runs.csv")
    assert same(weights(tmp_path / "run"), weights(folder / "run"))
    assert len(pd.read_csv(tmp_path / "runs.csv")) == 3


def test_a_full_memory_is_one_sentence(data, tmp_path, monkeypatch):
    def full(self, loss, rate):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee the manual.")

    monkeypatch.setattr(Learner, "step", full)
    with pytest.raises(MachineError, match=r"out of memory. Tried to allocate 2.00 GiB\.\).*lower batch_size"):
        train(config(data), out=tmp_path / "run", table=tmp_path / "runs.csv")


def test_an_exported_policy_cannot_be_trained_on(straight, tmp_path):
    run, folder = straight
    export_policy(folder / "run", tmp_path / "run" / "checkpoints" / "update-0000000012")
    with pytest.raises(DataError, match="lacks what training goes on from"):
        train(run, out=tmp_path / "run", table=tmp_path / "runs.csv")


def test_two_processes_train_as_one(straight, tmp_path):
    run, folder = straight
    (tmp_path / "config.toml").write_text(to_toml(run))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "training.cli", "bc", str(tmp_path / "config.toml"), "--out", str(tmp_path / "run")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--table", str(tmp_path / "runs.csv")], capture_output=True, text=True, env=environment, timeout=180
    )
    assert done.returncode == 0, done.stderr[-2000:]
    alone, shared = pd.read_csv(folder / "runs.csv"), pd.read_csv(tmp_path / "runs.csv")
    assert shared["processes"].unique().tolist() == [2]
    np.testing.assert_allclose(shared["loss"], alone["loss"], rtol=1e-4)
    np.testing.assert_allclose(shared["train_loss"], alone["train_loss"], rtol=1e-4)


# ---- what cannot be trained ---------------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_stops_the_run_in_words(data, tmp_path):
    run = config(data, updates=40, learning_rate=1e30, clip=1e30)
    with pytest.raises(DivergedError, match=r"not finite: training diverged at update \d+.*Lower learning_rate"):
        train(run, out=tmp_path / "run", table=tmp_path / "runs.csv")
    found, _ = latest_checkpoint(tmp_path / "run" / "checkpoints")
    assert found is None or all(torch.isfinite(w).all() for w in found.tensors["policy"].values())


def test_every_run_that_cannot_be_is_refused_before_it_begins(straight, data, tmp_path):
    run, folder = straight
    refusals = [
        (dataclasses.replace(run, max_epochs=0.01), tmp_path, r"passes where max_epochs = 0\.01"),
        (dataclasses.replace(run, flops=run.flops * 3), tmp_path, "write samples = "),
        (dataclasses.replace(run, seed=9), folder / "run", "holds a run with another config"),
        (dataclasses.replace(run, task="NetHackScore", episodes=1), tmp_path, "'NetHackScore' is played with 23"),
    ]
    for refused, out, words in refusals:
        with pytest.raises(ConfigError, match=words):
            train(refused, out=out, table=tmp_path / "runs.csv")
    assert not (tmp_path / "runs.csv").exists()
    with pytest.raises(TrainingError, match="absent"):
        train(dataclasses.replace(run, data=str(tmp_path / "absent")), out=tmp_path, table=tmp_path / "runs.csv")
    (tmp_path / "other.csv").write_text("name,age\nA,1\n")
    with pytest.raises(DataError, match="not a table of training runs"):
        train(run, out=tmp_path / "run", table=tmp_path / "other.csv")
    assert not (tmp_path / "run" / "checkpoints").exists()
