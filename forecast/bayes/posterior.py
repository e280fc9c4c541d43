"""The posterior of a run table: predictions of loss and return, a summary, and its file."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from forecast.arguments import numbers
from forecast.bayes.diagnostics import Diagnostics
from forecast.bayes.frontier import Frontier
from forecast.bayes.pace import DOF, Pace
from forecast.bayes.prediction import Prediction
from forecast.bayes.provenance import Provenance
from forecast.errors import ForecastError
from forecast.files import digest, with_checksum, write_whole
from forecast.model.data import Spec
from forecast.model.encode import Encoding, Reference
from forecast.model.evaluate import law_on_points, return_on_draws
from forecast.model.laws import each, log_worth, noise_scale
from forecast.model.parameters import SCALE_KNOTS, SKILL_KNOTS, Parameters, parameters_of_draws
from forecast.model.priors import REPEATS
from forecast.runs.cost import CostLaw
from forecast.runs.reach import FURTHEST, check_reach
from forecast.runs.table import Runs
from forecast.shown import html_frame, names

if TYPE_CHECKING:
    import arviz as az

OPTIMUM_SD = 0.1
"""Standard deviation of the log of the best size on a budget around the law's, inside the data; times sqrt(1 + h) h
factors of ten beyond them. A smooth law misses the optimum of a real table by that much, however many rows it has:
without it, 90% intervals of N* covered 81% beyond the cut-off over nine published tables, and a third on one of 400
clean rows; with it 92%, and the CRPS of log N* is a little lower (benchmarks/LOG.md)."""
_HIGHEST = 700.0  # log of a loss or return, above which exp would overflow
_LARGEST_RISE = 100.0  # of a log loss
_LEAST_GAP = 1e-9  # of the demonstrator's loss: what rounding leaves of a law that has fallen to it


@dataclass(frozen=True, kw_only=True, eq=False)
class Posterior:
    """The posterior of a run table; S draws, G groups."""

    runs: Runs
    """The table."""
    spec: Spec
    """Which parts the model has."""
    encoding: Encoding
    """The rows as arrays, and the reference points."""
    draws: Mapping[str, np.ndarray]
    """Site of the model -> [chain, draw, ...]."""
    diagnostics: Diagnostics
    """Whether the draws are reliable."""
    cost: Mapping[str, CostLaw]
    """By group: FLOPs per sample as a function of params."""
    seed: int
    """Seed of the sampler."""
    expert_return: Mapping[str, float] = field(default_factory=dict)
    """By group, where known: mean return of the demonstrator, or the highest return of a table without losses."""
    expert_loss: Mapping[str, float] = field(default_factory=dict)
    """By group, where known: loss of the demonstrator's own policy (nats), below which no forecast lies."""
    start_loss: Mapping[str, float] = field(default_factory=dict)
    """By group, where known: loss of an untrained policy (nats)."""
    paces: Mapping[str, Pace] = field(default_factory=dict)
    """By group: how much faster or slower than the law the frontier may fall beyond the data; the prior if missing."""

    def __repr__(self) -> str:
        chains, length = next(iter(self.draws.values())).shape[:2]
        what = " and ".join(n for n, there in (("loss", self.has_losses), ("return", self.has_returns)) if there)
        return (
            f"Posterior of {self.runs.source}: {what} of {names(self.groups)} by the law {self.spec.law}, "
            f"{chains} chains of {length:,} draws.\n{self.diagnostics.sentence}"
        )

    def _repr_html_(self) -> str:
        """The summary."""
        return html_frame(repr(self), self.summary())

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups, in the order of their axis in the draws."""
        return self.encoding.groups

    @property
    def has_returns(self) -> bool:
        """Whether returns can be predicted."""
        return self.spec.returns

    @property
    def has_losses(self) -> bool:
        """Whether losses can be predicted; if not, the law is one of returns."""
        return self.spec.losses

    @property
    def set_aside(self) -> pd.Series:
        """Reason why a row was left out of the fit, by row number of the table; empty if none was."""
        return self.encoding.row_weights.set_aside

    @property
    def provenance(self) -> Provenance:
        """What its results are based on."""
        return Provenance(
            source=self.runs.source,
            sha256=self.runs.sha256,
            law=self.spec.law,
            seed=self.seed,
            verdict=self.diagnostics.verdict,
        )

    @cached_property
    def parameters(self) -> Parameters:
        """The laws and the noise of every draw; arrays [S, G, ...]."""
        return parameters_of_draws(self.spec, self.encoding.data, self.draws)

    @cached_property
    def _standard(self) -> dict[str, np.ndarray]:
        """Standard noise that all predictions share, so that equal calls give equal results: [S] each."""
        rng = np.random.default_rng([self.seed, 7])
        noise, returns = self.parameters.noise, self.parameters.return_noise
        size = np.shape(noise["dof"])
        standard = {
            "pace": np.clip(rng.standard_t(DOF, size), -12, 12),
            "loss": rng.standard_t(np.asarray(noise["dof"])),
        }
        if self.has_returns and self.has_losses:
            standard["return"] = rng.standard_t(np.asarray(returns["dof"]))
        standard["optimum"] = rng.standard_normal(size)
        standard["repeats"] = rng.standard_normal(size)
        return standard

    def repeats(self, group: str | None = None) -> np.ndarray:
        """Passes that all passes after the first are worth at most [S]; the prior where the table repeats no sample."""
        learned = self.parameters.law.repeats
        if learned is not None:
            return np.asarray(learned)[:, self.groups.index(self.group_name(group))]
        centre, sd = REPEATS.arguments
        return np.exp(centre + sd * self._standard["repeats"])

    def group_name(self, group: str | None) -> str:
        """The name of the group; None is allowed where there is one. Raises ForecastError for an unknown group."""
        return self.runs.group_name(group)

    def reference(self, group: str | None = None) -> Reference:
        """The point around which the law of a group is written."""
        return self.encoding.references[self.group_name(group)]

    def largest_flops(self, group: str | None = None) -> float:
        """The largest compute among the rows of a group."""
        return self.runs.largest_flops(group)

    def log_loss(
        self,
        params: ArrayLike,
        samples: ArrayLike,
        *,
        group: str | None = None,
        pace: bool = True,
        unique_samples: ArrayLike | None = None,
    ) -> Any:
        """Log loss by the law, without the noise of a run: [S, P].

        Without losses: minus the log of the shifted return, which `returns_at` converts to a return.
        params, samples: [P].
        pace: whether to apply the pace (`forecast.bayes.pace`) beyond the data.
        unique_samples: distinct samples that runs have [] or [P], which they see again where samples are more; None:
            every sample is fresh.
        """
        name = self.group_name(group)
        k, ref = self.groups.index(name), self.reference(name)
        params, samples = np.broadcast_arrays(np.atleast_1d(params).astype(float), np.asarray(samples, float))
        law = each(self.parameters.law, lambda x: x[:, k])
        v = np.log(samples / ref.samples)
        if unique_samples is not None:
            v = v + log_worth(np.log(samples / np.asarray(unique_samples, float)), self.repeats(name)[:, None])
        value = law_on_points(law, np.log(params / ref.params), v)
        if pace:
            ahead = np.log10(self.cost[name](params) * samples / self.largest_flops(name))
            value = self._changed(name, value, self._lag(name, ahead))
        return value

    def predict(
        self,
        params: ArrayLike,
        samples: ArrayLike,
        *,
        group: str | None = None,
        flops: ArrayLike | None = None,
        unique_samples: ArrayLike | None = None,
    ) -> Prediction:
        """Loss and return of a new run at each point, including the uncertainty of law, pace and noise.

        params, samples: [P].
        flops: compute of each run [P]; None: from the fitted cost of a sample.
        unique_samples: distinct samples that each run has [P]; None: every sample is fresh.

        Raises ForecastError for points that are not positive finite numbers or lie a million times outside the table,
        and for an unknown group.
        """
        name = self.group_name(group)
        points = {"params": numbers("params", params), "samples": numbers("samples", samples)}
        for what, values in {"flops": flops, "unique_samples": unique_samples}.items():
            if values is not None:
                points[what] = numbers(what, values)
        count = max(map(len, points.values()))
        if any(len(values) not in (1, count) for values in points.values()):
            counts = ", ".join(f"{len(values)} {column}" for column, values in points.items())
            raise ForecastError(f"there are {counts}; give as many of each, or one for all points.")
        points = {column: np.broadcast_to(values, count) for column, values in points.items()}
        for column, values in points.items():
            bad = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
            if bad.size:
                raise ForecastError(
                    f"{column} of point {bad[0] + 1} is {values[bad[0]]:g}; give positive finite numbers."
                )
        at_params, at_samples = points["params"], points["samples"]
        distinct = points.get("unique_samples")
        spent = points.get("flops", self.cost[name](at_params) * at_samples)
        check_reach(self.runs.group_table(name), self.runs.source, **{**points, "flops": spent})
        law = self.log_loss(at_params, at_samples, group=name, pace=False, unique_samples=distinct)
        law = self._changed(name, law, self._lag(name, np.log10(spent / self.largest_flops(name))))
        loss, returns = self._new_run(name, law, at_params)
        shown = np.exp(np.minimum(loss, _HIGHEST)) if self.has_losses else None
        return Prediction(params=at_params, samples=at_samples, flops=spent, loss=shown, returns=returns)

    def _new_run(self, name: str, law: np.ndarray, params: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Log loss of a new run, and its return; law: log loss by the law [S, P]."""
        k, noise = self.groups.index(name), self.parameters.noise
        rise = law - np.asarray(self.parameters.law.level)[:, k, None]
        with np.errstate(over="ignore"):
            scale = np.asarray(noise_scale(noise["noise"][:, k, None], noise["noise_growth"][:, None], rise))
        loss = self._changed(name, law, scale * self._standard["loss"][:, None])
        if not self.has_losses and name in self.expert_return:  # no run exceeds the highest return
            loss = np.maximum(loss, -np.log(self.expert_return[name] + self.reference(name).return_offset))
        return loss, self.returns_at(loss, params, group=name, new_run=True) if self.has_returns else None

    def _changed(self, name: str, log_loss: np.ndarray, change: np.ndarray) -> np.ndarray:
        """log_loss + change, as far as the demonstrator's own loss lets it fall: [S, P].

        Of a loss that lies `gap` above it, a fall by x leaves gap / (1 + x / gap), so that sizes stay apart.
        """
        if name not in self.expert_loss:
            return log_loss + change
        expert = self.expert_loss[name]
        gap = np.maximum(np.exp(log_loss) - expert, _LEAST_GAP * expert)
        moved = np.exp(log_loss) * np.expm1(np.minimum(change, _LARGEST_RISE))
        return np.log(expert + np.where(moved < 0, gap / (1 - np.minimum(moved, 0.0) / gap), gap + moved))

    def returns_at(self, log_loss: Any, params: ArrayLike, *, group: str | None = None, new_run: bool) -> np.ndarray:
        """Return of models with these log losses [S, P].

        log_loss: [S, P]; without losses minus the log of the shifted return, which determines the return.
        params: [P].
        new_run: whether to include the spread between runs.
        """
        name = self.group_name(group)
        k, ref = self.groups.index(name), self.reference(name)
        if not self.has_losses:
            return np.exp(np.minimum(-log_loss, _HIGHEST)) - ref.return_offset
        assert self.parameters.return_law is not None
        law = each(self.parameters.return_law, lambda x: x[:, k])
        skill = np.log(ref.loss) - log_loss
        value = return_on_draws(law, skill, np.broadcast_to(np.log(np.asarray(params) / ref.params), skill.shape))
        if new_run:
            spread = np.asarray(self.parameters.return_noise["spread"])[:, k, None]
            value = value + spread * self._standard["return"][:, None]
        return np.exp(np.minimum(value, _HIGHEST)) - ref.return_offset

    def _lag(self, name: str, ahead: np.ndarray) -> np.ndarray:
        """Effect of the pace on log loss [S, P] at `ahead` [P] factors of ten of compute beyond the table.

        What falls is the frontier of fresh samples, also for runs that see samples again: how these go on beyond a
        table is known no better (benchmarks/LOG.md).
        """
        if not np.any(ahead > 0):
            return np.zeros((len(self._standard["pace"]), *ahead.shape))
        ahead = np.clip(ahead, 0.0, FURTHEST)
        return self._frontiers[name].change(ahead) * (self._paced(name, ahead) - 1)

    def _paced(self, name: str, ahead: Any) -> np.ndarray:
        """Factor by which the fall `ahead` [P] factors of ten beyond the table differs from the law's, [S, P]."""
        pace = self.pace(name)
        return np.exp(pace.centre + pace.scale * np.sqrt(np.atleast_1d(ahead)) * self._standard["pace"][:, None])

    def pace(self, group: str | None = None) -> Pace:
        """How much faster or slower than the law the frontier of a group may fall beyond the data."""
        return self.paces.get(self.group_name(group), Pace())

    def optimum_misfit(self, flops: float, group: str | None = None) -> np.ndarray:
        """How far the log of the best size on a budget may lie from the law's own (`OPTIMUM_SD`): [S]."""
        ahead = max(float(np.log10(flops / self.largest_flops(group))), 0.0)
        return OPTIMUM_SD * np.sqrt(1 + ahead) * self._standard["optimum"]

    def law_sd(self, group: str | None = None) -> float:
        """Standard deviation of the log of the law's fall of log loss over the next factor of ten of compute."""
        fall = -self._frontiers[self.group_name(group)].change(np.ones(1))[:, 0]
        return float(np.std(np.log(np.maximum(fall, 1e-9))))

    @cached_property
    def _frontiers(self) -> dict[str, Frontier]:
        """By group: the law's least log loss beyond the table."""
        return {name: Frontier(partial(self._least, name)) for name in self.groups}

    def _least(self, name: str, ahead: float) -> np.ndarray:
        """The law's least log loss `ahead` factors of ten beyond the table [S]."""
        top = self.largest_flops(name)
        sizes = self.sizes(name, top * 10**FURTHEST)
        samples = top * 10**ahead / self.cost[name](sizes)
        return self.log_loss(sizes, samples, group=name, pace=False).min(axis=1)

    def sizes(self, group: str | None, flops: float) -> np.ndarray:
        """Model sizes among which an optimum is sought: the table's range, and beyond it for larger budgets."""
        return self.runs.sizes(group, flops)

    def summary(self) -> pd.DataFrame:
        """Quantiles of the parameters that can be interpreted: parameter, group, median, q05, q95, unit."""
        law, noise = self.parameters.law, self.parameters.noise
        rows = []
        for k, name in enumerate(self.groups):
            middle = SCALE_KNOTS.below if law.params_exponents.shape[-1] > 1 else 0
            measured = "loss" if self.has_losses else "return"
            removable = "of the removable loss" if self.has_losses else "of the gain still possible"
            values = {
                **self.bounds(k),
                "share of model size": (law.share[:, k], removable),
                "alpha": (law.params_exponents[:, k, middle], "exponent of params at the reference"),
                "beta": (law.samples_exponents[:, k, middle], "exponent of samples at the reference"),
                "noise": (noise["noise"][:, k], f"relative standard deviation of a run's {measured}"),
            }
            if self.spec.law in ("interaction", "drifting"):
                values["interaction"] = law.interaction[:, k], "exponent g"
            if self.spec.repeats:
                values["repeats"] = self.repeats(name), "passes that all passes after the first are worth at most"
            values["pace"] = self._paced(name, 1.0), "times the law's next step of ten times the compute"
            if self.parameters.return_law is not None:
                middle = SKILL_KNOTS.below
                elasticity = self.parameters.return_law.elasticity[:, k, middle]
                values["elasticity of return"] = elasticity, "% of return per % of loss"
                values["spread of returns"] = (
                    self.parameters.return_noise["spread"][:, k],
                    "standard deviation of log return",
                )
            for what, (draws, unit) in values.items():
                q = np.quantile(np.asarray(draws), (0.5, 0.05, 0.95))
                rows.append((what, name, *map(float, q), unit))
        return pd.DataFrame(rows, columns=["parameter", "group", "median", "q05", "q95", "unit"])

    def bounds(self, k: int) -> dict[str, tuple[Any, str]]:
        """The law of group k at its reference, and its bounds: name -> draws [S], unit."""
        law = self.parameters.law
        if self.has_losses:
            return {
                "loss at the reference": (np.exp(law.level[:, k]), "nats"),
                "irreducible loss": (np.exp(law.level[:, k]) * law.floor[:, k], "nats"),
                "share of floor": (law.floor[:, k], "of the reference loss"),
            }
        ref = self.reference(self.groups[k])
        offset = ref.return_offset
        log_loss = self.log_loss([ref.params], [ref.samples], group=self.groups[k], pace=False)[:, 0]
        bounds = {
            "return at the reference": (np.exp(-log_loss) - offset, ""),
            "highest return": (np.exp(-law.level[:, k] - np.log(law.floor[:, k])) - offset, ""),
        }
        if law.start is not None:
            bounds["return of random play"] = (np.exp(-law.start[:, k]) - offset, "")
        return bounds

    def thinned(self, count: int) -> "Posterior":
        """The same posterior with about `count` of its draws, evenly spaced, for searches and figures."""
        chains, length = next(iter(self.draws.values())).shape[:2]
        step = max(1, chains * length // count)
        diagnostics = replace(self.diagnostics, diverging=self.diagnostics.diverging[:, ::step])
        return replace(self, draws={k: v[:, ::step] for k, v in self.draws.items()}, diagnostics=diagnostics)

    def inference_data(self) -> "az.InferenceData":
        """As arviz InferenceData, for `az.summary`, `az.plot_trace`, `az.loo`, `az.plot_ppc` and so on.

        - posterior: what the model samples, most of it with an axis `group`
        - sample_stats: diverging
        - observed_data: log_loss [row], log of the loss (nats), by line of the table; log_return [played], log of the
          shifted return of the rows that have one; without losses log_return [row] alone
        - posterior_predictive: the same as the model would draw them, each given the checkpoint before it in its run
        - log_likelihood: of log_loss, or of log_return without losses, to the power of the row's weight in the view of
          the chain, as it entered the fit
        - constant_data: params, samples, flops, name (the group of the row), weight [view, row]

        `az.loo` leaves out single rows over both views, and warns of rows that only one of them counts;
        `forecast.compare` leaves out whole trainings, view by view.
        """
        from forecast.bayes.inference import inference_data

        shown = self.runs, self.spec, self.encoding, self.draws
        return inference_data(*shown, self.diagnostics.diverging, self.seed)

    def save(self, path: str | Path) -> None:
        """Write the draws, the table and all that `load_posterior` needs, as netCDF (arviz InferenceData).

        Raises OSError where it cannot be written; a file that was there stays.
        """
        import xarray as xr

        content = {
            "version": version("game-scaling"),
            "spec": asdict(self.spec),
            "seed": self.seed,
            "source": self.runs.source,
            "notes": list(self.runs.notes),
            "sha256": self.runs.sha256,
            "expert_return": dict(self.expert_return),
            "expert_loss": dict(self.expert_loss),
            "start_loss": dict(self.start_loss),
            "paces": {group: pace._asdict() for group, pace in self.paces.items()},
            "table": self.runs.table.to_csv(),
            "checks": self.diagnostics.checks.to_csv(index=False),
            "influential": list(self.diagnostics.influential),
        }
        content = json.loads(json.dumps(content))  # numbers as they will be read
        seal = digest(content, {**self.draws, "diverging": self.diagnostics.diverging})
        header = json.dumps({**content, "seal": seal})
        from forecast.bayes.quiet import az

        stored = az.from_dict(posterior=dict(self.draws), sample_stats={"diverging": self.diagnostics.diverging})
        groups = {f"/{name}": stored[name] for name in stored.groups()}
        # Made in memory: on a disk that fills up, HDF5 can end the process.
        tree = xr.DataTree.from_dict({"/": xr.Dataset(attrs={"forecast": header}), **groups})
        compressed = {name: {k: {"zlib": True} for k in group.data_vars} for name, group in groups.items()}
        write_whole(path, with_checksum(bytes(tree.to_netcdf(engine="h5netcdf", encoding=compressed))))
