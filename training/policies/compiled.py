"""A policy as learning calls it, with what pays compiled for the one shape of its batches.

Acting and measuring call the policy itself, in many shapes: nothing is compiled for them, and the names of its weights
stay what they are.
"""

import functools
import os
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from training.config.base import TrainingConfig
from training.policies.family import NetHackPolicy
from training.policies.networks.cores import LstmCore
from training.policies.policy import FamilyPolicy

Features = Callable[[Mapping[str, Tensor], tuple[Tensor, ...]], tuple[Tensor, tuple[Tensor, ...]]]
Tell = Callable[[str, float], None]
"""Is told in a sentence what came of compiling, and how many seconds it took."""
BACKEND = "inductor"
"""Of torch.compile."""
WORTH = 5_000_000
"""Frames to learn from at which compiling pays on a GPU: it takes 26 to 47 s, and spares about 10 µs a frame."""


def compiles(config: TrainingConfig, device: torch.device) -> bool:
    """Whether a run is compiled on this device; `auto` compiles on a GPU, unless the run is short or Atari's."""
    pays = device.type == "cuda" and config.env == "nethack" and config.samples >= WORTH
    return {"auto": pays, "on": True, "off": False}[config.compile]


class LearningPolicy(nn.Module):
    """Called as the policy whose weights it has, for training steps alone.

    Of a policy with an LSTM all that comes before the core is compiled, for cuDNN runs the core as it is; any other
    policy is compiled whole. Torch keeps on the disk what it compiled, for later processes too.
    """

    def __init__(self, policy: FamilyPolicy, *, compile: bool) -> None:
        """Compiling is tried with the first batch; where it fails, the policy is called as it is.

        policy: whose weights these are.
        compile: whether to compile anything.
        """
        super().__init__()
        self.policy = policy
        self.tell: Tell = lambda sentence, seconds: None
        self._features: Features = policy.features
        if compile:
            self._features = _compiled(policy)
        self.ready = not compile
        """Whether the next call compiles nothing."""

    def forward(self, batch: Mapping[str, Tensor], state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Logits [B, T, actions] of frames [B, T, ...], and the memory after the last."""
        x, state = self.features(batch, state)
        return self.policy.policy(x).float(), state

    def features(self, batch: Mapping[str, Tensor], state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """What the head sees [B, T, features], and the memory after the last frame."""
        if not self.ready:
            self._try(batch, state)
            self.ready = True
        return self._features(batch, state)

    def _try(self, batch: Mapping[str, Tensor], state: tuple[Tensor, ...]) -> None:
        """Compile forward and backward; what fails after that is a mistake of ours."""
        self.tell("Compiling the policy, which takes about a minute.", 0.0)
        begun = time.perf_counter()
        buffers = [(buffer, buffer.clone()) for buffer in self.buffers()]  # of batch normalisation
        try:
            x, _ = self._features(batch, state)
            weights = [weight for weight in self.policy.parameters() if weight.requires_grad]
            torch.autograd.grad(x, weights, torch.ones_like(x), allow_unused=True)
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except Exception as error:  # compilers raise what they like
            self._features = self.policy.features
            cause = getattr(error, "inner_exception", error)
            reason = f"{type(cause).__name__}: {str(cause).strip().partition(chr(10))[0]}"
            message = f"the policy cannot be compiled ({reason}); the run goes on uncompiled."
        else:
            seconds, kept = time.perf_counter() - begun, os.environ.get("TORCHINDUCTOR_CACHE_DIR")
            message = f"the policy is compiled, in {seconds:.0f} s" + (f"; torch keeps it in {kept}." if kept else ".")
        for buffer, before in buffers:
            buffer.data.copy_(before)
        self.tell(message, time.perf_counter() - begun)


def _compiled(policy: FamilyPolicy) -> Features:
    compile = functools.partial(torch.compile, backend=BACKEND, dynamic=False, fullgraph=True)
    if isinstance(policy, NetHackPolicy) and isinstance(policy.core, LstmCore):
        return functools.partial(policy.features, see=compile(policy.see))
    features = compile(policy.features)

    def whole(batch: Mapping[str, Tensor], state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        start = batch["start"].to(batch["previous"].device, non_blocking=True)
        return features({**batch, "start": start}, state)

    return whole
