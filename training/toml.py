"""TOML as configs and plans are written in it."""

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.errors import ConfigError


def read_toml(path: str | Path) -> dict[str, Any]:
    """The content of a TOML file. Raises ConfigError, naming the file."""
    try:
        return tomllib.loads(Path(path).read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError(
            f"{path}: the file cannot be read ({error.strerror}); give the path of a TOML file."
        ) from None
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, nested beyond reason
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path}: the file is not valid TOML ({reason}); correct it there.") from None


def toml_value(value: str | bool | int | float | Sequence[float]) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(repr, value))}]"
    if isinstance(value, str):
        # JSON strings are TOML basic strings but for DEL, which TOML wants escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
    return repr(value)
