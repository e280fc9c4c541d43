"""Runs that play the memory game, or another one."""

import dataclasses

from training.config.reinforcement import ReinforcementConfig
from training.policies.family import count_params, spec_for
from training.policies.flops import reinforcement_flops

ACTIONS = 4


def run_of(updates: int, *, actions: int = ACTIONS, **choices) -> ReinforcementConfig:
    """A small LSTM that plays for some updates; actions: of the memory game, unless it plays another."""
    settings = {"envs": 4, "rollout": 10, "unroll_length": 5, "batch_size": 4, "epochs": 2, "episodes": 2}
    settings |= {"env": "nethack", "core": "lstm", **choices}
    spec = spec_for("nethack", settings["core"], 2.1e4, actions)
    run = ReinforcementConfig(params=count_params(spec), samples=2**40, flops=1.0, **settings)
    samples = updates * run.samples_per_update
    return dataclasses.replace(run, samples=samples, flops=samples * reinforcement_flops(spec, run))
