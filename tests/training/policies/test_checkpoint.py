"""Checkpoints are whole or absent, and what they hold goes on bit for bit."""

import errno
import json
import os
from dataclasses import asdict

import pytest
import torch

from training.errors import ConfigError, DataError, MachineError
from training.policies.checkpoint import (
    Checkpoint,
    latest_checkpoint,
    load_checkpoint,
    load_optimizer,
    optimizer_tensors,
    pin_checkpoint,
    save_checkpoint,
)
from training.policies.family import PolicySpec, build
from training.policies.loaded import export_policy, load_policy


def checkpoint(update, **state):
    weights = {"a": torch.arange(6.0).reshape(2, 3) * update, "n": torch.tensor(update)}
    return Checkpoint(update=update, tensors={"policy": weights, "memory": {}}, state=state)


def test_what_is_saved_is_read_back(tmp_path):
    path = save_checkpoint(tmp_path, checkpoint(7, keep=True, note="x"))
    found = load_checkpoint(path)
    assert (found.update, found.state["note"]) == (7, "x")
    assert torch.equal(found.tensors["policy"]["a"], torch.arange(6.0).reshape(2, 3) * 7)
    assert found.tensors["memory"] == {}
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_old_ones_go_and_pinned_ones_stay(tmp_path):
    for update in range(1, 6):
        save_checkpoint(tmp_path, checkpoint(update, keep=update == 2), keep=2)
    assert sorted(int(p.name[-3:]) for p in tmp_path.iterdir()) == [2, 4, 5]


def test_what_a_killed_process_left_half_written_goes(tmp_path):
    half = tmp_path / ".update-0000000001.12345"
    half.mkdir()
    (half / "policy.safetensors").write_bytes(b"half")
    assert latest_checkpoint(tmp_path) == (None, [])
    save_checkpoint(tmp_path, checkpoint(1))
    assert [path.name for path in tmp_path.iterdir()] == ["update-0000000001"]


@pytest.mark.parametrize("damage", ["cut", "flip", "no state", "half a state", "missing"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path, damage):
    for update in (1, 2):
        path = save_checkpoint(tmp_path, checkpoint(update))
    weights, state = path / "policy.safetensors", path / "state.json"
    content = weights.read_bytes()
    if damage == "cut":
        weights.write_bytes(content[:-5])
    elif damage == "flip":
        weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "no state":
        state.unlink()
    elif damage == "half a state":
        state.write_text(state.read_text()[:20])
    else:
        weights.unlink()
    found, passed_over = latest_checkpoint(tmp_path)
    assert found is not None
    assert found.update == 1
    assert len(passed_over) == 1
    assert path.name in passed_over[0]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"update": "abc"}, "update is 'abc'"),
        ({"update": 10**30}, "update is 1000"),
        ({"measured": [1]}, "measured is a list"),
        ({"sha256": {"../policy": "0"}}, "names files that no checkpoint has"),
        ({"sha256": {"policy": 3}}, r"sha256\.policy is 3"),
        ({"sha256": None}, "sha256 is None"),
        ({"loss": float("nan")}, "loss is nan"),
        (None, "it is None"),
    ],
)
def test_a_state_of_another_form_is_refused_by_name(tmp_path, changed, words):
    path = save_checkpoint(tmp_path, checkpoint(7, measured=7, loss=1.5))
    state = json.loads((path / "state.json").read_text())
    del state["seal"]  # as earlier versions wrote it
    (path / "state.json").write_text(json.dumps(state))
    assert load_checkpoint(path).update == 7
    (path / "state.json").write_text(json.dumps(changed and {**state, **changed}))
    with pytest.raises(DataError, match=rf"state\.json: the file is damaged \(.*{words}"):
        load_checkpoint(path)


