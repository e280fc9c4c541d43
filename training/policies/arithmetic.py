"""Which device and number type a policy computes with, its batches there, and how fast products are."""

import ctypes
import sys
import time
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from training.config.base import TrainingConfig

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Options of glibc's mallopt."""


def precision(config: TrainingConfig, device: torch.device) -> torch.dtype:
    """The arithmetic of a run on this device."""
    able = device.type == "cuda" and torch.cuda.is_bf16_supported()
    wanted = {"auto": able, "bfloat16": True, "float32": False}[config.precision]
    return torch.bfloat16 if wanted else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """A context in which matrix products are of this type."""
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def to_device(arrays: Mapping[str, np.ndarray | Tensor], device: torch.device) -> dict[str, Tensor]:
    """A batch as tensors, copied without waiting for the GPU.

    `start` stays on the host: the LSTM asks for it there, where it need not wait either.
    """
    tensors = {
        name: array if isinstance(array, Tensor) else torch.from_numpy(np.ascontiguousarray(array))
        for name, array in arrays.items()
    }
    if device.type == "cpu":
        return tensors
    if device.type == "cuda":  # from pinned memory alone a copy goes on beside what the host does
        tensors = {name: tensor if tensor.is_cuda else tensor.pin_memory() for name, tensor in tensors.items()}
    return {
        name: tensor if name == "start" else tensor.to(device, non_blocking=True) for name, tensor in tensors.items()
    }


def keep_memory() -> None:
    """Keep what is freed for what is allocated next, instead of giving large blocks back to the system each time.

    A step frees and allocates the same hundreds of megabytes, and the system clears each page that it gives: a quarter
    of a step of an Atari policy on a CPU (benchmarks/LOG.md). For the whole process, with the C library of Linux alone.
    """
    if sys.platform == "linux":
        allocate = getattr(ctypes.CDLL(None), "mallopt", lambda option, value: 0)  # musl has none
        for option, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1)):
            allocate(option, value)


def matrix_rate(device: torch.device, dtype: torch.dtype, seconds: float = 0.3) -> float:
    """Measured FLOP/s of square matrix products, which no training exceeds."""
    size = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))

    def clock() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    for _ in range(3):
        torch.mm(a, b)
    best, end = float("inf"), clock() + seconds
    while clock() < end:
        begun = clock()
        torch.mm(a, b)
        best = min(best, clock() - begun)
    return 2 * size**3 / best
