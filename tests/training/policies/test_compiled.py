"""Compiled training steps compute what the others do, and where compiling fails a run goes on."""

import copy
import dataclasses
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.utils import counters
from torch._functorch._aot_autograd.utils import make_boxed_func

from training.config.cloning import CloningConfig
from training.config.reinforcement import ReinforcementConfig
from training.design.noise import noise
from training.policies import compiled
from training.policies.arithmetic import to_device
from training.policies.compiled import GRAPHED, WORTH, LearningPolicy, compiles, graphed
from training.policies.family import PolicySpec, build
from training.policies.networks import embedding
from training.policies.recorded import acts_recorded

CPU, CUDA, META = (torch.device(name) for name in ("cpu", "cuda", "meta"))
SPECS = {
    "lstm": PolicySpec(env="nethack", core="lstm", width=8, actions=5),
    "transformer": PolicySpec(env="nethack", core="transformer", width=8, actions=5, context=4),
    "paper": PolicySpec(env="nethack", core="lstm", width=8, actions=5, encoder="paper"),
    "cnn": PolicySpec(env="atari", core="cnn", width=2, actions=5),
}


@pytest.fixture(autouse=True)
def traced(monkeypatch):
    """All of torch.compile but the compiler of the machine, which takes minutes on two cores."""
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")
    torch.compiler.reset()
    counters.clear()


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    monkeypatch.setattr(embedding, "by_product", lambda device: True)


def policy_of(name):
    torch.manual_seed(0)
    policy = build(SPECS[name])
    for weight in policy.parameters():  # branches that begin at zero too
        with torch.no_grad():
            weight.add_(torch.randn_like(weight), alpha=0.02)
    return policy


def batch_of(name, sequences=3, seed=0, device=CPU):
    arrays = noise(SPECS[name], sequences, 4, seed)
    arrays["start"][seed % sequences, 1 + seed % 3] = True
    return to_device(arrays, device)


