"""Further questions that a report answers: what to run next, the end of a run under way, another recipe."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import forecast
from forecast.cli.options import FitOptions
from forecast.errors import ForecastError


@dataclass(frozen=True, kw_only=True)
class Further:
    """What was asked beside the recommendation."""

    options: FitOptions
    spend: float | None
    """FLOPs for the next runs."""
    run: str | None
    """Name of a run under way."""
    samples: float | None
    """Its samples at its end."""
    against: str | None
    """Table or posterior of another recipe."""
    quiet: bool
    """Whether to fit it without a word."""

    def check(self, table: forecast.Runs, question: dict[str, Any]) -> None:
        """Raise ForecastError for what cannot be answered, before anything is fitted.

        question: what is asked of `forecast.recommend` for a group.
        """
        from forecast.decide.checks import check_next, check_recipes, check_watch

        if (self.run is None) != (self.samples is None):
            raise ForecastError("--watch and --watch-samples belong together; give the run and its samples at the end.")
        group = question["group"]
        if self.spend is not None:
            check_next(table, target_flops=question["flops"], spend=self.spend, group=group)
        if self.run is not None:
            check_watch(table, run=self.run, samples=self.samples)
        if self._other is not None:
            other = self._table_of_other
            check_recipes(table, other, groups=(group, self._partner(other, group)))

    def answers(self, posterior: forecast.Posterior, recommendation: forecast.Recommendation) -> list[Any]:
        """For the group of a recommendation: what `watch`, `compare_recipes` and `next_runs` return, where asked."""
        group, found = recommendation.group, []
        if self.run is not None and self.samples is not None and self._runs_in(posterior.runs, group):
            found.append(forecast.watch(posterior, run=self.run, samples=self.samples, group=group))
        if self._other is not None:
            partner = self._partner(self._fitted.runs, group)
            found.append(forecast.compare_recipes(posterior, self._fitted, groups=(group, partner)))
        if self.spend is not None:
            aim = {"target_flops": recommendation.flops, "objective": recommendation.objective}
            found.append(forecast.next_runs(posterior, **aim, spend=self.spend, group=group))
        return found

    def _runs_in(self, table: forecast.Runs, group: str) -> bool:
        return bool((table.group_table(group)["run"] == self.run).any())

    @cached_property
    def _other(self) -> "forecast.Runs | forecast.Posterior | None":
        return None if self.against is None else self.options.open(self.against)

    @property
    def _table_of_other(self) -> forecast.Runs:
        assert self._other is not None
        return self._other if isinstance(self._other, forecast.Runs) else self._other.runs

    @cached_property
    def _fitted(self) -> forecast.Posterior:
        """The other recipe's posterior."""
        assert self._other is not None
        return (
            self.options.fit(self._other, quiet=self.quiet) if isinstance(self._other, forecast.Runs) else self._other
        )

    @staticmethod
    def _partner(other: forecast.Runs, group: str) -> str:
        """The group of the other table that is compared: of the same name, or the only one."""
        if group in other.groups:
            return group
        if len(other.groups) > 1:
            raise ForecastError(
                f"{other.source} has the groups {', '.join(other.groups)}, none of which is called {group}; compare "
                "them with `forecast compare`."
            )
        return next(iter(other.groups))
