"""How fast a run trains here is found out in a time that anybody waits, and nothing is made that does not fit."""

import pytest

from training.design import throughput
from training.design.cloning import configure
from training.design.memory import step_memory
from training.design.throughput import BEYOND, LIMIT, Speeds, Step, remarks
from training.policies.family import count_params, spec_of
from training.policies.flops import flops_per_sample

PEAK = 1e11


class Machine:
    """One whose time passes as steps are measured, at a share of its matrix rate that grows with the policy."""

    def __init__(self, monkeypatch, share=lambda params: min(0.5, 0.1 * (params / 1e5) ** 0.2), free=1e12):
        self.now, self.share, self.measured = 0.0, share, []
        monkeypatch.setattr(throughput.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(throughput, "matrix_rate", self._products)
        monkeypatch.setattr(throughput, "measured", self._step)
        monkeypatch.setattr(throughput, "free_memory", lambda device: free)

    def _products(self, device, dtype):
        self.now += 0.4
        return PEAK

    def _step(self, spec, config, sequences, device, seconds):
        params = count_params(spec)
        self.measured.append(params)
        rate, frames = PEAK * self.share(params), sequences * config.unroll_length
        step = frames * flops_per_sample(spec, config.unroll_length) / rate
        self.now += params / 2e7 + step + max(seconds, step)
        return Step(spec=spec, flops_per_second=rate, optimizer=params * 2e-9)


@pytest.mark.parametrize("size", [2e4, 1e6, 3e7, 9e8])
@pytest.mark.parametrize("core", ["lstm", "transformer", "cnn"])
def test_measuring_has_an_end_and_is_near_the_truth(monkeypatch, core, size):
    machine = Machine(monkeypatch)
    run = configure(params=size, flops=size * 3e9, core=core, env="atari" if core == "cnn" else "nethack")
    speed = Speeds().of(run)
    assert machine.now < 1.3 * LIMIT
    assert speed.measured == machine.measured[-1]
    if size < 2e7 and core != "cnn":
        assert speed.measured == run.params
        assert speed.flops_per_second == pytest.approx(PEAK * machine.share(size), rel=0.3)
    assert PEAK * machine.share(size) / 4 < speed.flops_per_second < PEAK


def test_what_is_clearly_beyond_reach_is_not_measured(monkeypatch):
    machine = Machine(monkeypatch)
    run = configure(params=9e8, flops=1.01 * BEYOND * PEAK)
    text = remarks(run)
    assert machine.measured == []
    assert machine.now < 1
    assert "more than 8,848 h on this machine" in text
    assert "no training step was measured" in text


def test_a_policy_that_does_not_fit_is_never_made(monkeypatch):
    run = configure(params=1e7, flops=1e15)
    small = spec_of(configure(params=1e6, flops=1e14), 121)
    machine = Machine(monkeypatch, free=step_memory(small, 256, 64))
    text = remarks(run)
    assert max(machine.measured) < 2e6
    assert f"carried over from a policy of {max(machine.measured):,} parameters" in text
    assert "GB of memory, of which" in text


def test_a_slow_machine_is_not_waited_for(monkeypatch):
    machine = Machine(monkeypatch, share=lambda params: 2e-3)
    speed = Speeds().of(configure(params=1e8, flops=1e15))
    assert machine.now < 1.5 * LIMIT
    assert len(machine.measured) < 3
    assert speed.flops_per_second == pytest.approx(2e-3 * PEAK)


def test_many_runs_share_the_time(monkeypatch):
    machine, speeds = Machine(monkeypatch), Speeds()
    runs = [configure(params=2e5 * 1.5**k, flops=1e15, batch_size=8, unroll_length=32) for k in range(16)]
    rates = [speeds.of(run).flops_per_second for run in runs]
    assert machine.now < 1.5 * LIMIT
    assert len(set(machine.measured)) == len(machine.measured)
    for run, rate in zip(runs, rates, strict=True):
        assert PEAK * machine.share(run.params) / 3 < rate < 3 * PEAK * machine.share(run.params)


def test_real_steps_have_a_rate():
    speed = Speeds(limit=2.0, threads=1).of(configure(params=1e4, flops=1e10))
    assert speed.measured == pytest.approx(1e4, rel=0.1)
    assert 0 < speed.flops_per_second <= speed.peak
