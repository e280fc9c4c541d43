"""The `training` command: what it takes, and what it prints."""

from training.interrupts import EXIT_CODE, ends_while_loading, leave

__all__ = ["main"]


def main() -> None:
    """Run the command; Ctrl-C while modules load ends it at once, later as each command does it."""
    with ends_while_loading("training: interrupted; start the same command again."):
        from training.cli.commands import main as run

        try:
            run()
        except SystemExit as done:
            if done.code == EXIT_CODE:
                leave(EXIT_CODE)
            raise
