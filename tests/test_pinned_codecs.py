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
        "e75591d37b10a01f400e96fb078e0113",
        "5754472c7a75dc844da5165109bf4978",
    ),
    "vlae-grey": Tiny("vlae", TINY_VLAE, "b3fbe923c3de2eb5f775f1ab490543a4", "11e3e17caf5d64dcfd37d8c58b80eb37"),
    "vlae-rgb": Tiny("vlae", TINY_VLAE | RGB, "6505aac459610b7d69d1f6ccd0d563f2", "760137fd8630cc6420c7dfc38a6be2ec"),
    "vlae-rgb-joint": Tiny(
        "vlae",
        TINY_VLAE | RGB | {"joint": True},
        "d32b2e36fa126f224f0506c29181bba9",
        "8938a5c1b458b05e917a987d67878ae3",
    ),
    "attentive-two-levels": Tiny(
        "attentive",
        ATTENTIVE | TWO,
        "b32eea5aa00f2736527fce6dcd089bb1",
        "a022a6f58f89f3c9bd414c0b1cc0d62a",
    ),
    "attentive-grey-local": Tiny(
        "attentive",
        ATTENTIVE | {"local_layers": 1},
        "e3db69e0ae4bafe671ad47cdf0b6a1f8",
        "73aa0cdff8644f52c2601cb432dea99a",
    ),
    "attentive-rgb-joint": Tiny(
        "attentive",
        ATTENTIVE | RGB | {"local_layers": 1, "joint": True},
        "b1aedb7abc56936f7825b49839104890",
        "b5277711a34fbe4f3bde3fb2f1e452ed",
    ),
    "vamp-two-levels-two-layers": Tiny(
        "vamp",
        VAMP | TWO | {"layers": 2, "prior": "weighted"},
        "d31c938477ad639c4a36178d5ea9f835",
        "afefcc6079234bf3fb92ce8bb0897128",
    ),
    "vamp-grey-pixelcnn": Tiny(
        "vamp",
        VAMP | {"decoder": "pixelcnn"},
        "9b85f988963e05d053d74da206edd2d0",
        "e529153a1227166ca8c5f845a8545307",
    ),
    "vamp-rgb-conv": Tiny(
        "vamp",
        VAMP | RGB | {"decoder": "conv", "prior": "mog"},
        "7196b906540c4881c8955c9f8b715a72",
        "36a52799fd6f8f42ea1c73952b1ee742",
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
        "42f6f874cc610ffb012ab4a68e946fe9",
        "e68d6211e18e11fcffb55d81dc8d4260",
    ),
    "delta-vae-rgb": Tiny(
        "delta-vae",
        DELTA | RGB | {"encoder": "non-causal"},
        "572e8988f7215ae1c65139ef701ecf58",
        "6625ea827c5229f777d69b219f1031c4",
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
    "mnist-binary-2.bbc": "f8533bd47df226b07a1e6ae84e8ec1fd",
    "mnist-binary-fast-1": "4a3f119ca9b65c514e97dc0398979ad5",
    "mnist-binary-attentive-2.bbc": "7baaa178a14cdab8fc7e3c6ac2ee3684",
    "mnist-binary-delta-vae-2.bbc": "85caad7ae75ec15e6a4133a72df4d6c9",
    "freyfaces-vamp-1.bbc": "c97cc07a617834f7ac18dc492700134a",
    "cifar10-attentive-1.bbc": "4ec4b6ca6268b1e2a69b6b612d78ae66",
    "cifar10-delta-vae-1.bbc": "59abde647f57723ff45942cb18259083",
}


@pytest.mark.parametrize("name", TRAINED)
def test_messages_of_trained_codecs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    codec = bbcodec.load_codec(CODECS / name if name.endswith(".bbc") else name, device="cpu")
    check_digests(name, [message(codec)], [TRAINED[name]], capsys)
