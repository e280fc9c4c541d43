"""Forecasting needs none of what training needs, a command loads what it uses, and jax's settings stay as they are."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BLOCKED = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "nle", "ale_py", "ray", "gymnasium", "torchrl", "training"):
            raise ModuleNotFoundError(f"{name} is taken to be absent", name=name)
sys.meta_path.insert(0, Absent())
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    place = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=place)


@pytest.mark.parametrize("arguments", [["--help"], ["datasets"]], ids=lambda arguments: arguments[0])
def test_the_forecast_command_runs_without_training_extras(arguments):
    run = "import runpy; runpy.run_module('forecast.cli', run_name='__main__', alter_sys=True)"
    done = python(f"{BLOCKED}sys.argv[1:] = {arguments}; {run}")
    assert done.returncode == 0, done.stderr
    assert {"--help": "recommend", "datasets": "nethack-transformer"}[arguments[0]] in done.stdout


def test_importing_forecast_loads_no_training_extra():
    done = python(f"{BLOCKED}import forecast; print(forecast.read_runs('nethack-transformer').source)")
    assert done.stdout == "nethack-transformer\n", done.stderr
    with_all = python("import sys, forecast; print({'torch', 'nle', 'ale_py', 'ray', 'training'} & set(sys.modules))")
    assert with_all.stdout == "set()\n", with_all.stderr


HEAVY = {"arviz", "jax", "matplotlib", "numpyro", "pandas", "pandera", "pyarrow", "scipy", "torch", "xarray"}
LOADED = f"print(sorted({HEAVY} & set(sys.modules)), file=sys.stderr)"


def after_command(*arguments: object) -> subprocess.CompletedProcess[str]:
    """What a command wrote, and in the last line of stderr what of `HEAVY` it had loaded."""
    return python(f"""
import sys
from forecast.cli import main
sys.argv = ["forecast", *{[str(a) for a in arguments]}]
try:
    main()
finally:
    {LOADED}
""")


def test_importing_forecast_loads_nothing_heavy():
    assert python(f"import sys, forecast; dir(forecast), forecast.datasets; {LOADED}").stderr == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--help"], "recommend"),
        (["recommend", "--help"], "drifting"),
        (["backtest", "--help"], "drifting"),
        (["--version"], "forecast 0"),
        (["example"], "group,run,params,samples,flops,loss"),
        (["recommnd"], "Did you mean"),
        (["recommend", "--flop"], "No such option"),
    ],
)
def test_help_and_typos_load_nothing_heavy(arguments, words):
    done = after_command(*arguments)
    assert words in done.stdout + done.stderr
    assert done.stderr.splitlines()[-1] == "[]", done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"), [(["recommend", "--flops", "1e19"], "samples"), (["predict", "--at"], "q95")]
)
def test_a_saved_posterior_is_asked_without_jax(tmp_path, arguments, words):
    points = tmp_path / "points.csv"
    points.write_text("params,samples\n1e7,1e10\n")
    saved = ROOT / "tests" / "data" / "posterior.nc"
    done = after_command(arguments[0], saved, *arguments[1:], *([points] if arguments[-1] == "--at" else []))
    assert words in done.stdout, done.stderr
    allowed = {"pandas", "pyarrow"}
    assert set(ast.literal_eval(done.stderr.splitlines()[-1])) <= allowed


def test_importing_forecast_changes_no_setting_of_jax():
    done = python("import jax; before = dict(jax.config.values); import forecast, forecast.cli\n"
                  "print({k: v for k, v in jax.config.values.items() if before.get(k) != v})")  # fmt: skip
    assert done.stdout == "{}\n", done.stdout + done.stderr
