"""jax at work: its start without hints, and compiled programs that later processes on this machine use again."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax

_HINTS = "An NVIDIA GPU may be present", "A Google TPU may be present"


def keep_compilations() -> None:
    """Start jax, and make it keep compiled programs on disk for later processes, in the folder `FORECAST_CACHE`.

    Called before the first compilation of a process, never by an import. A cache folder that is set already stays; one
    that cannot be written is not used.
    """
    with _without_hints():
        jax.devices()
    if jax.config.values.get("jax_compilation_cache_dir"):
        return
    cache = Path(os.environ.get("FORECAST_CACHE", str(Path.home() / ".cache" / "forecast")))
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if os.access(cache, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(cache))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


@contextmanager
def _without_hints() -> Iterator[None]:
    """Without what jax logs at its start where there is a GPU or TPU that it is not installed for: a fit needs none."""

    def wanted(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(_HINTS)

    logger = logging.getLogger("jax._src.xla_bridge")
    logger.addFilter(wanted)
    try:
        yield
    finally:
        logger.removeFilter(wanted)
