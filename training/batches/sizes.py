"""How large batches may be, and how many threads or processes decode them."""

import os

from training.errors import ConfigError

_MOST = 8


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


def process_count(workers: int | None, world: int) -> int:
    """How many processes decode: as many as asked for, or what this rank's cores allow; 0 means threads instead.

    Half of the rank's cores, and no more than eight: the others are left to the training loop and to what else it does.
    Below four cores threads are as fast (`benchmarks/shards.py`). A rank has its share of the machine's cores. One that
    is alone has no more than OMP_NUM_THREADS, by which a sweep tells its runs how many they have; torchrun sets the
    same variable to 1, so that it says nothing where there are several ranks.
    """
    if workers is not None:
        if workers < 0:
            raise ConfigError(f"workers must be 0 or more, got {workers}.")
        return workers
    cores = len(os.sched_getaffinity(0))
    if world > 1:
        cores //= int(os.environ.get("LOCAL_WORLD_SIZE", world))  # torchrun's: the ranks on this machine
    elif (limit := os.environ.get("OMP_NUM_THREADS", "")).isdigit():
        cores = min(cores, int(limit))
    return 0 if cores < 4 else min(cores // 2, _MOST)
