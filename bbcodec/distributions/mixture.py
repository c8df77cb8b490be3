"""Mixture of whole images, coded by bits-back over the index of the component."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bbcodec.coder import tables
from bbcodec.coder.ans import AnsStack
from bbcodec.coder.kernels.arithmetic import INFORMATION_BITS
from bbcodec.distributions.base import Distribution
from bbcodec.distributions.categorical import Categorical
from bbcodec.distributions.coding import KernelDistribution, log2s, real, whole

PRECISION_BITS = 28  # of the index
LOG_WEIGHT_UNIT = 256  # log weights are worth 1/LOG_WEIGHT_UNIT nat
NEAR = 8  # components of each image whose log-probabilities are computed exactly
PAIR_VALUES = 2**21  # of images times components, processed at once: some 100 MB


class Mixture(Distribution):
    """Each image comes from one of K components, with probability w_k: p(x) = sum_k w_k p_k(x).

    log_weights: (K,) whole numbers in floats, worth 1/256 nat, not normalised; K up to 2,048.
    components: a distribution whose axis 0 counts the components instead of images, (K, ...), the same for all images.
    batch: number of images. Values: (batch, ...), as of the components.

    To push an image, an index k is popped under the responsibilities p(k | x), the image pushed under p_k, and k pushed
    under the weights (Townsend et al. 2019): the net cost is -log2 p(x), whatever k is. Both directions pop.
    """

    def __init__(self, log_weights: Tensor, components: KernelDistribution, batch: int) -> None:
        """log_weights: (K,); components: (K, ...); batch: images. Raises ValueError where K differs or is too large."""
        count = components.shape[0]
        if log_weights.shape != (count,) or not 1 <= count <= 2048:
            raise ValueError(f"log_weights has shape {tuple(log_weights.shape)} for {count} components; at most 2048")
        self.log_weights, self.components = real(log_weights), components
        self.shape = torch.Size((batch, *components.shape[1:]))

    def _pairs(self, value: Tensor) -> tuple[KernelDistribution, Tensor]:
        """Every component with every image: distribution and value of batch * K, the image outermost."""
        count, device = self.components.shape[0], self.log_weights.device
        every = torch.arange(count, device=device).repeat(len(value))
        return self.components.select(every), value.repeat_interleave(count, 0)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of each image: value (B, ...) of `shape` -> (B,) nats.

        Where the family has an approximation, it serves all components but the nearest, which are computed exactly.
        """
        each = self.components.nearly(value) if self.components.shape[0] > NEAR else None
        if each is None:
            pairs, values = self._pairs(value)
            return self._mixed(pairs.log_prob(values))
        nearest = (each.detach() + self.log_weights.detach() / LOG_WEIGHT_UNIT).topk(NEAR, 1).indices
        near = self.components.select(nearest.flatten()).log_prob(value.repeat_interleave(NEAR, 0))
        return self._mixed(each.scatter(1, nearest, near.view(nearest.shape)))

    def log_density(self, value: Tensor) -> Tensor:
        """The same for values between grid points: (B,) nats."""
        pairs, values = self._pairs(value)
        return self._mixed(pairs.log_density(values))

    def _mixed(self, log_p: Tensor) -> Tensor:
        """Log-probabilities of every image under every component, B * K of them, mixed: (B,)."""
        each = log_p.view(self.shape[0], -1)
        return torch.logsumexp(each + torch.log_softmax(self.log_weights / LOG_WEIGHT_UNIT, 0), 1)

    def rsample(self, generator: torch.Generator | None = None) -> Tensor:
        """A random value; differentiable in the components, not in the weights."""
        weights = torch.softmax(self.log_weights.detach() / LOG_WEIGHT_UNIT, 0)
        index = torch.multinomial(weights, self.shape[0], replacement=True, generator=generator)
        return self.components.select(index).rsample(generator)

    def push(self, stack: AnsStack, value: Tensor) -> None:
        """Put `value` on the stack. Raises CoderError for a value outside the support, StackUnderflow for too few bits.

        On failure the stack is left as it was.
        """
        self.push_measured(stack, value)

    def push_measured(self, stack: AnsStack, value: Tensor) -> np.ndarray:
        """`push`, and what it costs each image, net: (B,) int64, in whole units of 2**-24 bits."""
        responsibilities, costs = self._responsibilities(value)
        with stack.atomic():
            index = responsibilities.pop(stack)
            self._component(index).push(stack, value)
            self._weights().push(stack, index)
        return costs

    def pop(self, stack: AnsStack) -> Tensor:
        """Take a value off the stack. Raises StackUnderflow, and leaves the stack as it was, if it holds too little."""
        with stack.atomic():
            index = self._weights().pop(stack)
            value = self._component(index).pop(stack)
            self._responsibilities(value)[0].push(stack, index)
        return value

    def information(self, value: Tensor) -> np.ndarray:
        """-log2 p(x) of each image: (B,) int64, in whole units of 2**-24 bits; what `push` costs, net."""
        return self._responsibilities(value)[1]

    @property
    def _weight_bits(self) -> int:
        """Weights of indices are at most 2**this, so that K of them have a sum below 2**34."""
        return min(tables.EXP_BITS, 33 - self.components.shape[0].bit_length())

    def _weights(self) -> Categorical:
        """The distribution of the index, the same for every image."""
        log_weights = whole(self.log_weights).astype(np.int64)
        below = np.minimum(log_weights.max() - log_weights, tables.EXP_RANGE * LOG_WEIGHT_UNIT - 1)
        weights = tables.EXP_FRACTION[below % LOG_WEIGHT_UNIT] * tables.EXP_WHOLE[below // LOG_WEIGHT_UNIT]
        row = torch.from_numpy(weights >> (2 * tables.EXP_BITS - self._weight_bits))
        return Categorical(row.expand(self.shape[0], -1), PRECISION_BITS)

    def _component(self, index: Tensor) -> KernelDistribution:
        """The component of each image, as one distribution over the batch."""
        return self.components.select(index.long().to(self.log_weights.device))

    def _responsibilities(self, value: Tensor) -> tuple[Categorical, npt.NDArray[np.int64]]:
        """The distribution of the index given each image, and what the image costs, (B,) in 2**-24 bits.

        With c_k the cost of index and image under component k, responsibilities go with 2**-(c_k - min c), and the cost
        of the image is min c - log2 of their sum.
        """
        if value.shape != self.shape:
            raise ValueError(f"value has shape {tuple(value.shape)}, the distribution {tuple(self.shape)}")
        masses = np.diff(self._weights().rows()[0], axis=1)
        images = max(1, PAIR_VALUES // (masses.shape[1] * max(1, value[0].numel())))
        pairs = (self._pairs(part) for part in torch.split(value, images))
        cost = np.concatenate([one.information(values) for one, values in pairs]).reshape(masses.shape)
        cost = cost + (PRECISION_BITS << INFORMATION_BITS) - log2s(masses)
        least = cost.min(1, keepdims=True)
        weights = _power_of_half(cost - least) >> (tables.EXP_BITS - self._weight_bits)
        total = log2s(weights.sum(1)) - (self._weight_bits << INFORMATION_BITS)
        return Categorical(torch.from_numpy(weights), PRECISION_BITS), least[:, 0] - total


def _power_of_half(exponent: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """2**-exponent in 2**-31, for exponents >= 0 in 2**-24; the table is interpolated, values are truncated."""
    octaves, fraction = np.minimum(exponent >> INFORMATION_BITS, 63), exponent & ((1 << INFORMATION_BITS) - 1)
    i, t = fraction >> 12, fraction & 0xFFF  # 4,096 entries an octave
    fine: npt.NDArray[np.int64] = tables.EXP2[i] + ((tables.EXP2[i + 1] - tables.EXP2[i]) * t >> 12)
    result: npt.NDArray[np.int64] = fine >> octaves
    return result
