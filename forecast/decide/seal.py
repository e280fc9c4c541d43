"""The seal of a frozen forecast: a hash of all that its file says, by which a later change is noticed."""

import tomllib
from collections.abc import Mapping
from typing import Any

from forecast.files import digest

_SECTION = "seal"


def sealed(text: str) -> str:
    """A TOML text with a last section [seal], the hash of what stands before it."""
    return f'{text}\n[{_SECTION}]\nsha256 = "{_digest(tomllib.loads(text))}"\n'


def is_broken(content: Mapping[str, Any]) -> bool:
    """Whether what a TOML file holds is not what was sealed; files of earlier versions have no seal to break.

    Comments, spaces and the order of keys do not count.
    """
    seal = content.get(_SECTION)
    if seal is None:
        return False
    return not isinstance(seal, Mapping) or seal.get("sha256") != _digest(content)


def _digest(content: Mapping[str, Any]) -> str:
    return digest({name: section for name, section in content.items() if name != _SECTION})
