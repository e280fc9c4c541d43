"""From a size and a budget to a run of reinforcement learning."""

import dataclasses
import math
from pathlib import Path
from typing import Any

from training.config.base import default_core, default_task
from training.config.reinforcement import ReinforcementConfig
from training.design.cloning import RULES, check_rules, family_of, game_limit, step_size
from training.errors import ConfigError
from training.games.tasks import task_of
from training.policies.family import count_params, spec_for, spec_of
from training.policies.flops import reinforcement_flops
from training.policies.loaded import load_policy

_RULES: dict[str, dict[str, Any]] = {
    "nethack": {"envs": 16, "rollout": 64, "unroll_length": 32, "batch_size": 8, "discount": 0.999},
    "atari": {"envs": 16, "rollout": 64, "unroll_length": 1, "batch_size": 256, "reward_clip": 1.0, "clip": 0.5},
}
_SEQUENCES = {"unroll_length": 32, "batch_size": 8}  # V-trace looks along a sequence, whatever the policy remembers


def configure(
    *,
    env: str | None = None,
    core: str | None = None,
    params: float | None = None,
    flops: float,
    algorithm: str = "ppo",
    rules: int = RULES[-1],
    **choices: Any,
) -> ReinforcementConfig:
    """The run of a model of about `params` parameters on a budget (FLOPs); `choices` are fields of the config.

    With `init` among them, what is not given is that of the policy it names. Rules for the rest, of which
    versions 1 and 2 differ from 3 in the family of policies alone, and 3 from 4 in the limit of games:

    - 16 games side by side, 64 frames of each in an update; gradients of 256 frames: single ones for PPO in Atari, else
      sequences of 32. PPO passes over them three times in Atari and twice in NetHack, V-trace once;
    - Adam's step size is 1e-3 · (N / 1e5)^(-1/4), between 1e-4 and 2e-3;
    - the next rollout is played while one is learned from (`lag`);
    - Atari's rewards are cut to 1 while learning; NetHack's discount is 0.999, its games being long;
    - games, those that are learned from too, are cut off after `GAME_LIMIT` actions, as NetHackScore's are by itself.

    Raises ConfigError for what cannot be built or run.
    """
    check_rules(rules)
    begun = load_policy(Path(choices["init"])) if choices.get("init") else None
    env = env or (begun.spec.env if begun else "nethack")
    core = core or (begun.spec.core if begun else default_core(env))
    task = begun.task if begun else default_task(env, algorithm)
    family = begun.spec.family if begun else family_of(env, rules)
    fields = {**_RULES[env], "task": task, "family": family, "lag": 1, "epochs": {"nethack": 2, "atari": 3}[env]}
    fields["episode_steps"] = game_limit(rules)
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
    if samples < draft.samples_per_update:
        raise ConfigError(
            f"flops = {flops:.3g} pays for {samples} frames of this policy, less than one update of {draft.envs} × "
            f"{draft.rollout}; raise flops or lower params."
        )
    return dataclasses.replace(draft, samples=samples, checkpoints=fields.get("checkpoints", ()))


def going_on(run: ReinforcementConfig, **changes: Any) -> ReinforcementConfig:
    """The run with another `init` or `kl`, and as many samples as its budget pays for then.

    Raises ConfigError for what cannot be run.
    """
    run = dataclasses.replace(run, **changes)
    cost = reinforcement_flops(load_policy(Path(run.init)).spec, run)
    return dataclasses.replace(run, samples=math.floor(run.flops / cost))
