"""IsoFLOP parabolas (Chinchilla's approach 2, used by Tuyls et al.) and the power law of their vertices."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from forecast.classical.frontier import FrontierLaw, Minima, Profiles, frontier_lines, isoflop_profiles
from forecast.classical.result import FloatArray
from forecast.errors import FitError, ForecastError
from forecast.runs.cost import fit_cost

Status = Literal["ok", "not convex", "vertex outside the sizes", "vertex loss not positive", "too few sizes"]


@dataclass(frozen=True, kw_only=True)
class Parabola:
    """The parabola of one budget. `params`, `samples`, `loss` are its vertex, None unless `status` is "ok"."""

    flops: float
    sizes: int
    interpolated: bool
    status: Status
    curvature: float | None = None
    params: float | None = None
    samples: float | None = None
    loss: float | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class ParabolaLaw(FrontierLaw):
    """Power laws through the vertices; `parabolas` reports every budget, also those not used."""

    parabolas: tuple[Parabola, ...]
    name: str = "parabola"


def parabola(
    params: ArrayLike,
    samples: ArrayLike,
    flops: ArrayLike,
    loss: ArrayLike,
    *,
    budgets: ArrayLike | None = None,
    response: Literal["loss", "log_loss"] = "log_loss",
    within: float | None = None,
) -> ParabolaLaw:
    """Power laws of vertex loss, params and samples in compute; inputs of shape (rows,), see `fit_parabolas`.

    Raises FitError when fewer than three budgets have a convex parabola with its vertex among the sizes.
    """
    profiles = isoflop_profiles(params, samples, flops, loss, budgets)
    parabolas = fit_parabolas(profiles, response=response, within=within)
    good = [fit for fit in parabolas if fit.status == "ok"]
    if len(good) < 3:
        reasons = sorted({fit.status for fit in parabolas if fit.status != "ok"})
        raise FitError(
            f"only {len(good)} of {len(parabolas)} budgets have a usable parabola ({'; '.join(reasons)}) and a power "
            "law needs three; train smaller and larger models at these budgets."
        )
    vertices = {key: np.array([getattr(fit, key) for fit in good]) for key in ("flops", "params", "samples", "loss")}
    used = Minima(
        **vertices,
        interpolated=np.array([fit.interpolated for fit in good]),
        edge=np.zeros(len(good), dtype=bool),
    )
    outside = sum(fit.status == "vertex outside the sizes" for fit in parabolas)
    loss_line, params_line, samples_line = frontier_lines(used)
    return ParabolaLaw(
        loss=loss_line,
        params=params_line,
        samples=samples_line,
        used=used,
        edges=outside,
        cost=fit_cost(params, samples, flops),
        parabolas=tuple(parabolas),
    )


def fit_parabolas(
    profiles: Profiles, *, response: Literal["loss", "log_loss"] = "log_loss", within: float | None = None
) -> list[Parabola]:
    """Least-squares parabola of log loss in log params at every budget.

    The paper fits loss itself, `response="loss"`; log loss is the default because power laws are straight in it, and
    because losses of barely trained large models weigh less. `within` keeps only sizes whose loss is at most that
    factor above the lowest of the budget: far from the minimum a profile is no parabola. A parabola that opens
    downwards, or whose vertex is outside the sizes it was fitted to, is reported and has no vertex.

    Raises ForecastError for an unknown response or `within` not above 1.
    """
    if response not in ("loss", "log_loss"):
        raise ForecastError(f"response must be 'loss' or 'log_loss', got {response!r}.")
    if within is not None and within <= 1:
        raise ForecastError(f"within is a factor above the lowest loss, got {within}; pass for example 2.")
    fits = []
    for budget in profiles.budgets:
        rows = profiles.flops == budget
        if within is not None:
            rows &= profiles.loss <= within * profiles.loss[rows].min()
        any_interpolated = bool(profiles.interpolated[rows].any())
        columns = profiles.params[rows], profiles.samples[rows], profiles.loss[rows]
        fitted = _fitted(*columns, log=response == "log_loss")
        fits.append(Parabola(flops=float(budget), sizes=int(rows.sum()), interpolated=any_interpolated, **fitted))
    return fits


def _fitted(params: FloatArray, samples: FloatArray, loss: FloatArray, *, log: bool) -> dict:
    if params.size < 3:
        return {"status": "too few sizes"}
    log_params = np.log(params)
    centre = log_params.mean()  # keeps the normal equations well conditioned whatever the unit of N
    c2, c1, c0 = np.polyfit(log_params - centre, np.log(loss) if log else loss, 2)
    curvature = float(2 * c2)
    if curvature <= 0:
        return {"status": "not convex", "curvature": curvature}
    at = -c1 / curvature
    value = c0 + c1 * at / 2
    if not log_params[0] <= at + centre <= log_params[-1]:
        return {"status": "vertex outside the sizes", "curvature": curvature}
    if not log and value <= 0:
        return {"status": "vertex loss not positive", "curvature": curvature}
    return {
        "status": "ok",
        "curvature": curvature,
        "params": float(np.exp(at + centre)),
        # Samples of a size between two trained ones at the same budget; flops / cost would assume a cost.
        "samples": float(np.exp(np.interp(at + centre, log_params, np.log(samples)))),
        "loss": float(np.exp(value) if log else value),
    }
