"""What a result of a posterior is based on."""

from dataclasses import dataclass, replace
from typing import Any

from forecast.bayes.verdict import Verdict


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
    verdict: Verdict
    """Whether to believe it."""

    @property
    def diagnostics(self) -> dict[str, Any]:
        """The verdict as plain types: `level` (green, amber or red), `passed` (not red), `sentence`."""
        level = self.verdict.level
        return {"level": level, "passed": level != "red", "sentence": self.verdict.sentence}

    def at(self, ahead: float, larger: float = 1.0) -> "Provenance":
        """That of a forecast beyond the table.

        ahead: factors of ten of compute that it lies beyond. larger: its size over the table's largest.
        """
        return replace(self, verdict=self.verdict.at(ahead, larger))
