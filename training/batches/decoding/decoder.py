"""What fills batches: the decoder for a plan."""

from typing import Protocol

from training.batches.decoding.plan import BatchPlan
from training.batches.sequences import SequenceDecoder
from training.batches.shuffled import ShuffledDecoder
from training.batches.streams import Batch
from training.shards.reader import Shards


class Decoder(Protocol):
    """One of several that share the work on batches."""

    def fill(self, update: int, batch: Batch) -> None:
        """Write this decoder's part of batch `update`, fields of the rank's rows, over whatever `batch` holds."""
        ...

    def prepare(self, update: int) -> None:
        """Do what can be done for batch `update` ahead of `fill`; errors are left to `fill`."""
        ...


def decoder_of(shards: Shards, plan: BatchPlan, part: int, parts: int) -> Decoder:
    """Decoder `part` of so many."""
    kind = ShuffledDecoder if plan.pool_frames else SequenceDecoder
    return kind(shards, plan, part, parts)
