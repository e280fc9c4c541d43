"""How many runs share a card: more of them as long as all together get faster, by rates measured while they train."""

import statistics
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

WORTH = 1.1
"""By what more runs must raise the rate of all, or they only make each other slower."""
LOOKS = 2
"""Measurements of one number of runs, whose mean decides."""
READINGS = 5
"""Rates of each run, the monitor writes one a second, whose median is a measurement."""
MISSES = 3
"""Times in a row that a run may end before the rate is measured: such runs are too short to find anything out."""


class Sharing:
    """The decision alone: which number of runs to try, and which to keep.

    One run is tried first, then half as many again or one more, up to `most`. The first number that does not raise the
    rate of all by `WORTH` ends the search, and the one before it is kept.
    """

    def __init__(self, most: int) -> None:
        """Nothing is known yet. most: runs that may share the card, by what else limits them."""
        self._most = most
        self.allowed = 1
        """Runs that may train now."""
        self.settled = most == 1
        """Whether that is final."""
        self.rates: dict[int, float] = {}
        """Rate of all (frames/s) by the number of runs, as far as it has been decided on."""
        self._looks: list[float] = []
        self._best = 0

    def measured(self, runs: int, total: float) -> None:
        """Take in the rate of all runs (frames/s) while so many trained."""
        if self.settled or runs != self.allowed:
            return
        self._looks.append(total)
        if len(self._looks) < LOOKS:
            return
        rate, self._looks = statistics.fmean(self._looks), []
        self.rates[runs] = rate
        if self._best and rate <= WORTH * self.rates[self._best]:
            self.allowed, self.settled = self._best, True
            return
        self._best = runs
        self.allowed = min(self._most, runs + max(1, runs // 2))
        self.settled = self.allowed == runs

    def give_up(self) -> None:
        """Nothing can be measured: let memory and cores alone decide."""
        self.allowed, self.settled = self._most, True


def runs_of(count: int) -> str:
    """So many runs, in words."""
    return "One run" if count == 1 else f"{count} runs side by side"


@dataclass(kw_only=True)
class Card:
    """Runs that train on one card, and what their progress says about sharing it."""

    sharing: Sharing
    """How many there may be."""
    say: Callable[[str], None] = field(default=lambda sentence: None)
    """Takes a sentence for the user."""
    name: str = "GPU"
    """For people."""
    _rates: dict[Hashable, list[float]] = field(default_factory=dict, init=False)
    """Frames a second of each run, since the last one began or ended."""
    _updates: dict[Hashable, int] = field(default_factory=dict, init=False)
    """Where each was when it was last read."""
    _before: dict[Hashable, float] = field(default_factory=dict, init=False)
    """Median rate of each run when fewer trained."""
    _total: tuple[int, float] = field(default=(0, 0.0), init=False)
    """Number and rate of all of the runs in `_before`."""
    _misses: int = field(default=0, init=False)

    @property
    def full(self) -> bool:
        """Whether no other run may begin."""
        return len(self._rates) >= self.sharing.allowed

    def begins(self, run: Hashable) -> None:
        """A run begins, which changes the rates of the others."""
        self._forget()
        self._rates[run] = []

    def ends(self, run: Hashable) -> None:
        """A run has ended."""
        sharing = self.sharing
        if not sharing.settled and len(self._rates) == sharing.allowed:
            self._misses += 1
            if self._misses >= MISSES:
                sharing.give_up()
                self.say(f"Runs are too short to measure how many share a {self.name} best; memory and cores decide.")
        del self._rates[run]
        self._updates.pop(run, None)
        self._forget()

    def look(self, progress: Mapping[Hashable, Mapping[str, Any]]) -> None:
        """Read where the runs are, as the monitor writes it; `frames_per_second` of those that train count."""
        if self.sharing.settled or len(self._rates) != self.sharing.allowed:
            return
        if any(progress[run].get("doing") != "training" for run in self._rates):
            return
        for run, rates in self._rates.items():
            update = progress[run]["update"]
            if self._updates.get(run) not in (None, update):
                rates.append(progress[run]["frames_per_second"])
            self._updates[run] = update
        if all(len(rates) >= READINGS for rates in self._rates.values()):
            self._measure()

    def _measure(self) -> None:
        now = {run: statistics.median(rates) for run, rates in self._rates.items()}
        count, sharing = len(now), self.sharing
        self._forget()
        self._misses = 0
        sharing.measured(count, self._like_for_like(now))
        if sharing.allowed != count or sharing.settled:  # decided
            if sharing.allowed > count:
                self._before, self._total = now, (count, sharing.rates[count])
            if sharing.settled:
                rates = ", ".join(f"{runs}: {rate:,.0f}" for runs, rate in sharing.rates.items())
                self.say(f"{runs_of(sharing.allowed)} on a {self.name} from now on; frames/s by their number: {rates}.")

    def _like_for_like(self, now: Mapping[Hashable, float]) -> float:
        """The rate of all runs, had all been like those of which it was first measured.

        Runs of different sizes have different rates. So those that trained before and train still say how much slower
        each has become; where there are none, the rates are added up.
        """
        common = [run for run in now if run in self._before]
        count, total = self._total
        if not common:
            return sum(now.values())
        slower = statistics.fmean(now[run] / self._before[run] for run in common)
        return total / count * len(now) * slower

    def _forget(self) -> None:
        """Rates that were read belong to other circumstances."""
        for rates in self._rates.values():
            rates.clear()
        self._updates.clear()
