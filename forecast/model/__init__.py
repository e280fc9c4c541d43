"""The model of a run table: laws of loss and return, priors, likelihood, and the rows of a table as its input."""

from forecast.model.laws import LAWS

__all__ = ["LAWS"]
