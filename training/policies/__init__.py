"""Policies as families over a width: encoders, cores over time, the critic, exact cost, and checkpoints."""
