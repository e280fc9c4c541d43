"""The `training` command: what it takes, and what it prints."""

from training.cli.commands import main

__all__ = ["main"]
