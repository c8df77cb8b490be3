"""The content of codec files, read and written without PyTorch."""

import numpy as np
import pytest
from tiny_models import CARD, CONFIGS, edited_codec_file, pixel_format, tiny

from bbcodec.codec.catalogue import parse_codec
from bbcodec.codec.file import load_codec, save_codec
from bbcodec.codec.stored import StoredCodec, with_card
from bbcodec.errors import BadCodecFile
from bbcodec.exact.layers import exact_parts


def read(content: bytes) -> StoredCodec:
    return StoredCodec.read(parse_codec(content, "mine"))


def test_files_come_back_byte_for_byte(contents):
    stored = read(contents["grey"])
    assert stored.pack() == contents["grey"]
    assert (stored.name, stored.family, stored.pixels, stored.card) == ("mine", "vlae", pixel_format("grey"), CARD)
    parts = exact_parts(load_codec(contents["grey"], "cpu", engine=False).backend.model)
    expected = {f"{name}.{key}": one for name, part in parts.items() for key, one in part.stored().items()}
    assert stored.tensors.keys() == expected.keys()
    assert all(np.array_equal(stored.tensors[name], expected[name].numpy()) for name in expected)


def test_nobody_changes_tensors_that_others_read(contents):
    for tensor in read(contents["grey"]).tensors.values():
        with pytest.raises(ValueError, match="read-only"):
            tensor[...] = 0


def test_another_card_changes_nothing_else(contents):
    card = {"data": "others", "bits_per_dim": 2.5}
    assert with_card(contents["grey"], card) == save_codec(
        tiny("grey"), "vlae", CONFIGS["grey"], pixel_format("grey"), card
    )


@pytest.mark.parametrize("version", [2, 4, None, "3"])
def test_other_versions_are_refused_by_number(contents, version):
    with pytest.raises(BadCodecFile, match=rf"^mine is a codec file of version {version}, expected 3$"):
        read(edited_codec_file(contents["grey"], format=version))
