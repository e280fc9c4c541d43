"""What dependencies print reaches no user: the README's example in a fresh process and home says nothing on stderr."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from forecast.bayes.diagnostics import convergence
from forecast.model.compiled import keep_compilations

ROOT = Path(__file__).parents[2]
GPU = "import jax._src.hardware_utils as h; h.has_visible_nvidia_gpu = lambda: True"
REST = """
import tempfile
from pathlib import Path
from forecast.report import write_report
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "posterior.nc"
    posterior.save(path)
    posterior = forecast.load_posterior(path)
    write_report(posterior, [forecast.recommend(posterior, flops=1e19)], Path(folder) / "report", replicates=0)
posterior.inference_data()
"""


def example() -> str:
    """The Python block of the README, with a fit of few draws in place of the saved one."""
    block = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    saved = 'forecast.load_posterior("posterior.nc")'
    assert saved in block[1]
    return block[1].replace(saved, 'forecast.fit("nethack-transformer", chains=2, draws=100, warmup=100)')


@pytest.mark.slow
def test_the_readme_example_prints_no_warning(tmp_path):
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "MPLBACKEND": "Agg"}
    where = {"PYTHONPATH": str(ROOT), "MPLCONFIGDIR": os.environ.get("MPLCONFIGDIR", str(Path.home() / ".config"))}
    kept = {"FORECAST_CACHE": os.environ.get("FORECAST_CACHE", str(Path.home() / ".cache" / "forecast"))}
    done = subprocess.run(
        [sys.executable, "-c", "\n".join([GPU, example(), REST])],
        capture_output=True, text=True, check=False, cwd=tmp_path, env={**os.environ, **home, **where, **kept},
    )  # fmt: skip
    assert done.stderr == ""
    assert done.returncode == 0
    assert "For 1e17 FLOPs, " in done.stdout


def test_views_of_unequal_chains_are_compared_in_silence(caplog):
    draws = {"x": np.random.default_rng(0).standard_normal((3, 200))}
    found = convergence(draws, views=2)
    assert 0.9 < found.rhat < 1.1
    assert caplog.text == ""


def test_a_cache_that_cannot_be_written_is_not_used(tmp_path, monkeypatch, caplog):
    import jax

    monkeypatch.setenv("FORECAST_CACHE", str(tmp_path / "file" / "cache"))
    (tmp_path / "file").write_text("")
    before = jax.config.values.get("jax_compilation_cache_dir")
    jax.config.update("jax_compilation_cache_dir", None)
    try:
        keep_compilations()
        keep_compilations()
        assert jax.config.values.get("jax_compilation_cache_dir") is None
        (told,) = caplog.messages  # once
        assert "file/cache: Not a directory" in told
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
