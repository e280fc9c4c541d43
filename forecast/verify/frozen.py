"""The forecast of a recommendation.toml, read back."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from forecast.bayes.prediction import QUANTILE_NAMES, QUANTILES
from forecast.decide.seal import is_broken
from forecast.errors import SavedFileError

TARGETS = ("loss", "return")


@dataclass(frozen=True, kw_only=True)
class Frozen:
    """The forecast of a recommendation.toml."""

    path: str
    """The file."""
    group: str
    """Group of the forecast."""
    budget: float
    """The budget (FLOPs)."""
    objective: str
    """auto, return or loss, as in `forecast.recommend`."""
    constraints: Mapping[str, float]
    """`max_params` (parameters), `max_samples` and `unique_samples` (samples), where set."""
    params: float
    """Recommended model size (parameters)."""
    flops: float
    """FLOPs that the recommended run spends of the budget."""
    beyond_table: float
    """`flops` over the largest compute of the table behind the forecast."""
    levels: np.ndarray
    """Levels of the quantiles, rising, 0 to 1 [L]."""
    quantiles: Mapping[str, np.ndarray]
    """Of `loss` (nats) and `return`: the forecast at each level [L]."""
    five: Mapping[str, Mapping[str, float]]
    """Of `loss` (nats) and `return`: q05, q25, median, q75, q95, as shown to people."""
    source: str
    """The table behind the forecast: a file, a bundled name or "DataFrame"."""
    sha256: str
    """Hash of that table (`Runs.sha256`)."""
    level: str
    """The verdict on the forecast when it was frozen: green, amber or red."""
    verdict: str
    """That verdict in words."""

    @property
    def fine(self) -> bool:
        """Whether the file holds more than five quantiles."""
        return self.levels.size > len(QUANTILES)


def read_frozen(path: str | Path) -> Frozen:
    """The forecast of a recommendation.toml. Raises SavedFileError if it is none, damaged or was changed."""
    try:
        content = tomllib.loads(Path(path).read_bytes().decode("utf-8-sig"))
        recommended, table = content["recommendation"], content["table"]
        diagnostics = content.get("diagnostics", {"passed": True, "sentence": ""})
        five = {t: {k: float(recommended[t][k]) for k in QUANTILE_NAMES} for t in TARGETS if t in recommended}
        fine = content.get("quantiles", {})
        quantiles = {t: np.asarray(fine[t], float) if fine else np.array(list(five[t].values())) for t in five}
        levels = np.asarray(fine["levels"], float) if fine else np.array(QUANTILES)
        frozen = Frozen(
            path=str(path),
            group=str(recommended["group"]),
            budget=float(recommended["flops"]),
            objective=str(recommended.get("objective", "auto")),
            constraints={k: float(v) for k, v in recommended.get("constraints", {}).items()},
            params=float(recommended["params"]["recommended"]),
            flops=float(recommended.get("flops_spent", recommended["flops"])),
            beyond_table=float(recommended["beyond_table"]),
            levels=levels,
            quantiles=quantiles,
            five=five,
            source=str(table["source"]),
            sha256=str(table["sha256"]),
            level=str(diagnostics.get("level", "green" if diagnostics["passed"] else "red")),  # older files have none
            verdict=str(diagnostics["sentence"]),
        )
    except OSError as error:
        raise SavedFileError(f"{path} cannot be read ({error.strerror}); check the path.") from None
    except KeyError as error:
        raise SavedFileError(
            f"{path} is not a recommendation: it has no {error}; write one with `forecast recommend --out`."
        ) from None
    except (TypeError, AttributeError, ValueError, OverflowError, RecursionError) as error:
        raise SavedFileError(
            f"{path} is not a recommendation ({error}); write one with `forecast recommend --out`."
        ) from None
    for target, values in quantiles.items():
        if values.shape != levels.shape or np.any(np.diff(levels) <= 0) or np.any(np.diff(values) < 0) or not five:
            raise SavedFileError(f"{path} is damaged: its quantiles of the {target} do not rise with their levels.")
    if not quantiles:
        raise SavedFileError(f"{path} is not a recommendation: it forecasts neither loss nor return.")
    if is_broken(content) or ("level" in diagnostics and "seal" not in content):  # whoever writes a level, seals
        raise SavedFileError(
            f"{path} was changed after it was frozen: it is not what its seal says; score the file as it was written."
        )
    return frozen
