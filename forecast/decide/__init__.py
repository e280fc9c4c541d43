"""Decisions from a posterior: the configuration for a budget, the budget for a target, the runs to make next."""

from forecast.decide.next_runs import Plan, next_runs
from forecast.decide.recommend import Recommendation, recommend
from forecast.decide.required import Required, required

__all__ = ["Plan", "Recommendation", "Required", "next_runs", "recommend", "required"]
