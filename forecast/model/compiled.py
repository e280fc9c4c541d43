"""jax at work: its start without hints, and compiled programs that later processes on this machine use again."""

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
from jax._src import compilation_cache

_LOG = logging.getLogger(__name__)  # which prints warnings on stderr unless a program has others in mind
_HINTS = "An NVIDIA GPU may be present", "A Google TPU may be present"


def keep_compilations() -> None:
    """Start jax, and make it keep compiled programs on disk for later processes, in the folder `FORECAST_CACHE`.

    Called before the first compilation of a process, never by an import. A cache folder that is set already stays; one
    that cannot be written is not used, which is said once, here for the processes that this one starts too.
    """
    with _without_hints():
        jax.devices()
    if jax.config.values.get("jax_compilation_cache_dir"):
        return
    place = os.environ.get("FORECAST_CACHE", os.path.join("~", ".cache", "forecast"))
    if not place:
        return
    try:
        cache = Path(place).expanduser()
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache):
            pass
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
        os.environ["FORECAST_CACHE"] = ""
        reason = error.strerror if isinstance(error, OSError) else "there is no home"
        _LOG.warning(
            "Compiled programs are not kept for later (%s: %s), so that each process makes its own; set FORECAST_CACHE "
            "to a folder for them.", place, reason,
        )  # fmt: skip
        return
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    _remove_what_is_damaged(cache)


def _remove_what_is_damaged(cache: Path) -> None:
    """Let jax take an entry that it cannot read out of the cache, so that it makes it anew.

    By itself it would warn about the entry in every process and never replace it.
    """
    read = getattr(compilation_cache, "get_executable_and_time", None)
    if read is None:  # in a version that has it elsewhere
        return

    def read_or_removed(key: str, *given: Any, **options: Any) -> Any:
        try:
            return read(key, *given, **options)
        except Exception:  # decompressors and XLA raise what they like
            for file in cache.glob(f"{key}*"):
                file.unlink(missing_ok=True)
            return None, None

    compilation_cache.get_executable_and_time = read_or_removed


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
