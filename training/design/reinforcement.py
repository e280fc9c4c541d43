"""From a size and a budget to a run of reinforcement learning."""

import dataclasses
import math
from pathlib import Path
from typing import Any

from training.config.base import default_core, default_task
from training.config.checks import one_of
from training.config.reinforcement import ReinforcementConfig
from training.design.cloning import (
    DEVICES,
    RULES,
    check_rules,
    device_here,
    family_of,
    game_limit,
    step_size,
)
from training.errors import ConfigError
from training.games.tasks import task_of
from training.policies.family import count_params, spec_for, spec_of
from training.policies.flops import reinforcement_flops
from training.policies.loaded import load_policy

_RULES: dict[str, dict[str, Any]] = {
    "nethack": {"envs": 16, "rollout": 64, "unroll_length": 32, "batch_size": 8, "epochs": 2, "discount": 0.999},
    "atari": {
        "envs": 16, "rollout": 64, "unroll_length": 1, "batch_size": 256, "epochs": 3, "reward_clip": 1.0, "clip": 0.5
    },
}  # fmt: skip
_SEQUENCES = {"unroll_length": 32, "batch_size": 8}  # V-trace looks along a sequence, whatever the policy remembers
_ATARI_PPO: dict[str, Any] = {"rollout": 128, "epochs": 4, "ratio_clip": 0.1, "life_loss": True}
_ANNEALED: dict[str, Any] = {"schedule": "wsd", "warmup": 0.0, "decay": 1.0}
_MOST_GAMES = {("nethack", "cpu"): 64, ("nethack", "cuda"): 512, ("atari", "cpu"): 16, ("atari", "cuda"): 256}
_FEWEST_GAMES = 16
_UPDATES = {"nethack": 200, "atari": 1000}
"""That more games than the fewest must leave a budget."""


def configure(
    *,
    env: str | None = None,
    core: str | None = None,
    params: float | None = None,
    flops: float,
    algorithm: str = "ppo",
    rules: int = RULES[-1],
    device: str | None = None,
    **choices: Any,
) -> ReinforcementConfig:
    """The run of a model of about `params` parameters on a budget (FLOPs); `choices` are fields of the config.

    device: one of `DEVICES`; that of this machine unless given.
    With `init` among the choices, what is not given is that of the policy it names. Rules for the rest:

    - 64 games of NetHack side by side, 512 with a GPU; 16 of Atari, whose emulator is what a CPU works on, 256 with a
      GPU. Fewer, down to 16, where they would leave the budget less than 200 updates (Atari 1,000). With a GPU they are
      in two groups, of which one is acted for while the other steps; a CPU learns meanwhile;
    - 64 frames of each game make an update, 128 in Atari. PPO learns from them twice in NetHack, in four batches of
      sequences of 32 frames, and four times in Atari, in eight batches of single frames. V-trace learns once, from
      sequences everywhere;
    - Adam's step size is 1e-3 · (N / 1e5)^(-1/4), between 1e-4 and 2e-3; in Atari it falls to zero over the run;
    - the next rollout is played while one is learned from (`lag`);
    - in Atari the policy is `nature`, rewards are cut to 1 and a lost life counts as an end while learning, and PPO's
      ratios are clipped at 0.1 (Schulman et al., arXiv 1707.06347, as most implementations have it). NetHack's discount
      is 0.999, its games being long;
    - games, those that are learned from too, are cut off after `GAME_LIMIT` actions, as NetHackScore's are by itself.

    Rules before 5 take 16 games in one group and gradients of 256 frames everywhere; for Atari the policy `cnn`, 64
    frames and three passes, a constant step size, ratios clipped at 0.2 and lives that count for nothing. Those before
    4 cut no game off, and those before 3 take family 1 of policies. Raises ConfigError for what cannot be built or run.
    """
    check_rules(rules)
    device = device or device_here()
    one_of("device", device, DEVICES)
    begun = load_policy(Path(choices["init"])) if choices.get("init") else None
    env = env or (begun.spec.env if begun else "nethack")
    core = core or (begun.spec.core if begun else _core(env, rules))
    fields = {"task": begun.task if begun else default_task(env, algorithm), **_RULES[env], "lag": 1}
    fields |= {"family": begun.spec.family if begun else family_of(env, rules), "episode_steps": game_limit(rules)}
    if env == "atari" and rules > 4:
        fields |= {"life_loss": True} if algorithm == "vtrace" else _ATARI_PPO
        fields |= {} if "schedule" in choices else _ANNEALED
    if algorithm == "vtrace":
        fields |= {**_SEQUENCES, "epochs": 1}
    fields |= choices
    if params is None and begun is None:
        raise ConfigError("give --params, or --init with the policy to start from.")
    actions = task_of(env, fields["task"], begun.spec.actions if begun else 0).actions
    spec = begun.spec if begun else spec_for(env, core, params or 0.0, actions, fields["family"])
    fields = {"learning_rate": step_size(count_params(spec)), **fields}
    draft = ReinforcementConfig(
        env=env, core=core, algorithm=algorithm, params=count_params(spec), flops=flops, samples=2**62,
        **{name: value for name, value in fields.items() if name != "checkpoints"},
    )  # fmt: skip
    samples = math.floor(flops / reinforcement_flops(begun.spec if begun else spec_of(draft, actions), draft))
    if rules > 4:
        games = _games(draft, choices.get("envs") or _side_by_side(draft, samples, device), device)
        draft = dataclasses.replace(draft, **{name: games[name] for name in games.keys() - choices.keys()})
    if samples < draft.samples_per_update:
        raise ConfigError(
            f"flops = {flops:.3g} pays for {samples} frames of this policy, less than one update of {draft.envs} × "
            f"{draft.rollout}; raise flops or lower params."
        )
    return dataclasses.replace(draft, samples=samples, checkpoints=fields.get("checkpoints", ()))


def schedule_of(env: str, rules: int) -> str:
    """Of the step size, by these rules."""
    return _ANNEALED["schedule"] if env == "atari" and rules > 4 else ReinforcementConfig.schedule


def _core(env: str, rules: int) -> str:
    return "nature" if env == "atari" and rules > 4 else default_core(env)


def _side_by_side(run: ReinforcementConfig, samples: int, device: str) -> int:
    """Games of a run on so many samples."""
    envs = _MOST_GAMES[run.env, device]
    while envs > _FEWEST_GAMES and envs * run.rollout * _UPDATES[run.env] > samples:
        envs //= 2
    return envs


def _games(run: ReinforcementConfig, envs: int, device: str) -> dict[str, int]:
    """So many games, in how many groups, and how many sequences a batch."""
    sequences, batches = envs * run.rollout // run.unroll_length, 4 if run.unroll_length > 1 else 8
    return {
        "envs": envs,
        "groups": 2 if device == "cuda" and envs % 2 == 0 else 1,
        "batch_size": sequences // batches if sequences % batches == 0 else sequences,
    }


def going_on(run: ReinforcementConfig, **changes: Any) -> ReinforcementConfig:
    """The run with another `init` or `kl`, and as many samples as its budget pays for then.

    Raises ConfigError for what cannot be run.
    """
    run = dataclasses.replace(run, **changes)
    cost = reinforcement_flops(load_policy(Path(run.init)).spec, run)
    return dataclasses.replace(run, samples=math.floor(run.flops / cost))
