"""From a size and a budget to a run: width, samples, batch, step size, and how long it will take here."""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.config.base import TrainingConfig
from training.config.cloning import CloningConfig
from training.design.recommendation import read_recommendation
from training.errors import ConfigError
from training.games.tasks import task_of
from training.policies.arithmetic import autocast, precision, to_device
from training.policies.family import PolicySpec, build, count_params, spec_for, spec_of
from training.policies.flops import flops_per_sample
from training.policies.losses import cloning_loss
from training.shards.reader import Shards

ACTIONS = {"nethack": 121, "atari": 18}
"""Where no demonstrations say otherwise."""
RULES = (1, 2)
"""Versions of the rules for batch and step size, the newest last; a plan names its own, so that its runs stay its."""
_UPDATES = 4000
_MOST_FRAMES = 8192
_MOST = 2**62


def configure(
    *,
    env: str | None = None,
    core: str | None = None,
    params: float,
    flops: float,
    rules: int = RULES[-1],
    **choices: Any,
) -> CloningConfig:
    """The run of a model of about `params` parameters on a budget (FLOPs); `choices` are other fields of CloningConfig.

    Without an `env` it is that of the demonstrations, which name the Atari game too; without those it is nethack.
    Samples follow from the budget and the exact cost of the policy. Batch and step size follow rules, measured at small
    budgets (`benchmarks/rules.py`):

    - a batch holds 1/4000 of the samples, a power of two of frames between 256 and 8,192 (published runs: 128 × 80), in
      unrolls of 32 frames below 2,048 and of 64 from there on; single frames for a cnn, which has no memory. An lstm's
      goes down to 64 frames, in eight sequences at the least;
    - Adam's step size is 1e-3 · (N / 1e5)^(-1/4), between 1e-4 and 2e-3: larger models take smaller steps. An lstm's
      has the power -1/2 below 1e5 parameters, up to 4e-3.

    The rules before (`rules` = 1) made no exception of an lstm. Raises ConfigError for what cannot be built or run.
    """
    check_rules(rules)
    shards = Shards(choices["data"]) if choices.get("data") else None
    env = env or (shards.env if shards else "nethack")
    if shards and shards.env != env:
        raise ConfigError(f"{shards.path} holds demonstrations of {shards.env}, but env = {env!r}; correct one.")
    core = core or {"nethack": "lstm", "atari": "cnn"}.get(env, "lstm")
    choices = {"task": _game(shards) if env == "atari" else CloningConfig.task, **choices}
    given = {name: choices.pop(name) for name in ("batch_size", "unroll_length") if name in choices}
    checked = CloningConfig(
        env=env, core=core, task=choices["task"], flops=flops, samples=_MOST,
        params=round(params) if math.isfinite(params) else params,  # type: ignore[arg-type]
        **{"batch_size": 1, "unroll_length": 1 if core == "cnn" else 32, **given},
    )  # fmt: skip
    spec = spec_for(env, core, checked.params, actions=shards.actions if shards else ACTIONS[env])
    small = core == "lstm" and rules > 1  # smaller batches and larger steps at small budgets
    choices = {"learning_rate": step_size(count_params(spec), below=-0.5 if small else -0.25), **choices}
    # The cost of a sample depends on the unroll, a little, and the unroll on the number of samples.
    cost = flops_per_sample(spec, given.get("unroll_length", _unroll(core, _MOST_FRAMES)))
    least = 64 if small else 256
    frames = 2 ** round(math.log2(min(max(flops / cost / _UPDATES, least), _MOST_FRAMES)))
    unroll_length = given.get("unroll_length", _unroll(core, frames))
    if core == "transformer":
        spec = replace(spec, context=unroll_length)
    cost = flops_per_sample(spec, unroll_length)
    batch_size = given.get("batch_size", max(8 if small else 1, frames // unroll_length))
    samples = math.floor(flops / cost)
    if samples < batch_size * unroll_length:
        raise ConfigError(
            f"flops = {flops:.3g} pays for {samples} samples of this policy ({cost:.3g} FLOPs each), less than one "
            f"update of {batch_size} × {unroll_length}; raise flops or lower params."
        )
    return CloningConfig(
        env=env, core=core, params=count_params(spec), samples=samples, flops=flops,
        batch_size=batch_size, unroll_length=unroll_length, **choices,
    )  # fmt: skip


def check_rules(rules: Any) -> None:
    """Raise ConfigError for a version of the rules that there is not."""
    if isinstance(rules, bool) or rules not in RULES:
        raise ConfigError(f"rules must be one of {', '.join(map(str, RULES))}, got {rules!r}.")


def recommended(path: Path, choices: dict[str, Any], say: Callable[[str], None]) -> CloningConfig:
    """The run of a recommendation.toml: its size and its budget; samples follow from the exact cost of our policy.

    `choices` as for `configure`. Raises ConfigError for a file that is none.
    """
    found = read_recommendation(path)
    if found is None:
        raise ConfigError(
            f"{path}: there is no table [recommendation]; write the file with `forecast recommend --out`."
        )
    run = configure(params=found.params, flops=found.flops, **choices)
    if abs(run.samples / found.samples - 1) > 0.1:
        say(f"{path} recommends {found.samples:.3g} samples; this policy's cost makes them {run.samples:.3g}.")
    return run


def actions_of(env: str, data: str) -> int:
    """Number of actions in a folder of shards; without one, the most that the environment has."""
    return Shards(data).actions if data else ACTIONS[env]


def spec_in(run: TrainingConfig) -> PolicySpec:
    """The policy of a run, as its data or its task wants it."""
    if isinstance(run, CloningConfig):
        return spec_of(run, actions_of(run.env, run.data))
    return spec_of(run, task_of(run.env, run.task, 0).actions)


def flops_per_second(run: TrainingConfig, threads: int) -> float:
    """How fast the run trains here on so many cores, measured now on frames of noise.

    Cores matter only where there is no GPU. Games, which reinforcement learning plays while it learns, are left out.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        spec = spec_in(run)
        return frames_per_second(spec, run, seconds=0.5) * flops_per_sample(spec, run.unroll_length)
    finally:
        torch.set_num_threads(before)


def remarks(run: CloningConfig) -> str:
    """Comments for the top of its TOML: width, cost, and hours on this machine from a rate measured now."""
    spec = spec_in(run)
    speed = frames_per_second(spec, run)
    return (
        f"# width {spec.width}, {flops_per_sample(spec, run.unroll_length):.4g} FLOPs a sample, "
        f"{run.updates:,} updates\n"
        f"# about {run.samples / speed / 3600:.3g} hours on this machine, at {speed:,.0f} frames/s measured just now\n"
    )


def _unroll(core: str, frames: int) -> int:
    return 1 if core == "cnn" else min(frames // 8, 32) if frames < 2048 else 64


def _game(shards: Shards | None) -> str:
    """The Atari game that was recorded, spelled as configs have it."""
    recorded = shards.header["options"].get("game") if shards else None
    return "".join(word.capitalize() for word in recorded.split("_")) if recorded else "Breakout"


def step_size(params: float, below: float = -0.25) -> float:
    """Adam's step size by the size of the model, to two digits; `below` is its power below 1e5 parameters."""
    size = max(params, 6250) / 1e5
    value = max(1e-3 * size ** (below if size < 1 else -0.25), 1e-4)
    return float(f"{value:.1e}")


def frames_per_second(spec: PolicySpec, config: TrainingConfig, seconds: float = 2.0) -> float:
    """Measured rate of training steps on frames of noise, here; at least two steps, the first left out."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    policy = build(spec).to(device)
    optimizer = torch.optim.Adam(policy.parameters(), fused=True)
    # A few frames suffice to know the rate of a CPU, which does not grow with the batch.
    sequences = (
        config.batch_size if device.type == "cuda" else max(1, min(config.batch_size, 512 // config.unroll_length))
    )
    batch = to_device(noise(spec, sequences, config.unroll_length), device)
    memory = policy.initial_state(sequences, device)
    begun, steps = 0.0, 0
    while steps < 2 or time.perf_counter() - begun < seconds:
        with autocast(device, precision(config, device)):
            logits, _ = policy(batch, memory)
        total, count = cloning_loss(logits, batch["action"], batch["mask"])
        optimizer.zero_grad(set_to_none=True)
        (total / count).backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        steps += 1
        if steps == 1:
            begun = time.perf_counter()
    return (steps - 1) * sequences * config.unroll_length / (time.perf_counter() - begun)


def noise(spec: PolicySpec, batch: int, unroll: int, seed: int = 0) -> dict[str, np.ndarray]:
    """A batch of random frames [batch, unroll, ...] such as the loader gives."""
    rng, shape = np.random.default_rng(seed), (batch, unroll)
    found = {
        "previous": rng.integers(0, spec.actions, shape),
        "action": rng.integers(0, spec.actions, shape),
        "start": np.zeros(shape, bool),
        "mask": np.ones(shape, bool),
    }
    if spec.env == "atari":
        return {**found, "pixels": rng.integers(0, 256, (*shape, 4, 84, 84), dtype=np.uint8)}
    return {
        **found,
        "chars": rng.integers(32, 127, (*shape, 24, 80), dtype=np.uint8),
        "colors": rng.integers(0, 16, (*shape, 24, 80), dtype=np.uint8),
        "cursor": np.stack([rng.integers(1, 22, shape), rng.integers(0, 80, shape)], -1).astype(np.uint8),
    }
