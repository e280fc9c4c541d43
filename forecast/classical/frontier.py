"""IsoFLOP profiles, their minima, and the power law of the minima (Chinchilla's approach 1, used by Tuyls et al.)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forecast.classical.columns import Columns
from forecast.classical.ols import Line, fit_line
from forecast.classical.result import CostPerSample, FloatArray, Interval, LogForecast
from forecast.errors import FitError, ForecastError
from forecast.runs.cost import CostLaw, fit_cost

MIN_SIZES = 3  # fewer sizes at a budget cannot show a minimum with a neighbour on either side
NEAR = 1.05  # rows within this factor of compute may be meant for one budget, which whole updates miss
MAX_BUDGETS = 20  # interpolated budgets beyond the number of checkpoints would only repeat the same rows


@dataclass(frozen=True, kw_only=True, eq=False)
class Profiles:
    """Loss by model size at fixed budgets, long form: every array has shape (points,), sorted by budget, then params.

    `interpolated` marks points read between two rows of one size; the others are rows (means of replicates),
    moved to the budget where they just miss it.
    """

    flops: FloatArray
    params: FloatArray
    samples: FloatArray
    loss: FloatArray
    interpolated: NDArray[np.bool_]

    @property
    def budgets(self) -> FloatArray:
        """The distinct budgets (FLOPs), ascending."""
        return np.unique(self.flops)


@dataclass(frozen=True, kw_only=True, eq=False)
class Minima:
    """The lowest point of each profile, arrays of shape (budgets,).

    `edge` marks a minimum at the smallest or largest size of its profile: the true one may lie outside.
    """

    flops: FloatArray
    params: FloatArray
    samples: FloatArray
    loss: FloatArray
    interpolated: NDArray[np.bool_]
    edge: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class FrontierLaw:
    """Power laws of least loss (nats), best params and best samples in compute C (FLOPs).

    `edges` counts minima left out because they lay at the edge of their profile, `used` holds the points fitted.
    """

    loss: Line
    params: Line
    samples: Line
    used: Minima
    edges: int
    cost: CostLaw
    name: str = "power_law"

    def exponents(self, level: float = 0.9) -> dict[str, Interval]:
        """Exponents in C of minimal loss (negative), optimal params and optimal samples, with Student-t intervals."""
        return {key: getattr(self, key).exponent(level) for key in ("loss", "params", "samples")}

    def forecast_loss(self, params: ArrayLike, samples: ArrayLike, flops: ArrayLike) -> LogForecast:
        """Student-t prediction of log minimal loss at `flops`; it knows nothing off the frontier.

        `params` and `samples` only broadcast against `flops`, so that all methods are called alike.
        """
        return self.loss.forecast(np.broadcast_arrays(flops, params, samples)[0])

    def optimal(self, flops: ArrayLike, cost: CostPerSample | None = None) -> tuple[FloatArray, FloatArray]:
        """Optimal params from their power law, and the samples that the rest of the budget pays for, C / cost(N).

        The power law of samples is not used: the pair must spend the budget, and two separate lines need not.
        """
        budget = np.asarray(flops, dtype=np.float64)
        params = self.params.mean(budget)
        return params, budget / np.asarray((cost or self.cost)(params), dtype=np.float64)


def isoflop_profiles(
    params: ArrayLike, samples: ArrayLike, flops: ArrayLike, loss: ArrayLike, budgets: ArrayLike | None = None
) -> Profiles:
    """Loss and samples of every size at every budget that its rows reach; inputs of shape (rows,).

    A size that has rows exactly at a budget gives their mean. Otherwise log loss and log samples are interpolated
    linearly in log C between its neighbouring rows, and never beyond its first or last row. Without `budgets`, those
    shared exactly by three sizes or more are taken. When fewer than three are shared but most rows lie together, within
    5% in compute, as those of a grid do whose trainings end with a whole update, their largest are: a row counts as one
    at the budget, its loss moved there along its neighbours. Else a geometric grid over the range that three sizes
    cover, with as many budgets as a size typically has rows.

    Raises FitError when no budget is covered by any size.
    """
    table = Columns(params=params, samples=samples, flops=flops, loss=loss)  # pyright: ignore[reportArgumentType]
    curves = {size: _curve(table, size) for size in np.unique(table.params)}
    own, near = _own_budgets(table, curves)
    wanted = own if budgets is None else np.unique(np.asarray(budgets, dtype=np.float64))
    points = [(budget, size, *at) for budget in wanted for size, c in curves.items() if (at := _read(c, budget, near))]
    if not points:
        raise FitError("no model size has rows around any requested budget; ask for budgets within their range.")
    columns = [np.array(column) for column in zip(*points, strict=True)]
    return Profiles(
        flops=columns[0], params=columns[1], samples=columns[2], loss=columns[3], interpolated=columns[4].astype(bool)
    )


def minima(profiles: Profiles) -> Minima:
    """The lowest point of each profile: the lower envelope of the curves. Profiles of under three sizes are passed by.

    Raises FitError when no budget has three sizes.
    """
    lowest, edges = [], []
    for budget in profiles.budgets:
        rows = np.flatnonzero(profiles.flops == budget)
        if rows.size < MIN_SIZES:
            continue
        best = int(np.argmin(profiles.loss[rows]))
        lowest.append(rows[best])
        edges.append(best in (0, rows.size - 1))
    if not lowest:
        raise FitError(f"no budget is covered by {MIN_SIZES} model sizes; add sizes whose budgets overlap.")
    at = np.array(lowest)
    return Minima(
        flops=profiles.flops[at],
        params=profiles.params[at],
        samples=profiles.samples[at],
        loss=profiles.loss[at],
        interpolated=profiles.interpolated[at],
        edge=np.array(edges),
    )


def power_law(
    params: ArrayLike,
    samples: ArrayLike,
    flops: ArrayLike,
    loss: ArrayLike,
    *,
    budgets: ArrayLike | None = None,
    edges: Literal["drop", "keep"] = "drop",
) -> FrontierLaw:
    """Power laws through the minima of the isoFLOP profiles; inputs of shape (rows,), see `isoflop_profiles`.

    Minima at the edge of their profile are dropped by default: there the best size was not among those trained, so the
    loss is too high and the size a limit of the grid. The t intervals take the minima as independent, which
    checkpoints of one training are not.

    Raises FitError when fewer than three minima remain.
    """
    if edges not in ("drop", "keep"):
        raise ForecastError(f"edges must be 'drop' or 'keep', got {edges!r}.")
    minimal = minima(isoflop_profiles(params, samples, flops, loss, budgets))
    used = ~minimal.edge if edges == "drop" else np.ones(minimal.edge.size, dtype=bool)
    if used.sum() < 3:
        raise FitError(
            f"only {used.sum()} of {used.size} budgets have a usable minimum of loss and a power law needs three; "
            "train smaller and larger models at these budgets, or pass edges='keep' and accept the bias."
        )
    chosen = Minima(**{key: value[used] for key, value in vars(minimal).items()})
    loss_line, params_line, samples_line = frontier_lines(chosen)
    return FrontierLaw(
        loss=loss_line,
        params=params_line,
        samples=samples_line,
        used=chosen,
        edges=int((~used).sum()),
        cost=fit_cost(params, samples, flops),
    )


def frontier_lines(points: Minima) -> tuple[Line, Line, Line]:
    """The lines of loss, params and samples on compute through these points. Raises FitError for fewer than three."""
    return (
        fit_line(points.flops, points.loss, what="minimal loss on compute"),
        fit_line(points.flops, points.params, what="optimal params on compute"),
        fit_line(points.flops, points.samples, what="optimal samples on compute"),
    )


def _curve(table: Columns, size: float) -> FloatArray:
    """Rows (flops, samples, loss) of one size with replicates averaged, sorted by flops: shape (3, checkpoints)."""
    rows = table.params == size
    budgets, index = np.unique(table.flops[rows], return_inverse=True)
    counts = np.bincount(index)
    return np.stack([budgets, *(np.bincount(index, column[rows]) / counts for column in (table.samples, table.loss))])


def _read(curve: FloatArray, budget: float, near: float) -> tuple[float, float, bool] | None:
    """Samples and loss at a budget and whether they were interpolated, or None outside the curve.

    A row within a factor of `near` of the budget counts as one at it.
    """
    away = np.abs(np.log(curve[0] / budget))
    row = int(np.argmin(away))
    own = bool(away[row] <= np.log(near))
    if own and (away[row] == 0 or curve.shape[1] == 1):
        return float(curve[1, row]), float(curve[2, row]), False
    right = int(np.searchsorted(curve[0], budget))
    if right in (0, curve.shape[1]) and not own:
        return None
    right = min(max(right, 1), curve.shape[1] - 1)
    left_log, right_log = np.log(curve[:, right - 1]), np.log(curve[:, right])
    share = (np.log(budget) - left_log[0]) / (right_log[0] - left_log[0])
    samples, loss = np.exp(left_log + share * (right_log - left_log))[1:]
    return float(samples), float(loss), not own


def _own_budgets(table: Columns, curves: dict[float, FloatArray]) -> tuple[FloatArray, float]:
    """Budgets of a table, and the factor within which its rows are at them."""
    if len(curves) < MIN_SIZES:
        raise FitError(f"an isoFLOP profile needs {MIN_SIZES} model sizes, the table has {len(curves)}; add sizes.")
    budgets, sizes = np.unique(np.concatenate([curve[0] for curve in curves.values()]), return_counts=True)
    shared = budgets[sizes >= MIN_SIZES]
    if shared.size >= 3:
        return shared, 1.0
    together, rows = [], 0
    for cluster in np.split(budgets, np.flatnonzero(budgets[1:] > NEAR * budgets[:-1]) + 1):
        if cluster[-1] > NEAR * cluster[0]:
            continue
        at = (table.flops >= cluster[0]) & (table.flops <= cluster[-1])
        if np.unique(table.params[at]).size >= MIN_SIZES:
            together.append(cluster[-1])
            rows += int(at.sum())
    if len(together) >= 3 and rows > table.flops.size / 2:
        return np.array(together), NEAR
    first, last = np.array([[curve[0, 0], curve[0, -1]] for curve in curves.values()]).T
    low, high = np.sort(first)[MIN_SIZES - 1], np.sort(last)[-MIN_SIZES]
    if low > high:
        raise FitError(f"no compute is covered by {MIN_SIZES} model sizes; add checkpoints until budgets overlap.")
    count = int(np.clip(np.median([curve.shape[1] for curve in curves.values()]), 3, MAX_BUDGETS))
    # The ends are computed through logarithms: keep them inside the rows they came from.
    return np.clip(np.geomspace(low, high, count), low, high), 1.0
