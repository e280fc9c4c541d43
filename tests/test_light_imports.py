"""Forecasting needs none of what training needs, and importing it changes nothing for other users of jax."""

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


def test_importing_forecast_changes_no_setting_of_jax():
    done = python("import jax; before = dict(jax.config.values); import forecast, forecast.cli\n"
                  "print({k: v for k, v in jax.config.values.items() if before.get(k) != v})")  # fmt: skip
    assert done.stdout == "{}\n", done.stdout + done.stderr
