"""The `forecast` command: what it takes, and what it prints."""

from forecast.cli.commands import main

__all__ = ["main"]
