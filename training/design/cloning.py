"""From a size and a budget to a cloning run: width, samples, batch and step size."""

import math
from dataclasses import replace
from typing import Any

import torch

from training.config.base import CORES, GAME_LIMIT, TrainingConfig, default_core, default_task
from training.config.checks import one_of
from training.config.cloning import CloningConfig
from training.errors import ConfigError
from training.games.tasks import task_of
from training.policies.family import PolicySpec, count_params, spec_for, spec_of
from training.policies.flops import flops_per_sample
from training.shards.reader import Shards

ACTIONS = {"nethack": 121, "atari": 18}
"""Where no demonstrations say otherwise."""
RULES = (1, 2, 3, 4, 5)
"""Versions of the rules for widths, batch, step size and games, the newest last; a plan names its own, so that its
runs stay its."""
DEVICES = ("cpu", "cuda")
"""What the rules know of a machine: whether it trains on a GPU."""
_UPDATES = 4000
_MOST_FRAMES = 8192
_BUSY_FRAMES = 4096  # of a batch on a GPU: a step of fewer waits for its kernels to be launched
_FEWEST_UPDATES = 1000  # that a GPU's batches leave a budget
_MOST = 2**62


def configure(
    *,
    env: str | None = None,
    core: str | None = None,
    params: float,
    flops: float,
    rules: int = RULES[-1],
    device: str | None = None,
    shards: Shards | None = None,
    **choices: Any,
) -> CloningConfig:
    """The run of a model of about `params` parameters on a budget (FLOPs); `choices` are other fields of CloningConfig.

    device: one of `DEVICES`; that of this machine unless given.
    shards: the demonstrations in `data`, where they are open already.
    Without an `env` it is that of the demonstrations, which name the Atari game too; without those it is nethack.
    Samples follow from the budget and the exact cost of the policy. Batch and step size follow rules, measured at small
    budgets (`benchmarks/rules.py`):

    - a batch holds 1/4000 of the samples, a power of two of frames between 256 and 8,192 (published runs: 128 × 80), in
      unrolls of 32 frames below 2,048 and of 64 from there on; single frames for a cnn, which has no memory. An lstm's
      goes down to 64 frames, in eight sequences at the least. On a GPU it holds 4,096 frames at the least, which keep
      it busy, or 1/1000 of the samples where that is less;
    - Adam's step size is 1e-3 · (N / 1e5)^(-1/4), between 1e-4 and 2e-3: larger models take smaller steps. An lstm's
      has the power -1/2 below 1e5 parameters, up to 4e-3;
    - games, where any are played, are cut off after `GAME_LIMIT` actions.

    Rules 4 are the same. Of those before, 3 cuts no game off, 2 and 1 know no GPU and take family 1 of policies, and 1
    makes no exception of an lstm. Raises ConfigError for what cannot be built or run.
    """
    check_rules(rules)
    device = device or device_here()
    one_of("device", device, DEVICES)
    if shards is None and choices.get("data"):
        shards = Shards(choices["data"])
    env = env or (shards.env if shards else "nethack")
    if shards and shards.env != env:
        raise ConfigError(f"{shards.path} holds demonstrations of {shards.env}, but env = {env!r}; correct one.")
    core = core or default_core(env)
    choices = {"task": _game(shards) or default_task(env, "bc"), "family": family_of(env, rules), **choices}
    if choices.get("episodes"):
        choices = {"episode_steps": game_limit(rules), **choices}
    shape = {name: choices.pop(name) for name in ("batch_size", "unroll_length") if name in choices}
    checked = CloningConfig(
        env=env, core=core, task=choices["task"], family=choices["family"], flops=flops, samples=_MOST,
        params=round(params) if math.isfinite(params) else params,  # type: ignore[arg-type]
        **{"batch_size": 1, "unroll_length": 1 if env == "atari" else 32, **shape},
    )  # fmt: skip
    spec = spec_for(env, core, checked.params, actions_of(env, shards), checked.family)
    small = core == "lstm" and rules > 1  # smaller batches and larger steps at small budgets
    choices = {"learning_rate": step_size(count_params(spec), below=-0.5 if small else -0.25), **choices}
    # The cost of a sample depends on the unroll, a little, and the unroll on the number of samples.
    cost = flops_per_sample(spec, shape.get("unroll_length", _unroll(core, _MOST_FRAMES)))
    least = 64 if small else 256
    if rules > 2 and device == "cuda":
        least = max(least, min(_BUSY_FRAMES, flops / cost / _FEWEST_UPDATES))
    frames = 2 ** round(math.log2(min(max(flops / cost / _UPDATES, least), _MOST_FRAMES)))
    unroll_length = shape.get("unroll_length", _unroll(core, frames))
    if core == "transformer":
        spec = replace(spec, context=unroll_length)
    cost = flops_per_sample(spec, unroll_length)
    batch_size = shape.get("batch_size", max(8 if small else 1, frames // unroll_length))
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


def device_here() -> str:
    """Which of `DEVICES` this machine trains on."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def family_of(env: str, rules: int) -> int:
    """Version of the family of policies by these rules; Atari's has one."""
    return 2 if rules > 2 and env == "nethack" else 1


def game_limit(rules: int) -> int:
    """Actions after which games are cut off by these rules; 0 is the environment's own limit."""
    return GAME_LIMIT if rules > 3 else 0


def actions_of(env: str, shards: Shards | None) -> int:
    """Number of actions in demonstrations; without any, the most that the environment has."""
    return shards.actions if shards else ACTIONS[env]


def spec_in(run: TrainingConfig, shards: Shards | None = None) -> PolicySpec:
    """The policy of a run, as its data or its task wants it; shards: those in its `data`, where they are open."""
    if isinstance(run, CloningConfig):
        if shards is None and run.data:
            shards = Shards(run.data)
        return spec_of(run, actions_of(run.env, shards))
    return spec_of(run, task_of(run.env, run.task, 0).actions)


def _unroll(core: str, frames: int) -> int:
    return 1 if core in CORES["atari"] else min(frames // 8, 32) if frames < 2048 else 64


def _game(shards: Shards | None) -> str:
    """The Atari game that was recorded, spelled as configs have it; empty where there is none."""
    recorded = shards.header["options"].get("game") if shards else None
    return "".join(word.capitalize() for word in recorded.split("_")) if recorded else ""


def step_size(params: float, below: float = -0.25) -> float:
    """Adam's step size by the size of the model, to two digits; `below` is its power below 1e5 parameters."""
    size = max(params, 6250) / 1e5
    value = max(1e-3 * size ** (below if size < 1 else -0.25), 1e-4)
    return float(f"{value:.1e}")
