"""Data-parallel training: this process among several that train the same model, as `torchrun` starts them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from bbcodec.codec.device import check_device


@dataclass(frozen=True)
class Process:
    """One process among `ranks`, and its device. Rank 0 alone logs, validates and writes files."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    rank: int = 0
    ranks: int = 1

    def broadcast(self, value: Any) -> Any:
        """The value of rank 0."""
        values = [value]
        if self.ranks > 1:
            dist.broadcast_object_list(values)
        return values[0]

    def broadcast_number(self, value: float) -> float:
        """The number of rank 0; quicker than `broadcast`."""
        if self.ranks == 1:
            return value
        number = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.broadcast(number, 0)
        return number.item()

    def mean(self, value: Tensor) -> float:
        """The mean over all ranks of a tensor of one number, which is overwritten."""
        if self.ranks > 1:
            dist.all_reduce(value)
        return value.item() / self.ranks

    def data_parallel(self, module: nn.Module) -> nn.Module:
        """The module, its gradients averaged over all ranks."""
        return DistributedDataParallel(module) if self.ranks > 1 else module


@contextmanager
def torchrun_process(device: str) -> Iterator[Process]:
    """This process as `torchrun` describes it, its process group open; without torchrun rank 0 of 1.

    device: `cpu`, `cuda`, or `auto`: CUDA where there is one. Raises InputError where there is no such device.
    """
    check_device(device)
    on_cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    ranks, local_rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    place = torch.device("cuda", local_rank) if on_cuda else torch.device("cpu")
    if ranks == 1:
        yield Process(place)
        return
    dist.init_process_group("nccl" if on_cuda else "gloo")
    try:
        yield Process(place, dist.get_rank(), ranks)
    finally:
        dist.destroy_process_group()
