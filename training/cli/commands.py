"""The `training` command."""

import shlex
import sys
import traceback

import typer

from training.cli import demonstrations, design, runs, sweeps
from training.cli.terminal import say
from training.errors import is_bug
from training.interrupts import EXIT_CODE, InterruptedRunError

app = typer.Typer(
    name="training",
    help="Make the training runs that forecasts learn from.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

# Every command imports what it needs when it runs: torch takes seconds, and --help should not.

app.command(epilog="Example: training collect games --steps 200000")(demonstrations.collect)
app.command(epilog="Example: training shard games shards")(demonstrations.shard)
app.command(epilog="Example: training configure --params 1e6 --flops 1e15 --data shards --out run.toml")(
    design.configure
)
app.command(epilog="Example: training flops run.toml")(design.flops)
app.command(epilog="Example: training check run.toml")(design.check)
app.command(epilog="Example: training bc run.toml --out runs/first --table runs.csv")(runs.bc)
app.command(epilog="Example: training rl run.toml --table runs.csv")(runs.rl)
app.command(epilog="Example: training evaluate runs/first --episodes 30")(runs.evaluate)
app.command(epilog="Example: training export runs/first --out player")(runs.export)
app.command(epilog="Example: training plan --flops 1e11,4e11,1.6e12 --data shards --out plan.toml")(sweeps.plan)
app.command(epilog="Example: training sweep plan.toml --out sweep")(sweeps.sweep)


def main() -> None:
    """Run the command: exit code 2 and one sentence for what the user can mend, 1 and a traceback for a bug of ours."""
    try:
        app()
    except SystemExit as done:
        if done.code == EXIT_CODE:  # typer's answer to Ctrl-C
            say("training: interrupted; start the same command again.")
        raise
    except KeyboardInterrupt:  # before typer takes care of it, or after
        say("training: interrupted; start the same command again.")
        raise SystemExit(EXIT_CODE) from None
    except InterruptedRunError as error:
        say(f"training: {error}")
        raise SystemExit(EXIT_CODE) from None
    except Exception as error:
        if not is_bug(error):
            say(f"training: {error}")
            raise SystemExit(2) from None
        traceback.print_exc()
        say(
            "training: this is a bug of ours, not of your input. Please report it to the authors of game-scaling with "
            f"the traceback above and this command: {shlex.join(['training', *sys.argv[1:]])}"
        )
        raise SystemExit(1) from None
