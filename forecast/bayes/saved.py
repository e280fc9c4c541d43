"""A posterior read back from the file that `Posterior.save` wrote."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forecast.bayes.diagnostics import Diagnostics
from forecast.bayes.pace import Pace
from forecast.bayes.posterior import Posterior
from forecast.errors import SavedFileError
from forecast.files import digest, has_checksum, is_damaged
from forecast.model.data import Spec
from forecast.model.encode import encode
from forecast.model.priors import site_shapes
from forecast.runs.checks import TEXT
from forecast.runs.cost import group_costs
from forecast.runs.table import Runs

_HEADER = {
    "version": str, "spec": dict, "seed": int, "source": str, "notes": list, "sha256": str, "expert_return": dict,
    "start_loss": dict, "table": str, "checks": str,
}  # fmt: skip
"""What the header of every version has, by type."""
_LATER = {"paces": dict, "influential": list, "expert_loss": dict}
"""What headers of later versions have besides."""
_UNUSABLE = (KeyError, ValueError, TypeError, AttributeError, IndexError, RecursionError)
"""What a header that no seal protects can lead to."""


def load_posterior(path: str | Path) -> Posterior:
    """A posterior written by `Posterior.save`.

    Raises SavedFileError if the file is not one, is damaged, or was written by another version of the model.
    """
    try:
        content = Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: not a path
        raise _no_posterior(path, error) from None
    from forecast.bayes import container  # h5py takes a while to import

    if is_damaged(content):
        raise SavedFileError(f"{path} is damaged: its bytes do not match their checksum; fit again.")
    if not has_checksum(content) and not container.ends(content):
        raise SavedFileError(f"{path} is damaged: reading it does not come to an end; fit again.")
    try:
        header, draws, diverging = container.read(content)
    except Exception as error:  # h5py raises what it likes where bytes are damaged, or of another kind of file
        raise _no_posterior(path, error) from None
    _check_header(path, header)
    seal = header.pop("seal", None)  # of a version that wrote one
    if seal is not None and seal != digest(header, {**draws, "diverging": diverging}):
        raise SavedFileError(f"{path} is damaged or was changed: it is not what its seal says; fit again.")
    try:
        if not all(np.isfinite(values).all() for values in draws.values()):
            raise SavedFileError(f"{path} is damaged: some of its draws are no numbers; fit again.")
        return _posterior(path, header, draws, diverging)
    except SavedFileError:
        raise
    except _UNUSABLE as error:
        reason = " ".join(str(error).split())[:200]
        raise SavedFileError(f"{path} is damaged: it does not hold a posterior ({reason}); fit again.") from None


def _no_posterior(path: str | Path, error: Exception) -> SavedFileError:
    reason = " ".join(str(error).split())[:200]
    return SavedFileError(f"{path} is not a saved posterior ({reason}); write one with `forecast fit --out`.")


def _check_header(path: str | Path, header: Any) -> None:
    """Raise SavedFileError for a header that is not one of ours."""
    for name, kind in (_HEADER | _LATER).items():
        missing = name in _LATER and isinstance(header, dict) and name not in header
        if not missing and not (isinstance(header, dict) and isinstance(header.get(name), kind)):
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
    expert_loss = header.get("expert_loss", {})
    encoding = encode(runs, expert_return=experts, expert_loss=expert_loss, start_loss=header["start_loss"])
    if {name: values.shape[2:] for name, values in draws.items()} != site_shapes(spec):
        raise SavedFileError(f"{path} was written by another version of the model ({header['version']}); fit again.")
    return Posterior(
        runs=runs,
        spec=spec,
        encoding=encoding,
        draws=draws,
        diagnostics=Diagnostics(
            checks=checks, diverging=diverging, influential=tuple(map(str, header.get("influential", [])))
        ),
        cost=group_costs(runs),
        seed=header["seed"],
        expert_return=experts,
        expert_loss=expert_loss,
        start_loss=header["start_loss"],
        paces={group: Pace(**pace) for group, pace in header.get("paces", {}).items()},
    )
