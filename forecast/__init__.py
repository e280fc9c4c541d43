"""Forecast loss, return and the compute-optimal configuration of a training run, with uncertainty."""
