"""The attentive VAE once more in numpy int64, as docs/coding.md, section 13, says it: every latent and all pixels."""

import math

import numpy as np
import oracle
import pytest
import torch
from test_attention import read_one
from test_normalisation import normalised_oracle

from bbcodec.exact.arithmetic import guard
from bbcodec.exact.layers import exact_parts
from bbcodec.models.attentive import Attentive, AttentiveConfig

silu = oracle.table(lambda r: r / (1 + math.exp(-r)))
tanh = oracle.table(math.tanh)
sigmoid = oracle.table(lambda r: 1 / (1 + math.exp(-r)))
gelu = oracle.table(lambda r: r * (1 + math.erf(r / math.sqrt(2))) / 2)
SIZES = {"layers": 4, "latent_channels": 2, "width": 6, "key_channels": 3, "tile": 2, "cells": 2, "steps_per_unit": 4}


class Page:
    """The section, over the tensors of a codec file; maps are int64 (B, C, H, W)."""

    def __init__(self, model: Attentive) -> None:
        self.config = model.config
        self.layers = {}
        for name, part in exact_parts(model).items():
            part.freeze()
            weight, bias, scale = (part.stored()[key].numpy().astype(np.int64) for key in ("weight", "bias", "scale"))
            self.layers[name] = oracle.Whole(weight, bias, scale)

    def conv(self, name: str, x: oracle.Ints, stride: int = 1) -> oracle.Ints:
        return oracle.conv(self.layers[name], x, stride)

    def scaled(self, name: str, x: oracle.Ints) -> oracle.Ints:
        """A scale of the channels of maps, or one for all."""
        layer = self.layers[name]
        total = x * layer.weight[:, :1, None] + layer.bias[:, None, None]
        return oracle.divided(total, layer.shift[:, None, None])

    def cell(self, name: str, h: oracle.Ints) -> oracle.Ints:
        for n in range(self.config.cells):
            h = oracle.gated(tanh, sigmoid, h, self.conv(f"{name}.units.{n}.conv", h), 1)
        if not self.config.nonlocal_blocks or name.startswith("features"):
            return h
        out, side = h.copy(), self.config.tile
        for i in range(0, h.shape[2], side):
            for j in range(0, h.shape[3], side):
                square = h[:, :, i : i + side, j : j + side]
                read = self.everywhere(f"{name}.everywhere.attention", square)
                out[:, :, i : i + side, j : j + side] = oracle.clamped(square + read)
        return out

    def everywhere(self, name: str, h: oracle.Ints) -> oracle.Ints:
        places = h.reshape(*h.shape[:2], -1).transpose(0, 2, 1)
        q = oracle.clamped(oracle.linear(self.layers[f"{name}.query"], places))
        pairs = oracle.clamped(oracle.linear(self.layers[f"{name}.pair"], places))
        k, v = np.split(pairs, 2, -1)
        y = [[read_one(one, k[b].tolist(), v[b].tolist()) for one in q[b].tolist()] for b in range(len(q))]
        joined = oracle.linear(self.layers[f"{name}.join"], np.array(y, np.int64))
        return joined.transpose(0, 2, 1).reshape(h.shape)

    def lift(self, name: str, x: oracle.Ints) -> oracle.Ints:
        n = normalised_oracle(np.ascontiguousarray(x.transpose(0, 2, 3, 1))).transpose(0, 3, 1, 2)
        return oracle.clamped(x + gelu(oracle.clamped(self.scaled(f"{name}.norm", n))))

    def memory(self, name: str, h: oracle.Ints) -> tuple[oracle.Ints, oracle.Ints]:
        return oracle.clamped(self.conv(f"{name}.key", h)), self.lift(f"{name}.lift", h)

    def depth(self, name: str, h: oracle.Ints, asks: oracle.Ints, memories: list) -> oracle.Ints:
        if f"{name}.query" not in self.layers:
            return h
        q, y = oracle.clamped(self.conv(f"{name}.query", asks)), np.zeros_like(h)
        for b, i, j in np.ndindex(h.shape[0], *h.shape[2:]):
            places = ([x[b, :, i, j].tolist() for x in part] for part in zip(*memories, strict=True))
            y[b, :, i, j] = read_one(q[b, :, i, j].tolist(), *places)
        return oracle.clamped(h + self.scaled(f"{name}.gamma", self.lift(f"{name}.lift", y)))

    def features(self, pixels: oracle.Ints) -> tuple[list[oracle.Ints], list]:
        h = np.concatenate([(2 * pixels - 1) * 256, np.full_like(pixels, 256)], 1)
        for n in range(2):
            h = silu(self.conv(f"halvings.{n}", h, 2))
        maps, memories = [], []
        for n in reversed(range(self.config.layers)):
            h = self.cell(f"features.{n}.cell", h)
            maps.insert(0, h)
            if self.config.depth_posterior:
                memories.insert(0, self.memory(f"features.{n}.memory", h))
        return maps, memories

    def run(self, pixels: oracle.Ints, latents: list[oracle.Ints]) -> list[oracle.Ints]:
        """Outputs of the heads of the prior and posterior of each layer, and of the pixels."""
        maps, below = self.features(pixels)
        shape = len(pixels), 1, *maps[0].shape[2:]
        c, above, out = silu(self.conv("start", np.full(shape, 256))), [], []
        for n in range(len(latents)):
            name = f"layers.{n}"
            if n:
                c = oracle.clamped(c + self.conv(f"{name}.lift", latents[n - 1] * 64))
            own = c = self.cell(f"{name}.cell", c)
            if n > 1:
                c = self.depth(f"{name}.prior_attention", own, own, above)
            if f"{name}.memory.key" in self.layers:
                above.append(self.memory(f"{name}.memory", own))
            f = self.depth(f"{name}.posterior_attention", maps[n], c, below[n:])
            look = self.cell(f"{name}.look", silu(self.conv(f"{name}.join", np.concatenate([f, c], 1))))
            out += [self.conv(f"{name}.prior_head", c), self.conv(f"{name}.posterior_head", look)]
        h = self.cell("cell", oracle.clamped(c + self.conv("lift", latents[-1] * 64)))
        for n, (rows, columns) in enumerate([(3, 5), pixels.shape[2:]]):
            h = silu(oracle.transposed_conv(self.layers[f"doublings.{n}"], h))[:, :, :rows, :columns]
        return [*out, self.conv("pixel_head", h)]


