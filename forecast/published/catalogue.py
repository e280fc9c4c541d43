"""The bundled tables: `<name>.csv` holds the rows, `<name>.toml` what they are and where they come from."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

_HERE = Path(__file__).parent
BACKTESTS = _HERE / "backtests"
"""Folders of the back-tests that ship with bundled tables, by name of the table."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A bundled table. expert_return: the demonstrator's mean return by group, None where the source has none."""

    name: str
    title: str
    description: str
    source: str
    url: str
    licence: str
    notes: tuple[str, ...]
    expert_return: Mapping[str, float] | None = None

    @property
    def path(self) -> Path:
        """The CSV file."""
        return _HERE / f"{self.name}.csv"

    def as_notes(self) -> tuple[str, ...]:
        """Provenance first, then the caveats."""
        return (f"{self.title}. {self.source}", *self.notes)


@cache
def datasets() -> Mapping[str, Dataset]:
    """Every bundled table by name, sorted."""
    found = {}
    for path in sorted(_HERE.glob("*.toml")):
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        content["notes"] = tuple(content["notes"])
        found[path.stem] = Dataset(name=path.stem, **content)
    return MappingProxyType(found)
