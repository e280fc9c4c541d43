"""Forecasts held against what happened: back-tests at past cut-offs, and the score of a frozen forecast."""

from forecast.verify.outcome import Score, score

__all__ = ["Score", "score"]
