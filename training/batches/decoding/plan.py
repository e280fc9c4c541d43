"""Which batches are read: all that decides, beside the shards, what batch k holds."""

from collections.abc import Sequence
from dataclasses import dataclass

from training.batches.sizes import check_sizes


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """What a process that decodes needs to know. Raises ConfigError for sizes that no batch can have."""

    batch_size: int
    """Rows of a batch, of all ranks together."""
    unroll_length: int
    """Frames of a row."""
    seed: int = 0
    """Of the order of games or chunks."""
    rank: int = 0
    """This process gets rows rank, rank + world, ... of each batch."""
    world: int = 1
    """How many processes share each batch."""
    pool_frames: int = 0
    """Shuffled single frames come from pools of so many, rounded up to whole batches; 0: sequences, not shuffled."""

    def __post_init__(self) -> None:
        check_sizes(self.batch_size, self.unroll_length, self.rank, self.world)

    @property
    def rows(self) -> range:
        """This process's rows of each batch."""
        return range(self.rank, self.batch_size, self.world)

    @property
    def updates_a_pool(self) -> int:
        """Batches that a pool of shuffled frames is dealt out to."""
        return -(-self.pool_frames // self.batch_size)

    def parts_of(self, update: int, parts: int) -> Sequence[int]:
        """Which of so many decoders fill batch `update`: all, each its rows; or the one that has its pool."""
        return (update // self.updates_a_pool % parts,) if self.pool_frames else range(parts)

    def ahead(self, update: int, parts: int, *, first: bool) -> list[tuple[int, int]]:
        """What to prepare once batch `update`, the first or a later one, is asked for: decoders, each with a batch.

        Every decoder holds a pool of its own, and decodes its next one as soon as the last batch is dealt from it.
        """
        if not self.pool_frames:
            return []
        pool, place = divmod(update, self.updates_a_pool)
        pools = list(range(pool + 1, pool + parts)) if first else []
        if place == self.updates_a_pool - 1:
            pools.append(pool + parts)
        return [(number % parts, number * self.updates_a_pool) for number in pools]
