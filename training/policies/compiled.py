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


GRAPHED = 3e11
"""FLOPs of an update up to which it is recorded as CUDA graphs: an H200 computes for a few ms where launching the
kernels takes over ten (17 ms for 128 frames, eager). An estimate; `benchmarks/gpu.py` measures both ways."""
_OFF = 0.05, 0.1  # how far features and gradients of a graph may be from those of the policy, relative to their norm


def compiles(config: TrainingConfig, device: torch.device) -> bool:
    """Whether a run is compiled on this device; `auto` compiles on a GPU, unless the run is short or Atari's.

    `graphs` does so in cloning, whose graphs are of what is compiled; in reinforcement learning it is as `auto` here.
    """
    pays = device.type == "cuda" and config.env == "nethack" and config.samples >= WORTH
    return {"auto": pays, "on": True, "graphs": pays or config.algorithm == "bc", "off": False}[config.compile]


def graphed(config: TrainingConfig, device: torch.device, processes: int = 1) -> bool:
    """Whether what is compiled is recorded as CUDA graphs and replayed; `auto` does so where an update is small.

    Reinforcement learning plays beside learning, in a thread that would use the GPU while a graph is recorded, and
    several processes exchange gradients within backward: neither is recorded, whatever the config says.
    """
    able = device.type == "cuda" and config.algorithm == "bc" and processes == 1
    small = config.flops_per_sample * config.samples_per_update <= GRAPHED
    wanted = config.compile == "graphs" or (config.compile == "auto" and compiles(config, device) and small)
    return able and wanted


class LearningPolicy(nn.Module):
    """Called as the policy whose weights it has, for training steps alone.

    Of a policy with an LSTM all that comes before the core is compiled, for cuDNN runs the core as it is; any other
    policy is compiled whole. Torch keeps on the disk what it compiled, for later processes too.

    CUDA graphs are of what is compiled. Their results lie in memory that the next step writes over: the memory of the
    policy, which is kept until then, is copied.
    """

    def __init__(self, policy: FamilyPolicy, *, compile: bool, graphs: bool = False) -> None:
        """Compiling is tried with the first batch; what fails is left out: the graphs, then all of it.

        policy: whose weights these are.
        compile: whether to compile anything.
        graphs: whether to record what is compiled as CUDA graphs.
        """
        super().__init__()
        self.policy = policy
        self.tell: Tell = lambda sentence, seconds: None
        self._features: Features = policy.features
        self._ways = [way for way, wanted in ((True, compile and graphs), (False, compile)) if wanted]
        """Of compiling, with graphs or without, in the order in which they are tried."""
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
        for graphs in self._ways:
            features = _compiled(self.policy, graphs)
            try:
                self._check(features, batch, state) if graphs else self._pass(features, batch, state)
            except (torch.OutOfMemoryError, MemoryError):
                if not graphs:
                    raise
                reason = "there is no memory for them"
            except Exception as error:  # compilers raise what they like
                cause = getattr(error, "inner_exception", error)
                reason = f"{type(cause).__name__}: {str(cause).strip().partition(chr(10))[0]}"
            else:
                self._features = features
                seconds, kept = time.perf_counter() - begun, os.environ.get("TORCHINDUCTOR_CACHE_DIR")
                recorded = ", its steps are CUDA graphs" if graphs else ""
                message = f"the policy is compiled, in {seconds:.0f} s{recorded}"
                message += f"; torch keeps it in {kept}." if kept else "."
                break
            if graphs:
                torch.compiler.reset()  # frees what was recorded
                self.tell(f"its steps cannot be CUDA graphs ({reason}); it is compiled without.", 0.0)
            message = f"the policy cannot be compiled ({reason}); the run goes on uncompiled."
        for buffer, before in buffers:
            buffer.data.copy_(before)
        self.tell(message, time.perf_counter() - begun)

    def _pass(
        self, features: Features, batch: Mapping[str, Tensor], state: tuple[Tensor, ...]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Features of a batch, the only ones of their list, and a gradient of the weights."""
        weights = [weight for weight in self.policy.parameters() if weight.requires_grad]
        x, _ = features(batch, state)
        gradients = torch.autograd.grad(x, weights, torch.ones_like(x), allow_unused=True)
        return [x.detach()], [gradient for gradient in gradients if gradient is not None]

    def _check(self, features: Features, batch: Mapping[str, Tensor], state: tuple[Tensor, ...]) -> None:
        """Raise RuntimeError unless graphs, when they are replayed with another batch, compute what the policy does."""
        for _ in range(2):  # the first pass warms up, the second one is recorded
            self._pass(features, batch, state)
        other = {name: part.flip(0) for name, part in batch.items()}
        memory = tuple(part.flip(0) for part in state)
        wanted = self._pass(self.policy.features, other, memory)
        found = self._pass(features, other, memory)
        for name, far, ours, theirs in zip(("features", "gradients"), _OFF, found, wanted, strict=True):
            pairs = list(zip(ours, theirs, strict=True))
            apart = sum(float((a.double() - b.double()).square().sum()) for a, b in pairs) ** 0.5
            size = sum(float(b.double().square().sum()) for _, b in pairs) ** 0.5
            if not apart <= far * size:
                raise RuntimeError(f"replayed, their {name} are {apart / max(size, 1e-30):.0%} off")


def _compiled(policy: FamilyPolicy, graphs: bool = False) -> Features:
    compile = functools.partial(
        torch.compile, backend=BACKEND, dynamic=False, fullgraph=True, mode="reduce-overhead" if graphs else None
    )
    if isinstance(policy, NetHackPolicy) and isinstance(policy.core, LstmCore):
        # The core runs in cuDNN, in a number of stretches that changes.
        lstm = functools.partial(policy.features, see=compile(policy.see))
        return _stepwise(lstm) if graphs else lstm
    features = compile(policy.features)

    def whole(batch: Mapping[str, Tensor], state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        start = batch["start"].to(batch["previous"].device, non_blocking=True)
        return features({**batch, "start": start}, state)

    return _stepwise(whole) if graphs else whole


def _stepwise(features: Features) -> Features:
    """The same where graphs are replayed: each call begins a step, and the memory after it outlives the step."""

    def one(batch: Mapping[str, Tensor], state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        torch.compiler.cudagraph_mark_step_begin()
        x, state = features(batch, state)
        return x, tuple(part.clone() for part in state)

    return one
