"""Training steps on a device that cannot be waited for.

Tensors of torch's meta device have shapes and no content. What makes a GPU wait fails there: to read a number, to
branch on one, to count what a mask leaves, to copy a tensor back. So a loop that runs there launches all of its work
ahead.
"""

import contextlib
import dataclasses

import numpy as np
import pytest
import torch
from letter_game import write_letters
from memory_runs import run_of
from torch.utils._python_dispatch import TorchDispatchMode

from training.design.cloning import configure
from training.design.noise import noise
from training.learn import bc, rl
from training.learn.distributed import Place
from training.learn.learner import Learner
from training.learn.prefetch import prefetched
from training.learn.rollout import Rollout
from training.learn.runs import monitor
from training.policies.family import PolicySpec, build
from training.policies.networks.cores import LstmCore

META = torch.device("meta")


class NoWaitingCopy(TorchDispatchMode):
    """Refuses copies to the device that the host would wait for."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.ops.aten._to_copy.default and kwargs.get("device") == META and args[0].device != META:
            assert kwargs.get("non_blocking"), f"a copy of {tuple(args[0].shape)} is waited for"
        if func is torch.ops.aten.copy_.default and args[0].device != args[1].device:
            assert True in args[2:], f"a copy of {tuple(args[1].shape)} is waited for"
        return func(*args, **kwargs)


@pytest.fixture
def steps(monkeypatch):
    """Everything computes on the meta device; the norm of the gradient in each step that was launched."""
    from torch.optim import optimizer

    known = optimizer._get_fused_kernels_supported_devices()
    monkeypatch.setattr(optimizer, "_get_fused_kernels_supported_devices", lambda: [*known, "meta"])
    monkeypatch.setattr(bc, "place", lambda: contextlib.nullcontext(Place(rank=0, world=1, device=META)))
    for module in (bc, rl):  # there is none on this device
        monkeypatch.setattr(module, "autocast", lambda device, dtype: contextlib.nullcontext())
    launched, step = [], Learner.step

    def counted(self, loss, rate):
        launched.append(step(self, loss, rate))
        return launched[-1]

    monkeypatch.setattr(Learner, "step", counted)
    return launched


@pytest.mark.parametrize("reader", ["item", "any", "mask", "nonzero", "cpu", "list"])
def test_what_makes_a_gpu_wait_fails_here(reader):
    x = torch.zeros(3, device=META)
    waits = {
        "item": lambda: float(x.sum()),
        "any": lambda: bool((x > 0).any()),
        "mask": lambda: x[x > 0],
        "nonzero": lambda: x.nonzero(),
        "cpu": lambda: x.cpu(),
        "list": lambda: x.tolist(),
    }
    with pytest.raises((RuntimeError, NotImplementedError)):
        waits[reader]()
    with NoWaitingCopy(), pytest.raises(AssertionError, match="is waited for"):
        torch.zeros(3).to(META)


@pytest.mark.parametrize("core", ["lstm", "transformer"])
def test_cloning_waits_for_nothing_until_it_reports(tmp_path, monkeypatch, steps, core):
    data = write_letters(tmp_path / "shards")
    run = configure(
        params=2e4, flops=2e9, env="nethack", core=core, data=str(data), batch_size=4, unroll_length=40, max_epochs=1e9
    )
    inside, stretches = [], LstmCore._stretches

    def watched(self, x, start, *state):
        inside.append(bool(start[:, 1:].any()))
        return stretches(self, x, start, *state)

    monkeypatch.setattr(LstmCore, "_stretches", watched)
    monkeypatch.setattr(monitor, "EVERY", 1e9)
    with contextlib.ExitStack() as from_the_first_batch_on:

        def begun(batches, device):
            from_the_first_batch_on.enter_context(NoWaitingCopy())
            return prefetched(batches, device)

        monkeypatch.setattr(bc, "prefetched", begun)
        # The loss is read at the last update, whose budget ends.
        with pytest.raises(RuntimeError, match="cannot be called on meta tensors"):
            bc.train(run, out=tmp_path / "run", table=tmp_path / "runs.csv")
    assert len(steps) == run.updates > 2
    assert all(norm.device == META for norm in steps)
    assert core == "transformer" or any(inside)  # games begin within unrolls


@pytest.mark.parametrize("core", ["lstm", "transformer"])
@pytest.mark.parametrize("algorithm", ["ppo", "vtrace"])
def test_learning_from_a_rollout_waits_for_nothing_until_its_end(tmp_path, steps, core, algorithm):
    config = dataclasses.replace(run_of(3, core=core, algorithm=algorithm), init="somewhere", kl=0.1)
    spec = PolicySpec(env="nethack", core=core, width=8, actions=4, context=config.unroll_length)
    place = Place(rank=0, world=1, device=META)
    learner = Learner.begin(config, spec, place, tmp_path, critic=True)
    shape = (config.envs, config.rollout)
    frames = {name: torch.from_numpy(x) for name, x in noise(spec, *shape).items() if name not in ("action", "mask")}
    frames["start"][:, 3] = True
    states = [learner.policy.initial_state(config.envs, META)] * (config.rollout // config.unroll_length)
    rollout = Rollout(
        frames=frames,
        action=torch.zeros(shape, dtype=torch.int64, device=META),
        memory=tuple(torch.stack(parts, 1) for parts in zip(*states, strict=True)),
        imitated=torch.zeros(*shape, 4, device=META),
        results=(),
        waited=0.0,
        **{name: torch.zeros(shape, device=META) for name in ("log_prob", "value", "next_value", "reward")},
        **{name: torch.zeros(shape, dtype=torch.bool, device=META) for name in ("done", "terminated")},
    )
    with NoWaitingCopy(), pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
        rl.learn(learner, rollout, config, 1e-3, torch.Generator(), torch.float32)
    assert len(steps) == config.epochs * config.samples_per_update // (config.batch_size * config.unroll_length)


def test_batches_come_in_order_and_one_ahead():
    read = []

    def batches():
        for number in range(5):
            read.append(number)
            yield {"x": np.full(number + 1, number), "start": np.zeros(1, bool)}

    there = prefetched(batches(), META)
    for number in range(3):
        batch = next(there)
        assert (batch["x"].shape, batch["x"].device) == ((number + 1,), META)
        assert batch["start"].device.type == "cpu"  # where the LSTM asks for it
        assert read == list(range(number + 2))
    here = prefetched(batches(), torch.device("cpu"))
    assert [int(next(here)["x"][0]) for _ in range(5)] == list(range(5))


def test_to_play_a_frame_waits_for_nothing_wherever_start_lies():
    spec = PolicySpec(env="nethack", core="lstm", width=8, actions=5)
    policy = build(spec).to(META)
    frames = {name: torch.from_numpy(x).to(META) for name, x in noise(spec, 2, 1).items()}
    logits, _ = policy(frames, policy.initial_state(2, META))
    assert logits.shape == (2, 1, 5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU: no step was taken on one")
@pytest.mark.parametrize("core", ["lstm", "transformer"])
def test_cloning_makes_no_gpu_wait(tmp_path, monkeypatch, core):
    run = configure(
        params=2e4, flops=2e9, env="nethack", core=core, data=str(write_letters(tmp_path / "shards")), batch_size=4,
        unroll_length=40, max_epochs=1e9,
    )  # fmt: skip
    step = Learner.step

    def watched(self, loss, rate):
        norm = step(self, loss, rate)
        # From the first step's end to the loss that is read at the last one.
        torch.cuda.set_sync_debug_mode("error" if self.update + 2 < run.updates else "default")
        return norm

    monkeypatch.setattr(Learner, "step", watched)
    monkeypatch.setattr(monitor, "EVERY", 1e9)
    try:
        bc.train(run, out=tmp_path / "run", table=tmp_path / "runs.csv")
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert (tmp_path / "runs.csv").exists()
