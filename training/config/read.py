"""A config in a TOML file, of whichever kind it is."""

import dataclasses
from pathlib import Path

from training.config.checks import known_key
from training.config.cloning import CloningConfig
from training.config.reinforcement import ReinforcementConfig
from training.errors import ConfigError
from training.toml import read_toml


def read_config(path: str | Path) -> CloningConfig | ReinforcementConfig:
    """Read a run from the top-level keys of a TOML file; `algorithm` says of which kind.

    Raises ConfigError, naming the file, when it cannot be read, a key is unknown or missing, or a value is refused.
    """
    content = read_toml(path)
    kind = CloningConfig if content.get("algorithm", "bc") == "bc" else ReinforcementConfig
    fields = {field.name: field for field in dataclasses.fields(kind)}
    try:
        for key in content:
            known_key(key, fields)
        missing = [name for name, f in fields.items() if f.default is dataclasses.MISSING and name not in content]
        if missing:
            raise ConfigError(f"{' and '.join(missing)} missing; add a line such as `{missing[0]} = 1e7`.")
        return kind(**content)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
