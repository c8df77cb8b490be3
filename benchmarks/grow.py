"""A start for further training, made of a VLAE: with more blocks, or for grey images.

    python benchmarks/grow.py CODEC OUT --layers N      # new blocks add next to nothing at first
    python benchmarks/grow.py CODEC OUT --grey          # sees three equal channels, and codes the first of an RGB codec

`bbcodec train --init-from OUT` goes on from there.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch

from bbcodec.codec.codec import Codec, PixelFormat
from bbcodec.codec.file import load_codec, save_codec
from bbcodec.models.vlae import Vlae

FAINT = 0.05  # of what a new block's initial weights would add


def grown(codec: Codec, layers: int) -> Vlae:
    """The network of a codec with `layers` blocks, the last of them new."""
    old = codec.backend.model  # type: ignore[attr-defined]  # of a codec that was loaded without its engine
    if not isinstance(old, Vlae) or layers <= old.config.layers:
        sys.exit(f"expected a VLAE of fewer than {layers} blocks")
    torch.manual_seed(0)
    new = Vlae(replace(old.config, layers=layers))
    with torch.no_grad():
        for block in new.local.blocks[old.config.layers :]:  # type: ignore[union-attr]
            block.pointwise.weight.mul_(FAINT)
    state = old.state_dict()
    new.load_state_dict({name: state.get(name, value) for name, value in new.state_dict().items()})
    return new


def greyed(codec: Codec) -> Vlae:
    """The network of an RGB codec, for grey images: red's parameters, from inputs that are all equal."""
    old = codec.backend.model  # type: ignore[attr-defined]  # of a codec that was loaded without its engine
    if not isinstance(old, Vlae) or not old.config.joint or old.config.latent_channels:
        sys.exit("expected a VLAE for RGB, with joint components and without latents")
    torch.manual_seed(0)
    new = Vlae(replace(old.config, channels=1, joint=False))
    count = old.config.components
    first = torch.cat([torch.arange(count) + group * count for group in (0, 1, 4)])  # weights, means, scales
    state = {}
    for name, weight in old.state_dict().items():
        if name.startswith(("local.head", "local.skip")) and len(weight) == 10 * count:
            weight = weight[first]
        if weight.dim() == 4 and weight.shape[1] == 4:  # of pixels: three channels, and whether there is a pixel
            weight = torch.cat([weight[:, :3].sum(1, keepdim=True), weight[:, 3:]], 1)
        state[name] = weight
    new.load_state_dict(state)
    return new


def main() -> None:
    """Write the new codec."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("codec", help="name or file")
    parser.add_argument("out", type=Path)
    change = parser.add_mutually_exclusive_group(required=True)
    change.add_argument("--layers", type=int, help="blocks of the new codec")
    change.add_argument("--grey", action="store_true", help="make it one for grey images")
    options = parser.parse_args()
    codec = load_codec(options.codec, "cpu", engine=False)
    model = greyed(codec) if options.grey else grown(codec, options.layers)
    pixels = PixelFormat(model.config.channels, model.config.levels)
    options.out.write_bytes(save_codec(model, "vlae", model.config, pixels, codec.card))


if __name__ == "__main__":
    main()