def test_a_state_that_was_changed_is_refused(tmp_path):
    path = save_checkpoint(tmp_path, checkpoint(7, measured=7))
    pin_checkpoint(tmp_path, 7, {"measured": 7})
    assert load_checkpoint(path).state["keep"] is True
    state = path / "state.json"
    state.write_text(state.read_text().replace('"measured": 7', '"measured": 6'))
    with pytest.raises(DataError, match="not what its seal says"):
        load_checkpoint(path)


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, checkpoint(1))

    def full(fd):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MachineError, match="No space left on device"):
        save_checkpoint(tmp_path, checkpoint(2))
    assert [p.name for p in tmp_path.iterdir()] == ["update-0000000001"]
    assert latest_checkpoint(tmp_path)[0].update == 1


def test_an_empty_folder_has_no_checkpoint(tmp_path):
    assert latest_checkpoint(tmp_path) == (None, [])
    assert latest_checkpoint(tmp_path / "absent") == (None, [])


def test_an_optimizer_goes_on_bit_for_bit_from_its_tensors():
    def net():
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Conv2d(5, 3, 3), torch.nn.Flatten(), torch.nn.Linear(12, 3))
        model.to(memory_format=torch.channels_last)  # whose order in memory is not that of a saved file
        return model, torch.optim.Adam(model.parameters(), lr=0.01, fused=True)

    def steps(model, optimizer, seeds):
        for seed in seeds:
            torch.manual_seed(seed)
            optimizer.zero_grad()
            model(torch.randn(4, 5, 4, 4)).pow(2).sum().backward()
            optimizer.step()

    straight, its = net()
    steps(straight, its, range(10))
    first, own = net()
    steps(first, own, range(6))
    tensors = {k: v.clone() for k, v in optimizer_tensors(own).items()}
    second, fresh = net()
    second.load_state_dict(first.state_dict())
    load_optimizer(fresh, tensors)
    steps(second, fresh, range(6, 10))
    assert all(map(torch.equal, straight.state_dict().values(), second.state_dict().values()))


def test_an_exported_policy_plays_and_holds_nothing_else(tmp_path):
    spec = PolicySpec(env="atari", core="cnn", width=8, actions=6)
    policy = build(spec)
    tensors = {"policy": policy.state_dict(), "optimizer": {"0.exp_avg": torch.zeros(3)}}
    state = {"keep": False, "policy": asdict(spec), "task": "Pong", "measured": 3}
    save_checkpoint(tmp_path / "run" / "checkpoints", Checkpoint(update=3, tensors=tensors, state=state))
    export_policy(tmp_path / "run", tmp_path / "alone")
    assert sorted(path.name for path in (tmp_path / "alone").iterdir()) == ["policy.safetensors", "state.json"]
    loaded = load_policy(tmp_path / "alone")
    assert (loaded.spec, loaded.task) == (spec, "Pong")
    assert all(torch.equal(a, b) for a, b in zip(policy.parameters(), loaded.policy.parameters(), strict=True))
    with pytest.raises(ConfigError, match="exists already"):
        export_policy(tmp_path / "run", tmp_path / "alone")
    with pytest.raises(DataError, match="no checkpoint"):
        export_policy(tmp_path / "nothing", tmp_path / "other")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"width": 9}, r"another kind of policy \(convs\.0\.bias"),
        ({"width": "8"}, "width = '8'"),
        ({"core": "rnn"}, "no core 'rnn'"),
        ({"depth": 2}, "does not say which policy"),
        (None, "does not say which policy"),
    ],
)
def test_a_checkpoint_of_another_policy_is_refused(tmp_path, changed, words):
    spec = PolicySpec(env="atari", core="cnn", width=8, actions=6)
    tensors = {"policy": build(spec).state_dict()}
    state = {"policy": None if changed is None else {**asdict(spec), **changed}, "task": "Pong"}
    path = save_checkpoint(tmp_path, Checkpoint(update=1, tensors=tensors, state=state))
    with pytest.raises(DataError, match=words):
        load_policy(path)
