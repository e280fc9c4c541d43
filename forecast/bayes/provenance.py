"""What a result of a posterior is based on."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What a result of a posterior is based on."""

    source: str
    """The run table: a file, a bundled name or "DataFrame"."""
    sha256: str
    """Hash of that table."""
    law: str
    """One of `forecast.model.LAWS`."""
    seed: int
    """Seed of the sampler."""
    passed: bool
    """Whether every diagnostic passed."""
    verdict: str
    """The diagnostics in a sentence."""

    @property
    def diagnostics(self) -> dict[str, Any]:
        """The verdict as plain types."""
        return {"passed": self.passed, "sentence": self.verdict}
