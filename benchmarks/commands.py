"""How long the command takes before its answer stands there: from the help to a recommendation of a saved posterior.

    python benchmarks/commands.py

A markdown table of wall seconds, the least of several processes each, and their ratio to `python -c pass` of the same
run. What runs beside it on the machine counts, so it wants a quiet one.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import forecast
from forecast.numbers import decimals

ROOT = Path(__file__).parent.parent
POINTS = "params,samples\n1e7,1e10\n5e7,2e10\n1e8,1e12\n"
COMMAND = "from forecast.cli import main; main()"


def seconds(arguments: Sequence[str], code: str, times: int) -> float:
    """The least wall time of a Python process that runs this code; exit code 2 is that of a typo."""
    took = []
    for _ in range(times):
        begun = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, check=False)
        took.append(time.perf_counter() - begun)
        if done.returncode not in (0, 2):
            raise RuntimeError(done.stderr.decode())
    return min(took)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=5, help="processes of each kind")
    parser.add_argument("--saved", type=Path, help="a posterior (.nc) in place of a new one of nethack-transformer")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        points, saved = Path(folder) / "points.csv", options.saved or Path(folder) / "posterior.nc"
        points.write_text(POINTS)
        if options.saved is None:
            forecast.fit(forecast.read_runs("nethack-transformer")).save(saved)
        ran = {
            "`python -c pass`": ([], "pass"),
            "`import forecast`": ([], "import forecast"),
            "`forecast --help`": (["--help"], COMMAND),
            "`forecast recommnd`, a typo": (["recommnd"], COMMAND),
            "`forecast predict posterior.nc --at points.csv`": (["predict", str(saved), "--at", str(points)], COMMAND),
            "`forecast recommend posterior.nc --flops 1e19`": (["recommend", str(saved), "--flops", "1e19"], COMMAND),
        }
        took = {what: seconds(arguments, code, options.times) for what, (arguments, code) in ran.items()}
    least = took["`python -c pass`"]
    print("| | seconds | / `python -c pass` |\n|---|---|---|")
    for what, value in took.items():
        print(f"| {what} | {decimals(value, 2)} | {decimals(value / least, 1)} |")


if __name__ == "__main__":
    main()
