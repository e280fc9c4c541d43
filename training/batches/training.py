"""Which batches a run learns from, and who decodes them."""

from training.batches import shuffled as frames
from training.batches.decoding.crew import Processes, Threads
from training.batches.decoding.plan import BatchPlan
from training.batches.iterator import BatchIterator
from training.batches.sizes import process_count, thread_count
from training.errors import ConfigError
from training.shards.reader import Shards


def training_batches(
    shards: Shards,
    *,
    batch_size: int,
    unroll_length: int,
    seed: int = 0,
    rank: int = 0,
    world: int = 1,
    shuffled: bool | None = None,
    threads: int | None = None,
    workers: int | None = None,
) -> BatchIterator:
    """Batches of the training games: sequences (`training.batches.sequences`) or shuffled frames, T = 1 (`.shuffled`).

    rank, world: this process gets rows rank, rank + world, ... of each batch. shuffled: the default for single Atari
    frames. workers: how many processes decode; 0 for threads of this one, None for what `sizes.process_count` says.
    threads: how many threads decode instead of processes; one or two if None.

    Raises ConfigError when there are fewer frames to train on than a batch has rows, `world` does not divide
    `batch_size`, or shuffled frames are to be unrolled.
    """
    if shuffled is None:
        shuffled = shards.env == "atari" and unroll_length == 1
    if shuffled and unroll_length != 1:
        raise ConfigError(f"shuffled frames need unroll_length = 1, got {unroll_length}.")
    plan = BatchPlan(
        batch_size=batch_size,
        unroll_length=unroll_length,
        seed=seed,
        rank=rank,
        world=world,
        pool_frames=frames.POOL_FRAMES if shuffled else 0,
    )
    available = sum(game.frames for game in shards.train)
    if batch_size > available:
        raise ConfigError(
            f"{shards.path} has {available} frames to train on, fewer than batch_size = {batch_size}; "
            "record more games or lower batch_size."
        )
    processes = process_count(workers, world) if threads is None else workers or 0
    parts = processes or thread_count(threads)
    if not shuffled:
        parts = min(parts, len(plan.rows))
    crew = Processes(shards, plan, parts) if processes else Threads(shards, plan, parts)
    return BatchIterator(shards, plan, crew)
