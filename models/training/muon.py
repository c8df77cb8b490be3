"""Muon: momentum whose updates are made orthogonal (Jordan et al. 2024), for the inner weights of a network.

Where Adam scales each weight by itself, Muon gives all directions of a weight matrix the same step. The codecs here
learn about twice as fast with it. Biases stay with Adam, as do the first and last layers, whose channels differ in
scale.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from bbcodec.exact.layers import exact_layers

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # coefficients of the quintic that drives singular values towards 1
ITERATIONS = 5
NARROW = 16  # weights with fewer input or output channels are left to Adam
OUTER = ("head", "skip", "stem")  # in names of layers whose inputs or outputs are not activations


def orthogonalised(matrix: Tensor) -> Tensor:
    """A matrix (R, C) with the same singular vectors and singular values between about 0.7 and 1.2."""
    a, b, c = NEWTON_SCHULZ
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x: Tensor = wide / (wide.norm() + 1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if matrix.shape[0] <= matrix.shape[1] else x.T


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, made orthogonal: weights (C', ...) are matrices of C' rows. lr: of a square matrix.

    Steps are as long whatever the weights, which grow in long runs until a step changes little: so they lose the share
    lr * weight_decay in each step (Liu et al. 2025, section 2.2).
    """

    def __init__(
        self, params: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        """params: of two dimensions or more."""
        super().__init__(params, {"lr": lr, "momentum": momentum})
        self.weight_decay = weight_decay

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One step from the gradients; `closure` is not called."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                momentum = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
                momentum.lerp_(weight.grad, 1 - group["momentum"])
                update = weight.grad.lerp(momentum, group["momentum"]).flatten(1)
                scale = max(1.0, update.shape[0] / update.shape[1]) ** 0.5
                weight.mul_(1 - group["lr"] * self.weight_decay)
                weight.add_(orthogonalised(update).view_as(weight), alpha=-group["lr"] * scale)


def inner_weights(model: nn.Module) -> list[nn.Parameter]:
    """The weights for Muon: of exact layers from activations to activations that are not narrow."""
    return [
        layer.weight
        for name, layer in exact_layers(model).items()
        if layer.weight.requires_grad
        and not any(word in name.rsplit(".", 1)[-1] for word in OUTER)
        and layer.weight.dim() >= 2
        and min(layer.weight.shape[:2]) >= NARROW
    ]
