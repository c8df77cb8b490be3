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
             "hidden": 5, "radius": 1, "components": 2}  # fmt: skip
VAMP = {"height": 9, "width": 6, "latents": 5, "components": 13, "hidden": 12, "features": 6, "local_layers": 1,
        "radius": 1, "logistics": 2}  # fmt: skip
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
        "1aa959e61ebc065abac28a3a7d562bd1",
        "5754472c7a75dc844da5165109bf4978",
    ),
    "vlae-grey": Tiny("vlae", TINY_VLAE, "d338a383ecdaef6d5aa16f121cea34a4", "0cb1bac6dec2e30ac3a6f612ffa6bed9"),
    "vlae-rgb": Tiny("vlae", TINY_VLAE | RGB, "102690cf5ad9453fb5b45525280c9b11", "a08347a00e31168bedbafa6d66341ff3"),
    "vlae-rgb-joint": Tiny(
        "vlae",
        TINY_VLAE | RGB | {"joint": True},
        "6c7286992b2448fce6c53b2016f1c4fc",
        "8e3dd30bcad7b1b8d535b744aeadb828",
    ),
    "attentive-two-levels": Tiny(
        "attentive",
        ATTENTIVE | TWO,
        "6ac82f43e5f08c5efce011fb7d73a962",
        "a022a6f58f89f3c9bd414c0b1cc0d62a",
    ),
    "attentive-grey-local": Tiny(
        "attentive",
        ATTENTIVE | {"local_layers": 1},
        "c32f437d4f050562dac9e98d15a93d82",
        "73aa0cdff8644f52c2601cb432dea99a",
    ),
    "attentive-rgb-joint": Tiny(
        "attentive",
        ATTENTIVE | RGB | {"local_layers": 1, "joint": True},
        "4adc850d156cfb172bbbbc3ec189b9b0",
        "e6e64c0dbe71e4775ea2103e917ce63b",
    ),
    "vamp-two-levels-two-layers": Tiny(
        "vamp",
        VAMP | TWO | {"layers": 2, "prior": "weighted"},
        "ce718d36f897f5f9a7cf8ab35c6533e8",
        "afefcc6079234bf3fb92ce8bb0897128",
    ),
    "vamp-grey-pixelcnn": Tiny(
        "vamp",
        VAMP | {"decoder": "pixelcnn"},
        "c8e781a28825bd7ac5e9d26ad62e7948",
        "e529153a1227166ca8c5f845a8545307",
    ),
    "vamp-rgb-conv": Tiny(
        "vamp",
        VAMP | RGB | {"decoder": "conv", "prior": "mog"},
        "74f21f8d0bd871f3d037f8a1df60c1f1",
        "c81c963b435e76d6f154e63d7ddfd9fc",
    ),
    "delta-vae-two-levels": Tiny(
        "delta-vae",
        DELTA | TWO,
        "f422f0818246c2a7a6a04749907fd167",
        "ff9729238c8a24d19a542af83f7fcf8e",
    ),
    "delta-vae-grey": Tiny(
        "delta-vae",
        DELTA | {"prior": "standard", "auxiliary": 0},
        "c559fb9da02e12748fad64a8fbb4f636",
        "09f8765a875c4347922ff5459c5dbda9",
    ),
    "delta-vae-rgb": Tiny(
        "delta-vae",
        DELTA | RGB | {"encoder": "non-causal"},
        "80f6444567a02f54ec4a16ddb27cd46e",
        "f83ae4576938bcebfb867ec70ecc2488",
    ),
    "vae": Tiny("vae", VAE | TWO, "7254fe42deef6ee5a7b6f37990d6fc71", "6f18629752f89e959d0adfe12901b2a2"),
    "vae-deep": Tiny(
        "vae",
        VAE | TWO | {"layers": 3, "hidden": 33, "steps_per_unit": 2},
        "eaed29a002558ca2499d55ff03e1c574",
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
    "photo-3": "38e119635008b0a77d7ba5992a0ac59f",
    "grey-2": "495fe2a97234e6b0722018db0f6ff645",
    "mnist-binary-2": "f8533bd47df226b07a1e6ae84e8ec1fd",
    "mnist-binary-fast-1": "ae304e8b9fefd5a060d32039ca942c0a",
    "mnist-binary-attentive-2.bbc": "7baaa178a14cdab8fc7e3c6ac2ee3684",
    "mnist-binary-delta-vae-2.bbc": "85caad7ae75ec15e6a4133a72df4d6c9",
    "freyfaces-vamp-1.bbc": "06fba5914220e6f02d5a6acffef5d2b1",
    "cifar10-attentive-1.bbc": "1b600045e1788f1a40c9b2c40b77d464",
    "cifar10-delta-vae-1.bbc": "59abde647f57723ff45942cb18259083",
}


@pytest.mark.parametrize("name", TRAINED)
def test_messages_of_trained_codecs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    codec = bbcodec.load_codec(CODECS / name if name.endswith(".bbc") else name, device="cpu")
    check_digests(name, [message(codec)], [TRAINED[name]], capsys)