@pytest.mark.parametrize(
    "changes", [{}, {"depth_prior": False}, {"depth_posterior": False}, {"nonlocal_blocks": False}]
)
def test_the_hierarchy_agrees_with_the_oracle(changes):
    """Means and log sigmas of all priors and posteriors, and the logits, of 5 x 9 images: 2 x 3 latents a layer."""
    torch.manual_seed(0)
    model = Attentive(AttentiveConfig(**SIZES, **changes))
    with torch.no_grad():
        for part in exact_parts(model).values():
            part.weight.normal_(0, 0.4)
            part.bias.normal_(0, 0.3)
    page = Page(model)
    pixels = torch.randint(0, 2, (2, 1, 5, 9)).float()
    latents = [torch.randint(-9, 10, (2, 2, 2, 3)).float() for _ in range(4)]
    expected = page.run(pixels.numpy().astype(np.int64), [z.numpy().astype(np.int64) for z in latents])
    found = []
    with torch.no_grad(), guard():
        program = model.program(pixels.shape, pixels)
        site = next(program)
        for z in latents:
            for part in (site.prior(), site.posterior()):
                found.append(torch.cat([part.mean, part.log_sigma], 1))
            site = program.send(z)
        (logits,) = site.likelihood().family.parameters()
    for one, other in zip([*found, logits.permute(0, 3, 1, 2)], expected, strict=True):
        assert np.array_equal(one.numpy(), other)
        assert len(np.unique(other)) > 5
