"""How fast runs train on this machine, measured on frames of noise for no longer than the answer needs."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from training.config.base import TrainingConfig
from training.config.cloning import CloningConfig
from training.design.cloning import device_here, spec_in
from training.design.memory import free_memory, step_memory
from training.design.noise import noise
from training.durations import duration
from training.policies.arithmetic import autocast, matrix_rate, precision, to_device
from training.policies.compiled import compiles
from training.policies.family import PolicySpec, build, count_params, spec_for
from training.policies.flops import flops_per_sample
from training.policies.losses import cloning_loss
from training.shards.reader import Shards

LIMIT = 8.0
"""Seconds that measuring may take, about, however many runs there are."""
BEYOND = 365 * 24 * 3600.0
"""Seconds of matrix products alone from which on a run is beyond reach: how long it would take matters to nobody."""
_RUNGS = (
    1e5,
    1e6,
    1e7,
    1e8,
)  # parameters of what is measured before a larger policy: each tells how long the next one takes
_BUILT = 2e7  # parameters a second that a CPU makes, at the least
_FRAMES = 512  # of a step on a CPU, whose rate does not grow with the batch
_FEW = 32  # frames that suffice where a step is long
_STEP = 1.5  # seconds of a step that are not exceeded where fewer frames help
_SECONDS = 0.2, 0.7  # of steps of a smaller policy, and of the run's own


@dataclass(frozen=True, kw_only=True)
class Step:
    """A measured training step."""

    spec: PolicySpec
    """Of the policy."""
    flops_per_second: float
    """Of forward and backward."""
    optimizer: float
    """Seconds that the optimizer takes, however many frames there are."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How fast a run trains here, without the games that it plays."""

    flops_per_second: float
    """Of the run; of one beyond reach the matrix rate, which no training exceeds."""
    peak: float
    """Measured matrix rate (FLOP/s)."""
    measured: int | None
    """Parameters of the policy whose steps were measured; None where there was no need to."""


