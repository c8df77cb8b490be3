"""The bytes of codec files of tiny models of each family, and the messages of these and of trained codecs, pinned.

Digests are BLAKE2b-128. A change that is meant to leave the format alone leaves them alone. After a change on purpose,
`PRINT_PINS=1 pytest tests/test_pinned_codecs.py` prints those that are found, and compares nothing; the literals are
replaced by hand. They hold with the versions of constraints.txt.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from pinned_inputs import natural
from pins import TINY_VLAE, built, check_digests, codec_file, filled

import bbcodec

CODECS = Path(__file__).parents[1] / "benchmarks" / "codecs"
ATTENTIVE = {"layers": 3, "latent_channels": 2, "latent_stride": 4, "width": 6, "key_channels": 3, "tile": 2,
             "hidden": 5, "inner": 7, "radius": 1, "components": 2}  # fmt: skip
VAMP = {"height": 9, "width": 6, "latents": 5, "components": 13, "hidden": 12, "features": 6, "local_layers": 1,
        "inner": 7, "radius": 1, "logistics": 2}  # fmt: skip
DELTA = {"hidden": 8, "layers": 2, "attentions": 1, "radius": 1, "components": 2, "heads": 2, "head_size": 4,
         "window": 20, "width": 8, "blocks": 1, "latent_channels": 2, "rows": 9, "auxiliary": 4}  # fmt: skip
VAE = {"height": 9, "width": 6, "latents": 5, "hidden": 12}
TWO, RGB = {"levels": 2}, {"channels": 3}


class Tiny(NamedTuple):
    """A tiny model, and the digests of its codec file and of a message."""

    family: str
    config: dict[str, Any]
    file: str
    message: str


TINY = {
    "vlae-two-levels": Tiny(
        "vlae",
        TINY_VLAE | TWO,
        "87962364adf12091e8c32323712d6998",
        "e078360a055b635d0d3479e3ad0f3ea8",
    ),
    "vlae-grey": Tiny("vlae", TINY_VLAE, "5435ea585358b0a0ff63b9109fc95909", "195033a07f2d0269efd8fa76bbfe4055"),
    "vlae-rgb": Tiny("vlae", TINY_VLAE | RGB, "099fdca64dbf37f7509df7a9b3d379b5", "76991623b844b90b4ef8701d11789ce9"),
    "vlae-rgb-joint": Tiny(
        "vlae",
        TINY_VLAE | RGB | {"joint": True},
        "8eb5b2ec441dd01947a1b4818d4d8c10",
        "69bec239ce04cf5349f3981214c280d2",
    ),
    "attentive-two-levels": Tiny(
        "attentive",
        ATTENTIVE | TWO,
        "b7f85b1fea928031752a25d714409fe1",
        "a022a6f58f89f3c9bd414c0b1cc0d62a",
    ),
    "attentive-grey-local": Tiny(
        "attentive",
        ATTENTIVE | {"local_layers": 1},
        "effacea9ad5c2c9ac62ac8ee5a9ea6a4",
        "2a5be17c71db904184ed14abd6b12979",
    ),
    "attentive-rgb-joint": Tiny(
        "attentive",
        ATTENTIVE | RGB | {"local_layers": 1, "joint": True},
        "34215f3af536b315e8ad76ad43de56aa",
        "beb204273e8251cd921c0fa9bcfda3f8",
    ),
    "vamp-two-levels-two-layers": Tiny(
        "vamp",
        VAMP | TWO | {"layers": 2, "prior": "weighted"},
        "1564e2da632ffff8b4f85be053e06fef",
        "afefcc6079234bf3fb92ce8bb0897128",
    ),
    "vamp-grey-pixelcnn": Tiny(
        "vamp",
        VAMP | {"decoder": "pixelcnn"},
        "1ce1102f97ac5e50cd8c0ac7ec974bdb",
        "677d4f19d20412dd6c7912c346beb47f",
    ),
    "vamp-rgb-conv": Tiny(
        "vamp",
        VAMP | RGB | {"decoder": "conv", "prior": "mog"},
        "e8c0cbe5517b432dbd687e80991889a6",
        "046d7be4ad6e5ef3e6cda63fde8df62c",
    ),
    "delta-vae-two-levels": Tiny(
        "delta-vae",
        DELTA | TWO,
        "94bbf078f66b38dba213fd110ed07cf0",
        "ff9729238c8a24d19a542af83f7fcf8e",
    ),
    "delta-vae-grey": Tiny(
        "delta-vae",
        DELTA | {"prior": "standard", "auxiliary": 0},
        "2c3260bfe725faa096c8084e8c096da0",
        "af250a04a9544de112fd7564aedcc57d",
    ),
    "delta-vae-rgb": Tiny(
        "delta-vae",
        DELTA | RGB | {"encoder": "non-causal"},
        "c75d717fe3c2bb74ff63b32016f4dec0",
        "52d38bf277a7a819d9677c9a4edbacbb",
    ),
    "vae": Tiny("vae", VAE | TWO, "cd2bc7adbe36eed3a8d125e9c54bcb40", "6f18629752f89e959d0adfe12901b2a2"),
    "vae-deep": Tiny(
        "vae",
        VAE | TWO | {"layers": 3, "hidden": 33, "steps_per_unit": 2},
        "f0086d9c54b632b61f68515f6b51ea68",
        "797e0b4163131d50fb8130c04e533f21",
    ),
}


def message(codec: bbcodec.Codec) -> bytes:
    """What a codec makes of fixed images, which it gives back."""
    size = codec.backend.image_size or (13, 22)
    images = natural(5, *size, codec.pixels.channels)
    images = images if codec.pixels.levels == 256 else images >> 7
    coded = codec.encode(images)
    assert np.array_equal(codec.decode(coded), images)
    return coded


@pytest.mark.parametrize("name", TINY)
def test_codec_files_and_messages_of_tiny_models(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    family, config, *expected = TINY[name]
    content = codec_file(family, filled(built(family, config)))
    codec = bbcodec.load_codec(content, device="cpu")
    assert codec.family == family
    check_digests(name, [content, message(codec)], expected, capsys)


TRAINED = {
    "photo-3": "2481aa348563b628dbe100156728d625",
    "grey-3": "cd4833c48f95319766bd5f115e717c0b",
    "mnist-binary-3": "cc9c8bfe404b8acaaa5687962d08c6d4",
    "mnist-binary-fast-1": "4a3f119ca9b65c514e97dc0398979ad5",
    "mnist-binary-attentive-3.bbc": "0de682f7aba37d69ccebb67015fe8d85",
    "mnist-binary-delta-vae-2.bbc": "85caad7ae75ec15e6a4133a72df4d6c9",
    "freyfaces-vamp-2.bbc": "a1b4b78469113b0208300ad7ec73b683",
    "cifar10-attentive-2.bbc": "d958bdfbcddcc81ebab521f43077e301",
    "cifar10-delta-vae-1.bbc": "b4ce93e948a2571302b356a772db11d7",
}


@pytest.mark.parametrize("name", TRAINED)
def test_messages_of_trained_codecs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    codec = bbcodec.load_codec(CODECS / name if name.endswith(".bbc") else name, device="cpu")
    check_digests(name, [message(codec)], [TRAINED[name]], capsys)
