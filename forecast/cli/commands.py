"""The `forecast` command: its parts, and what it does with errors."""

import atexit
import shlex
import signal
import sys
import traceback
from typing import Annotated

import typer

import forecast
from forecast.cli import deciding, fitting, reporting, terminal, verifying
from forecast.cli.homes import lend_folder_to_matplotlib
from forecast.errors import ForecastError, TableError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        terminal.out.print(f"forecast {forecast.__version__}")
        raise typer.Exit


@app.callback(help=forecast.__doc__)
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None: ...


app.command(epilog="Example: forecast datasets")(fitting.datasets)
app.command(epilog="Example: forecast example > runs.csv")(fitting.example)
app.command(epilog="Example: forecast fit nethack-transformer --out posterior.nc")(fitting.fit)
app.command(epilog="Example: forecast predict nethack-transformer --at points.csv --out predicted.csv")(fitting.predict)
app.command(epilog="Example: forecast recommend nethack-transformer --flops 1e19 --max-samples 1e11")(
    deciding.recommend
)
app.command(epilog="Example: forecast required nethack-transformer --return 6000 --probability 0.5")(deciding.required)
app.command(epilog="Example: forecast compare lstm.csv transformer.csv --flops 1e19")(deciding.compare)
app.command(epilog="Example: forecast watch runs.csv --run NAME --samples 1e11")(deciding.watch)
app.command("next", epilog="Example: forecast next runs.csv --target-flops 1e19 --spend 1e17 --out plan.toml")(
    deciding.next_runs
)
app.command(epilog="Example: forecast score recommendation.toml --runs runs.csv")(verifying.score)
app.command(epilog="Example: forecast backtest nethack-transformer --forecasts forecasts.csv")(verifying.backtest)
app.command(epilog="Example: forecast report nethack-transformer --out reports/nethack-transformer")(reporting.report)


def main() -> None:
    """Run the command: exit code 2 and one sentence for what the user can mend, 1 and a traceback for a bug of ours."""
    lend_folder_to_matplotlib()
    try:
        app()
    except (ForecastError, OSError) as error:
        text = error.text(command=True) if isinstance(error, TableError) else str(error)
        terminal.err.print(f"forecast: {text}")
        raise SystemExit(2) from None
    except Exception:
        traceback.print_exc()
        terminal.err.print(
            "forecast: this is a bug of ours, not of your input. Please report it to the authors of game-scaling with "
            f"the traceback above and this command: {shlex.join(['forecast', *sys.argv[1:]])}",
        )
        raise SystemExit(1) from None
    finally:
        # All is written: Ctrl-C would only show a traceback of jax, which takes a moment to end.
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
