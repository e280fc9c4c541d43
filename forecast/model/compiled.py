"""Compiled programs that later processes on this machine use again."""

import os
from pathlib import Path

import jax


def keep_compilations() -> None:
    """Make jax keep compiled programs on disk for later processes, in the folder `FORECAST_CACHE`.

    Called before the first compilation of a process, never by an import. A cache folder that is set already stays.
    """
    if jax.config.values.get("jax_compilation_cache_dir"):
        return
    cache = os.environ.get("FORECAST_CACHE", str(Path.home() / ".cache" / "forecast"))
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
