"""Batches where the policy computes, each copied while the one before it is learned from."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

from training.batches.streams import Batch
from training.policies.arithmetic import to_device


def prefetched(batches: Iterator[Batch], device: torch.device) -> Iterator[dict[str, Tensor]]:
    """The batches as tensors on the device, in their order; on a GPU one more is read than is taken."""
    if device.type == "cpu":
        for arrays in batches:
            yield to_device(arrays, device)
        return
    side = torch.cuda.Stream(device) if device.type == "cuda" else None
    coming = _copied(next(batches), device, side)
    while True:
        batch = coming
        if side is not None:
            now = torch.cuda.current_stream(device)
            now.wait_stream(side)  # the GPU waits, not the host
            for tensor in batch.values():
                if tensor.is_cuda:
                    tensor.record_stream(now)  # its memory is not free before this stream is done with it
        coming = _copied(next(batches), device, side)
        yield batch


def _copied(arrays: Batch, device: torch.device, side: torch.cuda.Stream | None) -> dict[str, Tensor]:
    """A batch whose copy has begun, beside what the GPU computes."""
    with torch.cuda.stream(side) if side is not None else contextlib.nullcontext():
        return to_device(arrays, device)
