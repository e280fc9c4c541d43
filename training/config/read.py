"""A config in a TOML file, of whichever kind it is."""

import dataclasses
import difflib
from pathlib import Path

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
    for key in content:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"the keys are {', '.join(fields)}."
            raise ConfigError(f"{path}: unknown key {key!r}; {hint}")
    missing = [name for name, field in fields.items() if field.default is dataclasses.MISSING and name not in content]
    if missing:
        raise ConfigError(f"{path}: {' and '.join(missing)} missing; add a line such as `{missing[0]} = 1e7`.")
    try:
        return kind(**content)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
