"""Data-parallel training: this process among several that train the same model, as `torchrun` starts them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

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

    # DistributedDataParallel keeps the group's threads until Python ends, which can abort a process.

    @torch.no_grad()
    def share_weights(self, module: nn.Module) -> None:
        """Give a module the weights of rank 0."""
        if self.ranks == 1:
            return
        weights = list(module.parameters())
        flat = torch.cat([weight.flatten() for weight in weights])
        dist.broadcast(flat, 0)
        for weight, shared in zip(weights, _apart(flat, weights), strict=True):
            weight.copy_(shared)

    def average_gradients(self, module: nn.Module) -> None:
        """Replace gradients by their means over all ranks, which must have them for the same weights."""
        if self.ranks == 1:
            return
        gradients = [weight.grad for weight in module.parameters() if weight.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        for gradient, mean in zip(gradients, _apart(flat / self.ranks, gradients), strict=True):
            gradient.copy_(mean)


def _apart(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    parts = torch.split(flat, [tensor.numel() for tensor in like])
    return [part.view_as(tensor) for part, tensor in zip(parts, like, strict=True)]


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
