"""A posterior read back from the file that `Posterior.save` wrote."""

import io
import json
from pathlib import Path

import arviz as az
import pandas as pd

from forecast.bayes.diagnostics import Diagnostics
from forecast.bayes.pace import Pace
from forecast.bayes.posterior import Posterior
from forecast.errors import SavedFileError
from forecast.model.data import Spec
from forecast.model.encode import encode
from forecast.model.sites import site_names
from forecast.runs.checks import TEXT
from forecast.runs.cost import group_costs
from forecast.runs.table import Runs


def load_posterior(path: str | Path) -> Posterior:
    """A posterior written by `Posterior.save`.

    Raises SavedFileError if the file is not one, is damaged, or was written by another version of the model.
    """
    try:
        stored = az.from_netcdf(str(path))
        header = json.loads(stored.attrs["forecast"])
        draws = {str(k): v.to_numpy() for k, v in stored["posterior"].data_vars.items()}
        diverging = stored["sample_stats"]["diverging"].to_numpy()
    except (OSError, KeyError, ValueError) as error:
        raise SavedFileError(
            f"{path} is not a saved posterior ({error}); write one with `forecast fit --out`."
        ) from None
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
