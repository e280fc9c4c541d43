"""The forecast that a recommendation.toml froze, as it is read back."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from forecast.bayes.prediction import QUANTILE_NAMES, QUANTILES
from forecast.errors import SavedFileError

TARGETS = ("loss", "return")


@dataclass(frozen=True, kw_only=True)
class Frozen:
    """What a recommendation.toml promised.

    params, flops: as recommended, and what that spends of the budget. objective, constraints: as in
    `forecast.recommend`. beyond_table: compute over the largest of the table that the forecast was made from. levels,
    quantiles: of `loss` (nats) and `return`, what the forecast says at each level. five: the quantiles told to people.
    """

    path: str
    group: str
    budget: float
    objective: str
    constraints: Mapping[str, float]
    params: float
    flops: float
    beyond_table: float
    levels: np.ndarray
    quantiles: Mapping[str, np.ndarray]
    five: Mapping[str, Mapping[str, float]]
    source: str
    sha256: str

    @property
    def fine(self) -> bool:
        """Whether the file holds more than five quantiles."""
        return self.levels.size > len(QUANTILES)


def read_frozen(path: str | Path) -> Frozen:
    """The forecast in a recommendation.toml. Raises SavedFileError if the file is none."""
    try:
        content = tomllib.loads(Path(path).read_bytes().decode("utf-8-sig"))
        given, table = content["recommendation"], content["table"]
        five = {t: {k: float(given[t][k]) for k in QUANTILE_NAMES} for t in TARGETS if t in given}
        fine = content.get("quantiles", {})
        kept = {t: np.asarray(fine[t], float) if fine else np.array(list(five[t].values())) for t in five}
        levels = np.asarray(fine["levels"], float) if fine else np.array(QUANTILES)
        frozen = Frozen(
            path=str(path),
            group=str(given["group"]),
            budget=float(given["flops"]),
            objective=str(given.get("objective", "auto")),
            constraints={k: float(v) for k, v in given.get("constraints", {}).items()},
            params=float(given["params"]["recommended"]),
            flops=float(given.get("flops_spent", given["flops"])),
            beyond_table=float(given["beyond_table"]),
            levels=levels,
            quantiles=kept,
            five=five,
            source=str(table["source"]),
            sha256=str(table["sha256"]),
        )
    except OSError as error:
        raise SavedFileError(f"{path} cannot be read ({error.strerror}); check the path.") from None
    except KeyError as error:
        raise SavedFileError(
            f"{path} is not a recommendation: it has no {error}; write one with `forecast recommend --out`."
        ) from None
    except (TypeError, AttributeError, ValueError) as error:
        raise SavedFileError(
            f"{path} is not a recommendation ({error}); write one with `forecast recommend --out`."
        ) from None
    for target, values in kept.items():
        if values.shape != levels.shape or np.any(np.diff(levels) <= 0) or np.any(np.diff(values) < 0) or not five:
            raise SavedFileError(f"{path} is damaged: its quantiles of the {target} do not rise with their levels.")
    if not kept:
        raise SavedFileError(f"{path} is not a recommendation: it forecasts neither loss nor return.")
    return frozen
