"""Policies as families over a width: their networks, exact cost, what computes them, and checkpoints."""
