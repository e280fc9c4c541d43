"""What a recommendation.toml of `forecast recommend` asks for, and the run that carries it out."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.config.cloning import CloningConfig
from training.config.reinforcement import ReinforcementConfig
from training.design import cloning, reinforcement
from training.errors import ConfigError
from training.policies.family import BetweenSizesError
from training.schema import content_hash
from training.shards.reader import Shards
from training.toml import read_toml


@dataclass(frozen=True, kw_only=True)
class Recommended:
    """What a recommendation.toml asks for: model parameters, samples and training compute (FLOPs)."""

    params: float
    """Model parameters."""
    samples: float
    """Training samples."""
    flops: float
    """Training compute (FLOPs)."""


def read_recommendation(path: str | Path) -> Recommended | None:
    """The numbers of a recommendation.toml; None for a TOML file without a table [recommendation].

    Further keys of the file are ignored. Raises ConfigError, naming the file, when a number is missing or not positive,
    or the file is not what `forecast` sealed in it.
    """
    content = read_toml(path)
    section = content.get("recommendation")
    if section is None:
        return None
    if content.get("seal", sealed := {"sha256": content_hash(content, "seal")}) != sealed:
        raise ConfigError(
            f"{path} was changed after it was frozen: it is not what its seal says; write it again with `forecast "
            "recommend --out`, or another run with `training configure`."
        )
    if not isinstance(section, Mapping):
        raise ConfigError(f"{path}: recommendation is no table; write the file with `forecast recommend --out`.")
    params, samples = (_number(path, section, name, "recommended") for name in ("params", "samples"))
    return Recommended(params=params, samples=samples, flops=_number(path, section, "flops"))


def recommended(
    path: Path,
    choices: dict[str, Any],
    say: Callable[[str], None],
    shards: Shards | None = None,
    *,
    algorithm: str = "bc",
) -> CloningConfig | ReinforcementConfig:
    """The run of a recommendation.toml: its size, or the nearest that there is, and its budget; samples follow from
    the exact cost of our policy.

    `choices` and `shards` as for `configure` of the algorithm. Raises ConfigError for a file that is none.
    """
    recommendation = read_recommendation(path)
    if recommendation is None:
        raise ConfigError(
            f"{path}: there is no table [recommendation]; write the file with `forecast recommend --out`."
        )

    def run_of(params: float) -> CloningConfig | ReinforcementConfig:
        size = {"params": params, "flops": recommendation.flops, **choices}
        if algorithm == "bc":
            return cloning.configure(shards=shards, **size)
        return reinforcement.configure(algorithm=algorithm, **size)

    try:
        run = run_of(recommendation.params)
    except BetweenSizesError as error:
        run = run_of(error.nearest)
        say(f"{path} recommends {recommendation.params:.4g} parameters; the nearest policy has {run.params}.")
    if abs(run.samples / recommendation.samples - 1) > 0.1:
        say(f"{path} recommends {recommendation.samples:.3g} samples; this policy's cost makes them {run.samples:.3g}.")
    return run


def _number(path: str | Path, section: Mapping[str, Any], *keys: str) -> float:
    """The number at recommendation.<keys>."""
    value: Any = section
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ConfigError(
            f"{path}: recommendation.{'.'.join(keys)} must be a positive number, got {value!r}; "
            "write the file with `forecast recommend --out`."
        )
    return value
