"""Recorded games on disk, in one format for every game that loads fast: written once, read from any frame."""
