"""A codec of the VLAE with more 8-bit blocks, which add next to nothing at first: a start for further training.

    python benchmarks/grow.py CODEC OUT --layers N

`bbcodec train --init-from OUT` goes on from there.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch

from bbcodec.codec.codec import Codec
from bbcodec.codec.file import load_codec, save_codec
from bbcodec.models.vlae import Vlae

FAINT = 0.05  # of what a new block's initial weights would add


def grown(codec: Codec, layers: int) -> Vlae:
    """The network of a codec with `layers` blocks, the last of them new."""
    old = codec.backend.model  # type: ignore[attr-defined]  # of a codec that was loaded without its engine
    if not isinstance(old, Vlae) or not old.config.inner or layers <= old.config.layers:
        sys.exit(f"expected an 8-bit VLAE of fewer than {layers} blocks")
    torch.manual_seed(0)
    new = Vlae(replace(old.config, layers=layers))
    with torch.no_grad():
        for block in new.local.blocks[old.config.layers :]:  # type: ignore[union-attr]
            block.pointwise.weight.mul_(FAINT)
    state = old.state_dict()
    new.load_state_dict({name: state.get(name, value) for name, value in new.state_dict().items()})
    return new


def main() -> None:
    """Write the grown codec."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("codec", help="name or file")
    parser.add_argument("out", type=Path)
    parser.add_argument("--layers", type=int, required=True, help="blocks of the new codec")
    options = parser.parse_args()
    codec = load_codec(options.codec, "cpu", engine=False)
    model = grown(codec, options.layers)
    options.out.write_bytes(save_codec(model, "vlae", model.config, codec.pixels, codec.card))


if __name__ == "__main__":
    main()
