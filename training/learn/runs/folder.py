"""The folder of a run: one config, one process at a time, and where it goes on."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from training.config.base import TrainingConfig, to_toml
from training.config.read import read_config
from training.errors import ConfigError, MachineError
from training.files import locked, write_atomically
from training.learn.distributed import Place


@contextlib.contextmanager
def claim(config: TrainingConfig, out: Path, here: Place, patience: float = 0.0) -> Iterator[None]:
    """Make `out` the folder of this run, and of this process while the block runs.

    patience: seconds to wait for another process that trains it. Raises ConfigError if it is the folder of another run,
    MachineError if it is being trained all the while or cannot be written.
    """
    if config.batch_size % here.world:
        raise ConfigError(f"batch_size = {config.batch_size} cannot be shared by {here.world} processes evenly.")
    path = out / "config.toml"
    if path.exists() and read_config(path) != config:
        raise ConfigError(f"{out} holds a run with another config; choose another --out.")
    here.wait()
    with contextlib.ExitStack() as held:
        if here.leads:
            try:
                out.mkdir(parents=True, exist_ok=True)
                held.enter_context(locked(out / ".lock", patience))
                write_atomically(path, to_toml(config).encode())
            except BlockingIOError:
                raise MachineError(f"{out} is being trained by another process; wait for it, or end it.") from None
            except OSError as error:
                raise MachineError(
                    f"{out}: the folder cannot be written ({error.strerror}); choose another --out."
                ) from None
        yield


def resumed(config: TrainingConfig, out: Path, update: int, measured: int) -> tuple[str, ...]:
    """A sentence where a run does not begin at its beginning; measured: the last update that has its row."""
    if measured >= config.updates:
        return (
            f"{out} is already trained to its last budget; its rows are in the run table that it was started with.",
        )
    return (f"{out} goes on after update {update:,} of {config.updates:,}.",) if update else ()
