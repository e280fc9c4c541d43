"""How large batches may be, and how many threads read them."""

import os

from training.errors import ConfigError


def check_sizes(batch_size: int, unroll_length: int, rank: int, world: int) -> None:
    """Raise ConfigError for sizes that no batch can have."""
    if batch_size < 1 or unroll_length < 1:
        raise ConfigError(f"batch_size and unroll_length must be 1 or more, got {batch_size} and {unroll_length}.")
    if not 0 <= rank < world:
        raise ConfigError(f"rank must be 0 or more and less than world = {world}, got {rank}.")
    if batch_size % world:
        raise ConfigError(f"batch_size = {batch_size} cannot be shared by {world} processes; make it a multiple.")


def thread_count(threads: int | None) -> int:
    """How many threads decode: as many as asked for, or two where there are two cores."""
    if threads is not None and threads < 1:
        raise ConfigError(f"threads must be 1 or more, got {threads}.")
    return threads or min(2, len(os.sched_getaffinity(0)))
