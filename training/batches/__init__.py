"""Batches of demonstrations that resume exactly, and one pass over held-out games."""
