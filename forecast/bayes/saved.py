"""A posterior read back from the file that `Posterior.save` wrote."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forecast.bayes.diagnostics import Diagnostics
from forecast.bayes.pace import Pace
from forecast.bayes.posterior import Posterior
from forecast.bayes.quiet import az
from forecast.errors import SavedFileError
from forecast.files import digest
from forecast.model.data import Spec
from forecast.model.encode import encode
from forecast.model.sites import site_names
from forecast.runs.checks import TEXT
from forecast.runs.cost import group_costs
from forecast.runs.table import Runs

_HEADER = {
    "version": str, "spec": dict, "seed": int, "source": str, "notes": list, "sha256": str, "expert_return": dict,
    "start_loss": dict, "table": str, "checks": str,
}  # fmt: skip
"""What the header of every version has, by type."""
_UNREADABLE = (OSError, KeyError, ValueError, TypeError, AttributeError, IndexError, RuntimeError, RecursionError)
"""What the readers of a foreign or damaged file raise."""


def load_posterior(path: str | Path) -> Posterior:
    """A posterior written by `Posterior.save`.

    Raises SavedFileError if the file is not one, is damaged, or was written by another version of the model.
    """
    try:
        stored = az.from_netcdf(str(path))
        header = json.loads(stored.attrs["forecast"])
        draws = {str(k): v.to_numpy() for k, v in stored["posterior"].data_vars.items()}
        diverging = stored["sample_stats"]["diverging"].to_numpy().astype(bool)
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())[:200]
        raise SavedFileError(
            f"{path} is not a saved posterior ({reason}); write one with `forecast fit --out`."
        ) from None
    _check_header(path, header)
    seal = header.pop("seal", None)  # of a version that wrote one
    if seal is not None and seal != digest(header, {**draws, "diverging": diverging}):
        raise SavedFileError(f"{path} is damaged or was changed: it is not what its seal says; fit again.")
    if not all(np.isfinite(values).all() for values in draws.values()):
        raise SavedFileError(f"{path} is damaged: some of its draws are no numbers; fit again.")
    try:
        return _posterior(path, header, draws, diverging)
    except SavedFileError:
        raise
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())[:200]
        raise SavedFileError(f"{path} is damaged: it does not hold a posterior ({reason}); fit again.") from None


def _check_header(path: str | Path, header: Any) -> None:
    """Raise SavedFileError for a header that is not one of ours."""
    for name, kind in _HEADER.items():
        if not isinstance(header, dict) or not isinstance(header.get(name), kind):
            raise SavedFileError(
                f"{path} is not a saved posterior: it has no {name} of a fit; write one with `forecast fit --out`."
            )


def _posterior(
    path: str | Path, header: dict[str, Any], draws: dict[str, np.ndarray], diverging: np.ndarray
) -> Posterior:
    """The posterior that a file holds."""
    text = dict.fromkeys(TEXT, "string")  # a game may be called NA
    table = pd.read_csv(
        io.StringIO(header["table"]), index_col="row", dtype=text, keep_default_na=False, na_values=[""]
    )
    runs = Runs(table=table, source=header["source"], notes=tuple(header["notes"]))
    if runs.sha256 != header["sha256"]:
        raise SavedFileError(f"{path} is damaged: its table does not match its hash; fit again.")
    experts = header["expert_return"]
    checks = pd.read_csv(io.StringIO(header["checks"]))
    spec = Spec(**header["spec"])
    encoding = encode(runs, expert_return=experts, start_loss=header["start_loss"])
    if site_names(spec, encoding.data) != set(draws):
        raise SavedFileError(f"{path} was written by another version of the model ({header['version']}); fit again.")
    return Posterior(
        runs=runs,
        spec=spec,
        encoding=encoding,
        draws=draws,
        diagnostics=Diagnostics(checks=checks, diverging=diverging),
        cost=group_costs(runs),
        seed=header["seed"],
        expert_return=experts,
        start_loss=header["start_loss"],
        paces={group: Pace(**pace) for group, pace in header.get("paces", {}).items()},
    )
