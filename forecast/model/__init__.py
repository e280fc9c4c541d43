"""The model of a run table: laws of loss and return, priors, likelihood, and the rows of a table as its input."""

LAWS = ("additive", "interaction", "saturating", "drifting")
"""Names of the laws; `forecast.model.laws` says what they are."""

__all__ = ["LAWS"]
