"""The inverse question: a target -> the least budget that reaches it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from forecast.arguments import of_kind
from forecast.bayes.posterior import Posterior
from forecast.bayes.provenance import Provenance
from forecast.decide.checks import Limits, check_required, share_of_expert
from forecast.decide.weigh import weigh
from forecast.errors import ForecastError
from forecast.numbers import count, plain, scientific
from forecast.runs.reach import FURTHEST, beyond, outside
from forecast.runs.table import expert_returns
from forecast.shown import html_frame

_FEWER_DRAWS = 800  # enough to choose sizes; the probability of a hit, a tail, is of all draws
_A_DECADE = 4  # budgets weighed in a factor of ten
_BELOW = 3.0  # factors of ten below the table's largest compute from which a target is sought


@dataclass(frozen=True, kw_only=True, eq=False)
class Required:
    """The least budget whose recommended run reaches a target with a given probability."""

    group: str
    """Name of the group."""
    target: str
    """loss or return."""
    value: float
    """Loss at most (nats), or return at least."""
    probability: float
    """Probability of reaching it, 0 to 1."""
    flops: float | None
    """The budget (FLOPs), None where no budget of the search reaches the target."""
    params: float | None
    """Recommended model size (parameters), None likewise."""
    samples: float | None
    """Samples that this size is trained on, None likewise."""
    curve: pd.DataFrame
    """A row a budget of the search: `flops` (FLOPs), `params`, `samples`, `probability` of reaching the target."""
    ahead: float
    """How far the budget, or the end of the search, lies beyond the table's largest compute, in factors of ten."""
    provenance: Provenance
    """What the answer is based on."""

    def __repr__(self) -> str:
        return self.sentence

    def _repr_html_(self) -> str:
        """The probability of reaching the target at every tenfold of the budget."""
        return html_frame(self.sentence, self.curve.iloc[::_A_DECADE])

    @property
    def sentence(self) -> str:
        """The answer in one sentence."""
        goal = f"{self.target} {plain(self.value)} with probability {self.probability:g}"
        if self.flops is None or self.params is None or self.samples is None:
            top = self.curve.iloc[int(self.curve["probability"].to_numpy().argmax())]
            furthest = f"{scientific(self.curve['flops'].iloc[-1])} FLOPs, {beyond(self.ahead)}"
            return (
                f"No budget up to {furthest}, reaches {goal}; the probability is highest, {top['probability']:.2f}, "
                f"at {scientific(top['flops'])} FLOPs."
            )
        return (
            f"{goal[0].upper()}{goal[1:]} needs {scientific(self.flops)} FLOPs, {beyond(self.ahead)}: "
            f"{count(self.params)} parameters on {count(self.samples)} samples."
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain types."""
        fields = ("group", "target", "value", "probability", "flops", "params", "samples")
        return {
            **{f: getattr(self, f) for f in fields},
            "beyond_table": 10**self.ahead,
            "curve": self.curve.to_dict(orient="list"),
            "diagnostics": self.provenance.diagnostics,
        }


def required(
    posterior: Posterior,
    *,
    loss: float | None = None,
    returns: float | None = None,
    expert_share: float | None = None,
    probability: float = 0.5,
    group: str | None = None,
) -> Required:
    """The least budget at which the recommended run has a loss at most, or a return at least, the target.

    expert_share: part of the posterior's expert return, in place of `returns`: 0.5 asks for half of what the
    demonstrator reaches.

    Sought from a thousandth of the table's largest compute to a million times it. Raises ForecastError unless exactly
    one target is given, of a kind that the table has, and the probability lies between 0 and 1.
    """
    of_kind("posterior", posterior, Posterior, "what forecast.fit returned")
    if expert_share is not None:
        experts = posterior.expert_return or expert_returns(posterior.runs.table)
        returns = share_of_expert(posterior.runs, experts, expert_share, returns=returns, group=group)
    check_required(posterior.runs, loss=loss, returns=returns, probability=probability, group=group)
    if returns is not None and not posterior.has_returns:  # the rows that have one were set aside
        raise ForecastError(f"no row of {posterior.runs.source} that was fitted has a return; ask for a loss.")
    target, value = ("loss", loss) if loss is not None else ("return", returns)
    assert value is not None
    name, few = posterior.group_name(group), posterior.thinned(_FEWER_DRAWS)
    rows = []
    for step in np.arange(-_BELOW, FURTHEST + 0.01, 1 / _A_DECADE):
        flops = posterior.largest_flops(name) * 10**step
        weighed = weigh(few, name, flops, target, Limits())
        best = int(np.argmax(weighed.score))
        predicted = posterior.predict(weighed.params[best], weighed.samples[best], group=name)
        hit = np.asarray(predicted.loss) <= value if loss is not None else np.asarray(predicted.returns) >= value
        rows.append((flops, float(weighed.params[best]), float(weighed.samples[best]), float(np.mean(hit))))
    curve = pd.DataFrame(rows, columns=["flops", "params", "samples", "probability"])
    crossing = _first_crossing(curve, probability)
    ahead = float(np.log10((crossing["flops"] or curve["flops"].iloc[-1]) / posterior.largest_flops(name)))
    made = posterior.provenance
    if crossing["params"] is not None:
        made = made.at(ahead, outside(crossing["params"], posterior.runs.group_table(name)))
    return Required(
        group=name,
        target=target,
        value=value,
        probability=probability,
        curve=curve,
        ahead=ahead,
        provenance=made,
        **crossing,
    )


def _first_crossing(curve: pd.DataFrame, probability: float) -> dict[str, float | None]:
    """Budget, size and samples where the probability first reaches the wanted one, interpolated in logs."""
    p = curve["probability"].to_numpy()
    reached = np.flatnonzero(p >= probability)
    if not reached.size:
        return {"flops": None, "params": None, "samples": None}
    i = int(reached[0])
    part = 1.0 if i == 0 else (probability - p[i - 1]) / (p[i] - p[i - 1])
    ends = np.log(curve[["flops", "params", "samples"]].to_numpy()[[max(i - 1, 0), i]])
    at = np.exp(ends[0] + part * (ends[1] - ends[0]))
    return dict(zip(("flops", "params", "samples"), map(float, at), strict=True))
