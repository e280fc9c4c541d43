"""A run of behavioural cloning."""

from dataclasses import dataclass

from training.config.base import TrainingConfig
from training.config.checks import at_least, one_of, positive
from training.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class CloningConfig(TrainingConfig):
    """One behavioural-cloning run."""

    data: str = ""
    """Folder of shards to learn from, made by `training shard`."""
    heldout_frames: int = 100_000
    """Held-out frames to measure the loss on, about; 0 takes all."""
    max_epochs: float = 4.0
    """Passes over the demonstrations that are accepted before the budget is called too large for them."""

    _update = "batch_size × unroll_length"

    @property
    def samples_per_update(self) -> int:
        """Frames in one batch."""
        return self.batch_size * self.unroll_length

    def check_passes(self, available: int, place: object) -> None:
        """Raise ConfigError where so many samples to learn from, in `place`, would be seen too often."""
        if self.samples > self.max_epochs * available:
            raise ConfigError(
                f"the budget takes {self.samples:,} samples, but {place} has {available:,} to learn from: "
                f"{self.samples / available:,.1f} passes where max_epochs = {self.max_epochs:g}; record more games, "
                "lower flops, or raise max_epochs."
            )

    def _check_algorithm(self) -> None:
        one_of("algorithm of a cloning run", self.algorithm, ("bc",))
        positive("max_epochs", self.max_epochs)
        at_least(0, "heldout_frames", self.heldout_frames)
        if self.env == "atari" and self.unroll_length != 1:
            raise ConfigError(
                f"unroll_length must be 1 in Atari, whose policies have no memory, got {self.unroll_length}."
            )