class Speeds:
    """Speeds of runs on this machine, from steps that are measured as far as `limit` seconds go for all of them.

    Small policies come first, since they tell how long the steps of larger ones take. A policy whose steps do not fit
    into the time, or into the memory, gets the share of the matrix rate that the largest measured one has.
    """

    def __init__(self, *, limit: float = LIMIT, threads: int | None = None) -> None:
        """Nothing is measured yet. threads: cores of a run, where there is no GPU; torch's own number if None."""
        self._limit, self._threads = limit, threads
        self._device = torch.device(device_here())
        self._used = 0.0
        self._peaks: dict[torch.dtype, float] = {}
        self._steps: dict[tuple[PolicySpec, int], Step] = {}

    def of(self, run: TrainingConfig, shards: Shards | None = None) -> Speed:
        """The speed of a run. shards: those in its `data`, where they are open already."""
        before, begun = torch.get_num_threads(), time.monotonic()
        torch.set_num_threads(self._threads or before)
        try:
            return self._of(run, spec_in(run, shards))
        finally:
            torch.set_num_threads(before)
            self._used += time.monotonic() - begun

    def _of(self, run: TrainingConfig, spec: PolicySpec) -> Speed:
        dtype = precision(run, self._device)
        if dtype not in self._peaks:
            self._peaks[dtype] = matrix_rate(self._device, dtype)
        peak, end = self._peaks[dtype], time.monotonic() + self._limit - self._used
        if run.flops / peak > BEYOND:
            return Speed(flops_per_second=peak, peak=peak, measured=None)
        last: Step | None = None
        for rung in _rungs(spec):
            key = rung, run.samples_per_update if self._device.type == "cuda" else 0
            if key not in self._steps:
                sequences = self._sequences(rung, run, last, end - time.monotonic())
                if not sequences:
                    break
                seconds = _SECONDS[rung == spec]
                self._steps[key] = measured(rung, run, sequences, self._device, seconds)
            last = self._steps[key]
        if last is None:
            last = self._nearest(spec)
        if last is None:
            return Speed(flops_per_second=peak, peak=peak, measured=None)
        rate = last.flops_per_second
        if last.spec == spec:  # an update has this many frames, and one step of the optimizer
            flops = run.batch_size * run.unroll_length * flops_per_sample(spec, run.unroll_length)
            rate = flops / (flops / rate + last.optimizer)
        return Speed(flops_per_second=min(rate, peak), peak=peak, measured=count_params(last.spec))

    def _sequences(self, spec: PolicySpec, run: TrainingConfig, last: Step | None, left: float) -> int:
        """Sequences of a step that can be afforded in `left` seconds; 0 for none. last: a smaller policy's step."""
        unroll, free = run.unroll_length, free_memory(self._device)
        cuda = self._device.type == "cuda"
        few = run.batch_size if cuda else max(1, min(run.batch_size, _FEW // unroll))
        if step_memory(spec, few * unroll, unroll) > free:
            return 0
        if last is None:  # the first one, small, tells how long others take
            return few if left > 0 else 0
        cost = flops_per_sample(spec, unroll) / last.flops_per_second
        left -= 0.0 if cuda else count_params(spec) / _BUILT
        if 3 * few * unroll * cost > left:
            return 0
        most = run.batch_size if cuda else max(1, min(run.batch_size, _FRAMES // unroll))
        fitting = int(_STEP / (unroll * cost)) if not cuda else most
        sequences = max(few, min(most, fitting))
        return sequences if step_memory(spec, sequences * unroll, unroll) <= free else few

    def _nearest(self, spec: PolicySpec) -> Step | None:
        """The measured step of the policy whose size is nearest, among those of its kind."""
        size = count_params(spec)
        alike = [step for step in self._steps.values() if (step.spec.env, step.spec.core) == (spec.env, spec.core)]
        return min(alike, key=lambda s: abs(count_params(s.spec) / size - 1), default=None)


def remarks(run: CloningConfig, shards: Shards | None = None) -> str:
    """Comments for the top of its TOML: width, cost, and how long it takes on this machine at rates measured now.

    shards: those in the run's `data`, where they are open already.
    """
    spec = spec_in(run, shards)
    cost = flops_per_sample(spec, run.unroll_length)
    speed, device = Speeds().of(run, shards), torch.device(device_here())
    needed = step_memory(spec, run.samples_per_update, run.unroll_length)
    free = free_memory(device)
    lines = [f"width {spec.width}, {cost:.4g} FLOPs a sample, {run.updates:,} updates", _takes(run, speed, cost)]
    if needed > free:
        lines.append(f"it needs about {needed / 1e9:.3g} GB of memory, of which {free / 1e9:.3g} are free here")
    return "".join(f"# {line}\n" for line in lines)


def _takes(run: CloningConfig, speed: Speed, cost: float) -> str:
    """How long the run takes, and what was measured for that."""
    takes, frames = duration(run.flops / speed.flops_per_second), speed.flops_per_second / cost
    if speed.measured is None:
        return (
            f"more than {takes} on this machine: its matrix products alone take as long, at the "
            f"{speed.peak:.3g} FLOP/s measured just now; so no training step was measured"
        )
    share = f"{speed.flops_per_second / speed.peak:.1%} of its matrix rate"
    uncompiled = ", uncompiled" if compiles(run, torch.device(device_here())) else ""
    if abs(speed.measured / run.params - 1) < 0.01:
        now = f"{frames:,.3g} frames/s measured just now{uncompiled}"
        return f"about {takes} on this machine, at {now}: {share}"
    return (
        f"about {takes} on this machine, at {frames:,.3g} frames/s: {share}, carried over from a policy of "
        f"{speed.measured:,} parameters measured just now{uncompiled}"
    )


def measured(spec: PolicySpec, config: TrainingConfig, sequences: int, device: torch.device, seconds: float) -> Step:
    """Training steps on frames of noise for so many seconds after the first, which counts if it takes `_STEP`."""
    with device:
        policy = build(spec)
    optimizer = torch.optim.Adam(policy.parameters(), fused=True)
    batch = to_device(noise(spec, sequences, config.unroll_length), device)
    memory = policy.initial_state(sequences, device)

    def clock() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    learning, updating, warm = [], [], False
    while not warm or sum(learning) + sum(updating) < seconds:
        begun = clock()
        with autocast(device, precision(config, device)):
            logits, _ = policy(batch, memory)
        total, count = cloning_loss(logits, batch["action"], batch["mask"])
        optimizer.zero_grad(set_to_none=True)
        (total / count).backward()
        learned = clock()
        optimizer.step()
        ended = clock()
        if warm or ended - begun > _STEP:
            learning.append(learned - begun)
            updating.append(ended - learned)
        warm = True
    flops = len(learning) * sequences * config.unroll_length * flops_per_sample(spec, config.unroll_length)
    return Step(spec=spec, flops_per_second=flops / sum(learning), optimizer=sum(updating) / len(updating))


def _rungs(spec: PolicySpec) -> Iterator[PolicySpec]:
    """Smaller policies of this kind, then itself."""
    size = count_params(spec)
    for params in _RUNGS:
        if params < size / 2:
            yield replace(spec_for(spec.env, spec.core, params, spec.actions, spec.family), context=spec.context)
    yield spec