def step(called, policy, batch, dtype=torch.float32):
    """Logits and all gradients."""
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        logits, _ = called(batch, policy.initial_state(len(batch["previous"]), batch["previous"].device))
    return logits, torch.autograd.grad(logits.square().sum(), list(policy.parameters()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", SPECS)
def test_a_compiled_step_is_the_same_step_in_one_graph(as_on_a_gpu, name, dtype):
    policy, told = policy_of(name), []
    learning = LearningPolicy(policy, compile=True)
    learning.tell = lambda sentence, seconds: told.append(sentence)
    assert not learning.ready
    before = {key: value.clone() for key, value in policy.state_dict().items()}
    for seed in range(3):  # games begin elsewhere
        batch = batch_of(name, seed=seed)
        found = []
        for called in (learning, policy):
            policy.load_state_dict(before)
            found.append(step(called, policy, batch, dtype))
        torch.testing.assert_close(*found)
    assert learning.ready
    assert told[0] == "Compiling the policy, which takes about a minute."
    assert len(told) == 2
    assert told[1].startswith("the policy is compiled, in ")
    assert counters["stats"]["unique_graphs"] == 1


@pytest.mark.parametrize("name", SPECS)
def test_nothing_but_learning_is_compiled(name):
    policy = policy_of(name)
    names = list(policy.state_dict())
    learning = LearningPolicy(policy, compile=True)
    learning(batch_of(name), policy.initial_state(3))
    with torch.no_grad():
        for sequences in (1, 2, 5):
            policy(batch_of(name, sequences), policy.initial_state(sequences))
    assert counters["stats"]["unique_graphs"] == 1
    assert list(policy.state_dict()) == names
    other = copy.deepcopy(policy)  # as what plays while the policy learns
    for mine, copied in zip(policy.parameters(), other.parameters(), strict=True):
        assert mine.data_ptr() != copied.data_ptr()


@pytest.mark.parametrize("name", SPECS)
def test_the_path_of_a_gpu_breaks_no_graph(name):
    """On a device that is no CPU, though it computes nothing."""
    policy = policy_of(name).to("meta")
    learning, told = LearningPolicy(policy, compile=True), []
    learning.tell = lambda sentence, seconds: told.append(sentence)
    logits, gradients = step(learning, policy, batch_of(name, device=META))
    assert told[1].startswith("the policy is compiled, in ")
    assert (logits.device, {g.device for g in gradients}) == (META, {META})


@pytest.mark.parametrize("name", ["lstm", "paper", "transformer"])
def test_where_compiling_fails_the_policy_is_called_as_it_is(monkeypatch, name):
    def broken(graph, inputs):
        raise RuntimeError("no compiler on this machine\nmore than a user wants to know")

    monkeypatch.setattr(compiled, "BACKEND", broken)
    policy, told, batch = policy_of(name), [], batch_of(name)
    buffers = [buffer.clone() for buffer in policy.eval().buffers()]
    learning = LearningPolicy(policy, compile=True)
    learning.tell = lambda sentence, seconds: told.append(sentence)
    for found, wanted in zip(step(learning, policy, batch), step(policy, policy, batch), strict=True):
        torch.testing.assert_close(found, wanted, atol=0, rtol=0)
    step(learning, policy, batch)
    reason = "RuntimeError: no compiler on this machine"
    assert told[1:] == [f"the policy cannot be compiled ({reason}); the run goes on uncompiled."]
    assert all(torch.equal(now, before) for now, before in zip(policy.buffers(), buffers, strict=True))


def test_to_try_leaves_no_trace(as_on_a_gpu):
    """Compiling runs the policy once more than it learns: neither gradients nor running means may tell."""
    policy = policy_of("paper").train()
    alone, batch = copy.deepcopy(policy), batch_of("paper")
    state = torch.get_rng_state()
    LearningPolicy(policy, compile=True)(batch, policy.initial_state(3))
    alone(batch, alone.initial_state(3))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(weight.grad is None for weight in policy.parameters())
    for (key, now), wanted in zip(policy.state_dict().items(), alone.state_dict().values(), strict=True):
        torch.testing.assert_close(now, wanted, msg=key)


def test_a_full_memory_is_no_failure_to_compile(monkeypatch):
    policy = policy_of("lstm")
    learning = LearningPolicy(policy, compile=True)

    def full(*given):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(compiled, "_compiled", lambda policy, graphs: full)
    with pytest.raises(torch.OutOfMemoryError):
        learning(batch_of("lstm"), policy.initial_state(3))


def test_what_is_compiled_where_nothing_is_said():
    def run(samples=WORTH, **choices):
        return CloningConfig(params=1000, samples=samples, flops=1e15, **choices)

    atari = {"env": "atari", "core": "cnn", "task": "Pong", "unroll_length": 1}
    assert compiles(run(), CUDA)
    assert not compiles(run(), CPU)
    assert not compiles(run(WORTH - 1), CUDA)
    assert not compiles(run(**atari), CUDA)
    for device in (CPU, CUDA):
        assert compiles(run(20_000, compile="on"), device)
        assert not compiles(run(compile="off"), device)


def test_small_updates_of_cloning_are_graphs_on_a_gpu():
    def run(share=1.0, samples=WORTH, **choices):
        """A run whose update costs this share of the most that is recorded."""
        shape = {"batch_size": 8, "unroll_length": 32}
        return CloningConfig(params=1000, samples=samples, flops=share * GRAPHED * samples / 256, **shape, **choices)

    assert graphed(run(), CUDA)
    assert not graphed(run(1.01), CUDA)
    assert graphed(run(9.0, compile="graphs"), CUDA)
    assert not graphed(run(samples=WORTH - 256), CUDA)  # too short to be compiled
    assert not graphed(run(), CPU)
    assert not graphed(run(), CUDA, processes=2)
    for choice in ("on", "off"):
        assert not graphed(run(compile=choice), CUDA)
    assert compiles(run(compile="graphs"), CPU)  # compiled all the same
    playing = ReinforcementConfig(params=1000, samples=WORTH, flops=1e12, compile="graphs")
    assert not graphed(playing, CUDA)  # its graphs are of playing
    assert acts_recorded(playing, CUDA)
    assert not acts_recorded(playing, CPU)
    assert not acts_recorded(dataclasses.replace(playing, compile="auto"), CUDA)
    assert not compiles(playing, CPU)


class Replayed:
    """A compiler whose results lie in fixed memory that every call writes over, as those of CUDA graphs do.

    baked: it computes with what it was first called with, as a graph would that copies no inputs.
    """

    def __init__(self, baked=False):
        self.baked, self.modes, self.calls = baked, [], 0

    def __call__(self, graph, inputs, mode=None):
        self.modes.append(mode)
        static = self._static if mode == "reduce-overhead" else make_boxed_func
        return aot_autograd(
            fw_compiler=lambda module, _: static(module.forward), bw_compiler=lambda module, _: static(module.forward)
        )(graph, inputs)

    def _static(self, forward):
        kept = []

        def call(arguments):
            self.calls += 1
            if not (self.baked and kept):
                results = forward(*arguments)
                for place, result in zip(kept or [None] * len(results), results, strict=True):
                    if place is not None and isinstance(result, torch.Tensor):
                        place.data.copy_(result)
                if not kept:
                    kept.extend(r.clone() if isinstance(r, torch.Tensor) else r for r in results)
            return [part.data if isinstance(part, torch.Tensor) else part for part in kept]

        call._boxed_call = True
        return call


@pytest.mark.parametrize("name", ["lstm", "transformer", "cnn"])
def test_results_in_memory_that_is_written_over_are_safe(as_on_a_gpu, monkeypatch, name):
    """Several steps of learning, with a memory that is carried on, as `training.learn.bc` takes them."""
    backend, told, weights = Replayed(), [], []
    monkeypatch.setattr(compiled, "BACKEND", backend)
    for graphs in (True, False):
        policy = policy_of(name)
        learning = LearningPolicy(policy, compile=graphs, graphs=graphs)
        learning.tell = lambda sentence, seconds: told.append(sentence)
        optimizer = torch.optim.SGD(policy.parameters(), lr=0.01)
        memory, losses = policy.initial_state(3), []
        for seed in range(4):
            before, copied = memory, [part.clone() for part in memory]
            logits, memory = learning(batch_of(name, seed=seed), before)
            assert all(map(torch.equal, before, copied))
            losses.append(logits.square().mean())
            optimizer.zero_grad(set_to_none=True)
            losses[-1].backward()
            optimizer.step()
        weights.append([*policy.parameters(), *memory, torch.stack(losses)])
    torch.testing.assert_close(*weights)
    assert backend.modes == ["reduce-overhead"]
    assert backend.calls >= 2 * 4
    assert "its steps are CUDA graphs" in told[1]


def test_graphs_that_compute_something_else_are_left_out(as_on_a_gpu, monkeypatch):
    backend, told = Replayed(baked=True), []
    monkeypatch.setattr(compiled, "BACKEND", backend)
    policy, batch = policy_of("lstm"), batch_of("lstm")
    learning = LearningPolicy(policy, compile=True, graphs=True)
    learning.tell = lambda sentence, seconds: told.append(sentence)
    torch.testing.assert_close(step(learning, policy, batch), step(policy, policy, batch))
    assert backend.modes == ["reduce-overhead", None]
    assert told[1].startswith("its steps cannot be CUDA graphs (RuntimeError: replayed, their features are ")
    assert told[2].startswith("the policy is compiled, in ")
    assert len(told) == 3


def test_where_graphs_have_no_memory_they_are_left_out(monkeypatch):
    def full(policy, graphs):
        if graphs:
            raise_it = torch.OutOfMemoryError("CUDA out of memory.")
            return lambda *given: (_ for _ in ()).throw(raise_it)
        return policy.features

    monkeypatch.setattr(compiled, "_compiled", full)
    policy, told = policy_of("lstm"), []
    learning = LearningPolicy(policy, compile=True, graphs=True)
    learning.tell = lambda sentence, seconds: told.append(sentence)
    learning(batch_of("lstm"), policy.initial_state(3))
    assert told[1] == "its steps cannot be CUDA graphs (there is no memory for them); it is compiled without."


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="there is no C++ compiler")
@pytest.mark.parametrize("name", ["lstm", "transformer"])
def test_the_machines_compiler_gives_the_same_and_is_asked_once(name, tmp_path):
    code = f"""
        import sys
        import torch
        from torch._dynamo.utils import counters
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import test_compiled as here
        from training.policies import compiled
        from training.policies.networks import embedding
        torch.set_num_threads(1)
        embedding.by_product = lambda device: True
        policy, batch = here.policy_of({name!r}), here.batch_of({name!r})
        learning = compiled.LearningPolicy(policy, compile=True)
        learning.tell = lambda sentence, seconds: print(sentence)
        found, wanted = (here.step(called, policy, batch) for called in (learning, policy))
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-3)
        print(counters["inductor"]["fxgraph_cache_miss"], counters["inductor"]["fxgraph_cache_hit"])
    """
    place = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "compiled")}
    told = [
        subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, env=place)
        for _ in range(2)
    ]
    for done, counted in zip(told, ("2 0", "0 2"), strict=True):
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout.splitlines()[1].endswith(f"torch keeps it in {tmp_path / 'compiled'}.")
        assert done.stdout.splitlines()[2] == counted
