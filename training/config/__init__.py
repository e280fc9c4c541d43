"""What a training run is: an immutable config, checked on construction, read from and written to TOML."""

from training.config.base import ALGORITHMS, CORES, ENVS, TrainingConfig, default_core, default_task, to_toml
from training.config.cloning import CloningConfig
from training.config.read import read_config
from training.config.reinforcement import ReinforcementConfig

__all__ = [
    "ALGORITHMS",
    "CORES",
    "ENVS",
    "CloningConfig",
    "ReinforcementConfig",
    "TrainingConfig",
    "default_core",
    "default_task",
    "read_config",
    "to_toml",
]
