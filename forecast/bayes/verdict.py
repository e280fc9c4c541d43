"""Whether to believe a forecast: red where it is wrong, amber where it rests on little, with what mends it."""

from dataclasses import dataclass, replace
from typing import NamedTuple

from forecast.numbers import plain
from forecast.runs.reach import CHECKED, CHECKED_SIZES, beyond


class Concern(NamedTuple):
    """What is the matter, and what mends it; both continue a sentence."""

    reason: str
    advice: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether to believe a forecast."""

    wrong: tuple[Concern, ...] = ()
    """Why it is not to be trusted."""
    weak: tuple[Concern, ...] = ()
    """Why it is to be taken with care."""

    @property
    def level(self) -> str:
        """red, amber or green."""
        return "red" if self.wrong else "amber" if self.weak else "green"

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        if self.wrong:
            return _told("DO NOT TRUST this forecast yet", (*self.wrong, *self.weak))
        if self.weak:
            return _told("Take this forecast with care", self.weak)
        return "The sampler converged and the fitted rows agree with the model."

    def at(self, ahead: float, larger: float = 1.0) -> "Verdict":
        """The verdict on a forecast beyond the table.

        ahead: factors of ten of compute that it lies beyond. larger: its size over the table's largest.
        """
        far = []
        if ahead > CHECKED + 0.01:
            far.append(
                Concern(
                    f"it reaches {beyond(ahead)}, and forecasts have been checked to {10**CHECKED:.0f} times",
                    "train a run between the table and that budget first",
                )
            )
        if larger > CHECKED_SIZES * 1.01:
            far.append(
                Concern(
                    f"its model has {plain(larger)} times the parameters of the largest in the table, and forecasts "
                    f"have been checked to {CHECKED_SIZES:.0f} times",
                    "train larger models at the budgets of the table first",
                )
            )
        return replace(self, weak=(*self.weak, *far)) if far else self


def _told(verdict: str, concerns: tuple[Concern, ...]) -> str:
    advice = "; ".join(dict.fromkeys(concern.advice for concern in concerns))
    return f"{verdict}: {'; '.join(concern.reason for concern in concerns)}. {advice[0].upper()}{advice[1:]}."
