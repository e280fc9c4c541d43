"""Decisions from a posterior: the configuration for a budget, the budget for a target, the runs to make next."""

from forecast.decide.next_runs import Plan, next_runs
from forecast.decide.recipes import Recipes, compare_recipes
from forecast.decide.recommend import Recommendation, recommend
from forecast.decide.required import Required, required

__all__ = [
    "Plan",
    "Recipes",
    "Recommendation",
    "Required",
    "compare_recipes",
    "next_runs",
    "recommend",
    "required",
]
