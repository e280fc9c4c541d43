"""One process or several: plain DDP under torchrun, or nothing at all."""

import datetime
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from training.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Place:
    """Which process of how many this is, and where it computes."""

    rank: int
    """Number of this process, from 0."""
    world: int
    """How many processes train together."""
    device: torch.device
    """Where it computes."""

    @property
    def leads(self) -> bool:
        """Whether this process writes, measures and talks."""
        return self.rank == 0

    def wrap(self, policy: nn.Module) -> Callable[..., Any]:
        """The policy, its gradients averaged over processes."""
        # Without device_ids inputs stay where they are: `start` is wanted on the host (`to_device`).
        return policy if self.world == 1 else DistributedDataParallel(policy)

    def sum(self, value: Tensor) -> Tensor:
        """Sum over processes."""
        if self.world > 1:
            dist.all_reduce(value)
        return value

    def any(self, flag: bool) -> bool:
        """Whether it is so in any process."""
        return bool(self.sum(torch.tensor(float(flag), device=self.device)) > 0) if self.world > 1 else flag

    def slots(self, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Memory of the whole batch from each process's share [b, ...], slot s being of process s mod world."""
        if self.world == 1:
            return state
        whole = []
        for part in state:
            parts = [torch.empty_like(part) for _ in range(self.world)]
            dist.all_gather(parts, part.contiguous())
            whole.append(torch.stack(parts, dim=1).flatten(0, 1))
        return tuple(whole)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.world > 1:
            dist.barrier()


@contextmanager
def place() -> Iterator[Place]:
    """This process's place: as torchrun says, else alone; on a GPU where there is one.

    Raises ConfigError where there are more processes than GPUs.
    """
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    gpus = torch.cuda.device_count()
    if gpus and local >= gpus:
        raise ConfigError(f"there are {gpus} GPUs for more processes; start torchrun with --nproc-per-node {gpus}.")
    device = torch.device("cuda", local) if gpus else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if world == 1:
        yield Place(rank=0, world=1, device=device)
        return
    # One process measures while the others wait; that may take longer than the default.
    dist.init_process_group("nccl" if gpus else "gloo", timeout=datetime.timedelta(hours=6))
    try:
        yield Place(rank=rank, world=world, device=device)
    finally:
        dist.destroy_process_group()
