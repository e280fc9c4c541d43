"""A run that is under way: where it will end, and whether to go on."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from forecast.arguments import of_kind
from forecast.bayes.posterior import Posterior
from forecast.bayes.provenance import Provenance
from forecast.bayes.residuals import end_of_run
from forecast.decide.checks import check_watch
from forecast.decide.recommend import quantiles, recommend
from forecast.numbers import chance, count, digits, scientific
from forecast.runs.reach import beyond
from forecast.shown import html_frame

_STEPS = 8  # ends that `path` tells


@dataclass(frozen=True, kw_only=True, eq=False)
class Watched:
    """A run under way, its end, and what its remaining compute would give otherwise."""

    group: str
    """Name of the group."""
    run: str
    """Name of the training."""
    params: float
    """Its size (parameters)."""
    samples_now: float
    """Samples at its last checkpoint."""
    samples: float
    """Samples at its end."""
    flops_left: float
    """Compute from the last checkpoint to the end (FLOPs)."""
    loss_now: float
    """Loss at the last checkpoint (nats)."""
    loss: dict[str, float]
    """Quantiles of the loss at its end by name: median, q05, q25, q75, q95."""
    returns: dict[str, float] | None
    """The same of the return, None where the table has none."""
    loss_unwatched: dict[str, float]
    """Quantiles of the loss of a new run of this size and samples."""
    instead: dict[str, float]
    """Quantiles of the loss of a new run of the size that is recommended for the remaining compute."""
    params_instead: float
    """That size (parameters)."""
    probability: float
    """That the run ends with a lower loss than such a new run, 0 to 1."""
    goal: float | None
    """Loss that was asked about (nats)."""
    probability_of_goal: float | None
    """That the run ends with at most that loss."""
    ahead: float
    """How far its end lies beyond the largest compute of the table, in factors of ten."""
    path: pd.DataFrame
    """Quantiles of its loss from the last checkpoint to the end: a row for each of several `samples`."""
    provenance: Provenance
    """What the answer is based on."""

    @property
    def advice(self) -> str:
        """go on, or stop."""
        return "go on" if self.probability >= 0.5 else "stop"

    @property
    def sentence(self) -> str:
        """The answer in words."""
        returned = ""
        if self.returns is not None:
            returned = f" and a return of {_with_interval(self.returns)}"
        goal = ""
        if self.goal is not None and self.probability_of_goal is not None:
            goal = f" It reaches a loss of {digits(self.goal)} with probability {chance(self.probability_of_goal)}."
        return (
            f"{self.run} ({count(self.params)} parameters) has a loss of {digits(self.loss_now)} after "
            f"{count(self.samples_now)} samples. After {count(self.samples)} samples ({beyond(self.ahead)}) it is "
            f"expected to have a loss of {_with_interval(self.loss)}{returned}.{goal} {self.advice.capitalize()}: with "
            f"the {scientific(self.flops_left)} FLOPs that are left, a new run of {count(self.params_instead)} "
            f"parameters would reach {_with_interval(self.instead)}, and this run ends below it with probability "
            f"{chance(self.probability)}."
        )

    def table(self) -> pd.DataFrame:
        """Medians and intervals of the three losses."""
        rows = {
            "this run at its end": self.loss,
            "a new run of its size and samples": self.loss_unwatched,
            "a new run with what is left": self.instead,
        }
        cells = [
            (what, *(digits(q[name]) for name in ("median", "q25", "q75", "q05", "q95"))) for what, q in rows.items()
        ]
        return pd.DataFrame(cells, columns=["loss of", "median", "25%", "75%", "5%", "95%"])

    def __repr__(self) -> str:
        return self.sentence

    def _repr_html_(self) -> str:
        return html_frame(self.sentence, self.table())

    def to_dict(self) -> dict[str, Any]:
        """As plain types."""
        fields = (
            *("group", "run", "params", "samples_now", "samples", "flops_left", "loss_now", "loss", "returns"),
            *("loss_unwatched", "instead", "params_instead", "probability", "goal", "probability_of_goal", "advice"),
        )
        return {
            **{name: getattr(self, name) for name in fields},
            "path": self.path.to_dict(orient="list"),
            "beyond_table": 10**self.ahead,
            "diagnostics": self.provenance.diagnostics,
            "sentence": self.sentence,
        }


def watch(
    posterior: Posterior,
    *,
    run: str,
    samples: float | None = None,
    flops: float | None = None,
    goal: float | None = None,
    group: str | None = None,
) -> Watched:
    """The end of a run that is under way, and whether its remaining compute is well spent.

    The run's checkpoints so far are rows of the posterior's table. Its end follows from the law, from what the law
    leaves unexplained in these and all other rows (`forecast.bayes.residuals`), and from the noise of a measurement. To
    go on is advised where the run is likelier than not to end with a lower loss than a new run of the recommended size
    that is given the remaining compute.

    run: name of the training.
    samples, flops: of the whole run at its end; one of the two.
    goal: a loss (nats), whose probability is told too.

    Raises ForecastError for a table without losses or names of runs, an unknown run, an end that is not after its last
    checkpoint, and one out of reach.
    """
    of_kind("posterior", posterior, Posterior, "what forecast.fit returned")
    asked = check_watch(posterior.runs, run=run, samples=samples, flops=flops, goal=goal, group=group)
    on_the_way = np.geomspace(asked.samples_now, asked.samples, _STEPS + 1)[1:]
    drawn_path = end_of_run(posterior, run, on_the_way, group=asked.group)
    log_loss = drawn_path[:, -1]
    best = recommend(posterior, flops=asked.flops_left, group=asked.group, objective="loss")
    fresh = posterior.predict(best.params, best.samples, group=asked.group).loss
    unwatched = posterior.predict(asked.params, asked.samples, group=asked.group).loss
    assert fresh is not None
    assert unwatched is not None
    returns = None
    if posterior.has_returns:
        drawn = posterior.returns_at(log_loss[:, None], [asked.params], group=asked.group, new_run=True)
        returns = quantiles(drawn[:, 0])
    ahead = float(np.log10(asked.flops / posterior.largest_flops(asked.group)))
    return Watched(
        group=asked.group,
        run=run,
        params=asked.params,
        samples_now=asked.samples_now,
        samples=asked.samples,
        flops_left=asked.flops_left,
        loss_now=asked.loss_now,
        loss=quantiles(np.exp(log_loss)),
        returns=returns,
        loss_unwatched=quantiles(unwatched[:, 0]),
        instead=quantiles(fresh[:, 0]),
        params_instead=best.params,
        probability=float(np.mean(np.exp(log_loss) < fresh[:, 0])),
        goal=goal,
        probability_of_goal=None if goal is None else float(np.mean(np.exp(log_loss) <= goal)),
        ahead=ahead,
        path=pd.DataFrame(
            [{"samples": d, **quantiles(np.exp(x))} for d, x in zip(on_the_way, drawn_path.T, strict=True)]
        ),
        provenance=posterior.provenance.at(ahead),
    )


def _with_interval(q: dict[str, float]) -> str:
    return f"{digits(q['median'])} ({digits(q['q05'])} to {digits(q['q95'])})"
