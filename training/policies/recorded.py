"""A pass over single frames of many games, recorded once as a CUDA graph and replayed for every frame.

A pass launches about a hundred kernels, which takes the host longer than the GPU needs to compute them. It is recorded
in the first rollout, which is played before learning begins: nothing else may use the GPU meanwhile.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from training.config.base import TrainingConfig

Look = Callable[[Mapping[str, Tensor], tuple[Tensor, ...]], tuple[Tensor, Tensor, tuple[Tensor, ...]]]
"""Log probabilities [games, actions], values [games] and the memory after frames [games, 1, ...] and a memory."""
_WARM = 3  # passes before the recorded one, in which libraries choose their ways and allocate what they keep
_OFF = 0.05
"""How far the results of a replay may be from those of the pass itself, relative to their norm."""


def acts_recorded(config: TrainingConfig, device: torch.device) -> bool:
    """Whether playing is recorded on this device: on a GPU, where the run asks for graphs."""
    return device.type == "cuda" and config.compile == "graphs"


class RecordedLook:
    """Called as the pass that it records, with as many games. The weights are read anew at every replay."""

    def __init__(self, look: Look, batch: Mapping[str, Tensor], memory: tuple[Tensor, ...]) -> None:
        """Record a pass, on the device of `previous` in the batch.

        Raises RuntimeError where it cannot be recorded, or where a replay with other games computes something else.
        """
        device = batch["previous"].device
        # The graph reads from and writes to memory of its own.
        self._batch = {name: part.to(device, copy=True) for name, part in batch.items()}
        self._memory = tuple(part.clone() for part in memory)
        self._replay, self._results = record(lambda: look(self._batch, self._memory))
        self._check(look, batch, memory)

    def __call__(
        self, batch: Mapping[str, Tensor], memory: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """The results of a replay, in memory that later ones leave alone."""
        for name, part in batch.items():
            self._batch[name].copy_(part, non_blocking=True)
        for own, part in zip(self._memory, memory, strict=True):
            own.copy_(part)
        self._replay()
        log_probs, value, after = self._results
        return log_probs.clone(), value.clone(), tuple(part.clone() for part in after)

    def _check(self, look: Look, batch: Mapping[str, Tensor], memory: tuple[Tensor, ...]) -> None:
        # Mirrored screens, for games may begin with the same one.
        other = {name: part.flip(0, -1) if part.dim() > 3 else part.flip(0) for name, part in batch.items()}
        wanted, found = (_flat(way(other, memory)) for way in (look, self))
        for ours, theirs in zip(found, wanted, strict=True):
            apart, size = (float(x.double().norm()) for x in (ours.double() - theirs.double(), theirs))
            if not apart <= _OFF * max(size, 1e-6):
                raise RuntimeError(f"replayed, its results are {apart / max(size, 1e-6):.0%} off")


def record(once: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
    """What computes again, and where its results are then: `once` as a CUDA graph."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(_WARM):
            once()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        results = once()
    return graph.replay, results


def _flat(results: tuple[Tensor, Tensor, tuple[Tensor, ...]]) -> list[Tensor]:
    log_probs, value, memory = results
    return [log_probs, value, *memory]
