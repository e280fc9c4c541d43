"""A user without a home, or with one that cannot be written; and a cache that is damaged."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOBODY = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", "--inh-caps=+dac_read_search"]
NOBODY += ["--ambient-caps=+dac_read_search"]  # whom the code can be read by, wherever it lies
ALL = f"""
from forecast.cli.homes import lend_folder_to_matplotlib
lend_folder_to_matplotlib()
import forecast
import forecast.report.figures
from forecast.model.compiled import keep_compilations
keep_compilations()
forecast.load_posterior({str(ROOT / "tests" / "data" / "posterior.nc")!r}).save("p.nc")
"""
COMPILES = """
import jax
import jax.numpy as jnp
from forecast.model.compiled import keep_compilations
keep_compilations()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
print(float(jax.jit(lambda x: (x @ x.T).sum())(jnp.ones((5, 5)))))
"""
TOLD = "Compiled programs are not kept for later"


@pytest.fixture
def nobody(tmp_path):
    """Runs Python as a user who may write nothing but the working folder: from arguments and home to the process."""
    if os.geteuid() or not shutil.which("setpriv") or subprocess.run([*NOBODY, "true"], capture_output=True).returncode:
        pytest.skip("only root can become another user, with setpriv")
    work = tmp_path / "work"
    work.mkdir()
    for folder in (work, *list(work.parents)[:-2]):
        folder.chmod(0o777)

    def run(*arguments, home):
        dropped = ("HOME", "FORECAST_CACHE", "MPLCONFIGDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")
        kept = {name: value for name, value in os.environ.items() if name not in dropped}
        environment = {**kept, "PYTHONPATH": str(ROOT)} | ({} if home is None else {"HOME": home})
        return subprocess.run(
            [*NOBODY, sys.executable, *arguments], capture_output=True, text=True, env=environment, cwd=work
        )

    return run


@pytest.mark.parametrize("home", [None, "/"])
def test_without_a_home_there_is_no_cache_and_a_sentence(nobody, home):
    done = nobody("-c", ALL, home=home)
    assert done.returncode == 0, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(TOLD)


@pytest.mark.slow
@pytest.mark.parametrize("home", [None, "/"])
def test_commands_run_without_a_home(nobody, home):
    for command in ("forecast", "training"):
        done = nobody("-m", f"{command}.cli", "--help", home=home)
        assert (done.returncode, done.stderr) == (0, "")
    done = nobody("-m", "forecast.cli", "fit", "nethack-transformer", "--draws", "100", "--out", "p.nc", home=home)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(TOLD) == 1
    assert "Traceback" not in done.stderr
    done = nobody("-m", "training.cli", "evaluate", "random", "--episodes", "1", "--max-steps", "20", home=home)
    assert done.returncode == 0, done.stderr


def test_a_damaged_entry_of_the_cache_is_made_anew(tmp_path):
    def compiled():
        """Entries of the cache after a process that compiles a product; it fails at the first warning."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "FORECAST_CACHE": str(tmp_path)}
        done = subprocess.run([sys.executable, "-W", "error", "-c", COMPILES], env=environment, capture_output=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"125.0\n", b"")
        return {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    cut = {name: content[:-9] for name, content in compiled().items()}
    assert cut
    for name, content in cut.items():
        (tmp_path / name).write_bytes(content)
    made = compiled()
    assert made.keys() == cut.keys()
    assert [name for name, content in cut.items() if made[name] == content] == []
