"""What families share: parameters that are whole numbers, kernels, and clamps and floors for the loss."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bbcodec.coder import tables
from bbcodec.coder.ans import AnsStack
from bbcodec.coder.kernels.arithmetic import log2_all, to_whole
from bbcodec.distributions.base import Distribution
from bbcodec.errors import CoderError

Integers = npt.NDArray[Any]


def whole(x: Tensor) -> npt.NDArray[np.int32]:
    """Exact whole numbers in floats -> int32 on the host, in C order. Raises CoderError for any other number."""
    numbers = np.ascontiguousarray(x.detach().cpu().numpy())
    integers = np.empty(numbers.shape, np.int32)
    if not to_whole(numbers.reshape(-1), integers.reshape(-1)):
        raise CoderError(f"a tensor of shape {tuple(x.shape)} cannot be coded: not all of its numbers are whole")
    return integers


def log2s(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """log2 of whole numbers from 1 to 2**36 - 1, in units of 2**-24, within one unit."""
    out = np.empty_like(numbers, order="C")
    log2_all(np.ascontiguousarray(numbers).reshape(-1), out.reshape(-1), tables.LOG2)
    return out


class Kernels(Protocol):
    """A module of `bbcodec.coder.kernels` that has the kernels of one family."""

    push: Callable[..., int]
    pop: Callable[..., int]
    information: Callable[..., int]


class WholeDistribution(Distribution):
    """A distribution whose parameters are whole numbers."""

    site: tuple[int, ...] = ()  # shape of what one row of parameters codes: () for one symbol, (C,) for a pixel

    @abstractmethod
    def parameters(self) -> tuple[Tensor, ...]:
        """The tensors that define the distribution; axis 0 is the batch."""

    @abstractmethod
    def with_parameters(self, *parameters: Tensor) -> Self:
        """A distribution like this one with other parameters, perhaps for another batch."""

    @abstractmethod
    def rows(self) -> tuple[Integers, ...]:
        """Parameters as they are coded with: arrays of integers with one row a site, sites in C order."""

    def select(self, images: Tensor) -> Self:
        """The distribution of the images of the batch with these indices, (N,) int64."""
        return self.with_parameters(*(p[images] for p in self.parameters()))

    def nearly(self, value: Tensor) -> Tensor | None:
        """An approximate `log_prob` of N values (N, ...) under each row of the batch, (N, B) nats, if there is one."""
        return None

    def _symbols(self, value: Tensor) -> npt.NDArray[np.int32]:
        if value.shape != self.shape:
            raise ValueError(f"value has shape {tuple(value.shape)}, the distribution {tuple(self.shape)}")
        return whole(value).reshape(-1, *self.site)


class KernelDistribution(WholeDistribution):
    """A distribution coded symbol by symbol, in C order, by the kernels of its family."""

    kernels: ClassVar[Kernels]

    @abstractmethod
    def shared(self) -> tuple[Any, ...]:
        """Arguments of the kernels that are the same for all sites."""

    def push(self, stack: AnsStack, value: Tensor) -> None:
        """Put `value` on the stack. Raises CoderError for a value outside the support."""
        stack.push(self.kernels.push, self._symbols(value), self.rows(), *self.shared())

    def pop(self, stack: AnsStack) -> Tensor:
        """Take a value off the stack. Raises StackUnderflow, and leaves the stack as it was, if it holds too little."""
        symbols = np.empty((self.shape.numel() // math.prod(self.site), *self.site), np.int32)
        stack.pop(self.kernels.pop, symbols, self.rows(), *self.shared())
        value = torch.from_numpy(symbols.astype(np.float32)).view(self.shape)
        return value.to(self.parameters()[0].device) if self.parameters() else value

    def information(self, value: Tensor) -> np.ndarray:
        """What `push` costs each image: (B,) int64, in whole units of 2**-24 bits. Raises CoderError as `push` does."""
        symbols = self._symbols(value)
        out = np.empty(symbols.shape, np.int64)
        if self.kernels.information(symbols, out, *self.rows(), *self.shared()) < 0:
            raise CoderError("a symbol lies outside the support of its distribution")
        total: npt.NDArray[np.int64] = out.reshape(self.shape[0], self.shape[1:].numel()).sum(1)
        return total


class _Bounded(torch.autograd.Function):
    """A clamp whose gradient passes where a descent step leads back inside."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.low, ctx.high = low, high
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        outward = ((x > ctx.high) & (gradient < 0)) | ((x < ctx.low) & (gradient > 0))
        return gradient.masked_fill(outward, 0), None, None


def bounded(x: Tensor, low: float, high: float) -> Tensor:
    """`x` clamped to low..high; outside, only gradients that lead back inside pass.

    A plain clamp has no gradient outside, so a parameter that once left its range could never return.
    """
    result: Tensor = _Bounded.apply(x, low, high)  # type: ignore[no-untyped-call]
    return result


def floored(log_p: Tensor, symbols: int, precision_bits: int) -> Tensor:
    """Log of the probability that is coded, (1 - symbols * 2**-P) * p + 2**-P, from log p; nats.

    The gradient is that of log p: the true one vanishes where p is below 2**-P, and nothing could be learned there.
    """
    floor = -precision_bits * math.log(2)
    inside = log_p.detach() + math.log1p(-symbols * 2.0**-precision_bits)
    coded = torch.logaddexp(inside, torch.full_like(inside, floor))
    return coded + (log_p - log_p.detach())


def floor(x: Tensor) -> Tensor:
    """`x` rounded down, with the gradient of `x` itself."""
    return x + (x.floor() - x).detach()


def real(x: Tensor) -> Tensor:
    """`x` in float32, or float64 if it is: half precision cannot hold the whole numbers that families take."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def per_image(x: Tensor) -> Tensor:
    """Sums over all axes but the first, (B,)."""
    return x.flatten(1).sum(1) if x.dim() > 1 else x
