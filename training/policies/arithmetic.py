"""Which device and number type a policy computes with, and its batches there."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from training.config.base import TrainingConfig


def precision(config: TrainingConfig, device: torch.device) -> torch.dtype:
    """The arithmetic of a run on this device."""
    able = device.type == "cuda" and torch.cuda.is_bf16_supported()
    wanted = {"auto": able, "bfloat16": True, "float32": False}[config.precision]
    return torch.bfloat16 if wanted else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """A context in which matrix products are of this type."""
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def to_device(arrays: Mapping[str, np.ndarray], device: torch.device) -> dict[str, Tensor]:
    """A batch as tensors; `start` stays on the host, where the LSTM asks for it without waiting for the GPU."""
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
    if device.type != "cuda":
        return tensors
    return {
        name: tensor if name == "start" else tensor.pin_memory().to(device, non_blocking=True)
        for name, tensor in tensors.items()
    }
