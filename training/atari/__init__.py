"""Atari: the environment, its frames and recorded games."""
