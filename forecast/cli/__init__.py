"""The `forecast` command: what it takes, and what it prints."""

from forecast.cli.interrupts import ends_on_interrupt

__all__ = ["main"]


def main() -> None:
    """Run the command; Ctrl-C ends it at any time, also while its modules load."""
    with ends_on_interrupt("forecast: interrupted; what was not finished is not written."):
        from forecast.cli.commands import main as run

        run()
