"""Which kind of batches a run learns from."""

from typing import Any

from training.batches.iterator import BatchIterator
from training.batches.sequences import Batches
from training.batches.shuffled import ShuffledBatches
from training.errors import ConfigError
from training.shards.reader import Shards


def training_batches(
    shards: Shards, *, unroll_length: int, shuffled: bool | None = None, **settings: Any
) -> BatchIterator:
    """Batches of the training games; `training.batches.iterator.BatchIterator` has the settings.

    `shuffled`, the default for single Atari frames, takes them from `training.batches.shuffled.ShuffledBatches`.
    """
    if shuffled is None:
        shuffled = shards.env == "atari" and unroll_length == 1
    if not shuffled:
        return Batches(shards, unroll_length=unroll_length, **settings)
    if unroll_length != 1:
        raise ConfigError(f"shuffled frames need unroll_length = 1, got {unroll_length}.")
    return ShuffledBatches(shards, **settings)
