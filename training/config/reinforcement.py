"""A run of reinforcement learning."""

import dataclasses
from dataclasses import dataclass

from training.config.base import LATER, TrainingConfig
from training.config.checks import at_least, one_of, positive, share
from training.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ReinforcementConfig(TrainingConfig):
    """One run of reinforcement learning.

    An update plays `rollout` frames in each of `envs` games, cuts them into sequences of `unroll_length` frames, and
    learns from them in batches of `batch_size` sequences, `epochs` times over.
    """

    algorithm: str = "ppo"
    """ppo (Schulman et al., arXiv 1707.06347) or vtrace (IMPALA, Espeholt et al., arXiv 1802.01561)."""
    envs: int = 16
    """Games played side by side."""
    groups: int = dataclasses.field(default=1, metadata=LATER)
    """Of games: one group is acted for while the others step; divides `envs`."""
    rollout: int = 128
    """Frames of each game in an update."""
    batch_size: int = 16
    """Sequences per gradient step."""
    unroll_length: int = 32
    """Consecutive frames per sequence, through which gradients flow back; divides `rollout`."""
    epochs: int = 2
    """Passes over the frames of an update."""
    discount: float = 0.99
    """Of rewards, a frame."""
    gae_lambda: float = 0.95
    """ppo: of the generalised advantage estimate (Schulman et al., arXiv 1506.02438)."""
    ratio_clip: float = 0.2
    """ppo: how far the probability of an action may move from that of acting before its gradient is cut."""
    value_cost: float = 0.5
    """Weight of the loss of the value, whose targets have unit variance."""
    entropy: float = 0.01
    """Bonus for entropy (nats)."""
    reward_clip: float = 0.0
    """Rewards are cut to this size for learning, never for what is reported; 0 leaves them as they are."""
    life_loss: bool = dataclasses.field(default=False, metadata=LATER)
    """Atari: what follows the loss of a life counts for nothing while learning, as if the game had ended there."""
    init: str = ""
    """Run or checkpoint whose policy to start from."""
    kl: float = 0.0
    """Weight of KL(policy of `init` || policy), a frame (nats): how much to stay like it while learning."""
    lag: int = dataclasses.field(default=0, metadata=LATER)
    """1: a rollout is played while the one before is learned from, by the policy as it was then; 0: after it."""
    episodes: int = 30
    """Games to play at each checkpoint for the return."""

    _update = "envs × rollout"

    @property
    def samples_per_update(self) -> int:
        """Frames played for one update."""
        return self.envs * self.rollout

    def _check_algorithm(self) -> None:
        one_of("algorithm of reinforcement learning", self.algorithm, ("ppo", "vtrace"))
        for name in ("discount", "gae_lambda"):
            share(name, getattr(self, name))
        positive("ratio_clip", self.ratio_clip)
        if self.lag not in (0, 1):
            raise ConfigError(f"lag must be 0 or 1 updates, got {self.lag}.")
        for name in ("envs", "groups", "rollout", "epochs", "episodes"):
            at_least(1, name, getattr(self, name))
        for name in ("value_cost", "entropy", "reward_clip", "kl"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must be 0 or more, got {getattr(self, name):g}.")
        if self.envs % self.groups:
            raise ConfigError(f"envs = {self.envs} must be a multiple of groups = {self.groups}; change one.")
        if self.rollout % self.unroll_length:
            raise ConfigError(
                f"rollout = {self.rollout} must be a multiple of unroll_length = {self.unroll_length}; change one."
            )
        sequences = self.samples_per_update // self.unroll_length
        if sequences % self.batch_size:
            raise ConfigError(
                f"batch_size = {self.batch_size} does not divide the {sequences} sequences of an update (envs × "
                "rollout / unroll_length); change one."
            )
        if self.life_loss and self.env != "atari":
            raise ConfigError("life_loss is of Atari games; leave it out in NetHack, where there is one life.")
        if self.kl and not self.init:
            raise ConfigError("kl needs a policy to stay like; give init, a run or a checkpoint.")
