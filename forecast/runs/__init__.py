"""The run table: reading and checking it, its columns and notes, and what a sample costs to train on."""

from forecast.runs.cost import CostLaw, fit_cost
from forecast.runs.read import read_columns, read_runs
from forecast.runs.table import Runs, return_offset

__all__ = ["CostLaw", "Runs", "fit_cost", "read_columns", "read_runs", "return_offset"]
