"""Weights of codec files: they come back, close to their entropy, and messages that cannot be are refused."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tiny_models import with_message

from bbcodec.codec.catalogue import parse_codec, shipped_codecs, split_codec
from bbcodec.codec.stored import StoredCodec
from bbcodec.codec.weights import (
    BOUND,
    PRECISION_BITS,
    SCALES,
    VALUES_A_BYTE,
    Layout,
    layout_of,
    pack_weights,
    tails,
    unpack_weights,
)
from bbcodec.errors import BadCodecFile

KINDS = st.sampled_from((np.int8, np.int16, np.int32))
TENSORS = KINDS.flatmap(lambda kind: hnp.arrays(kind, hnp.array_shapes(min_dims=0, max_dims=4, max_side=6)))


def laid_out(tensors):
    return [(layout_of(f"tensor {n}", tensor), tensor) for n, tensor in enumerate(tensors)]


@given(st.lists(TENSORS, max_size=4))
def test_all_tensors_come_back(tensors):
    stored = laid_out(tensors)
    back = unpack_weights([layout for layout, _ in stored], pack_weights(stored))
    assert all(
        one.dtype == tensor.dtype and np.array_equal(one, tensor) for one, tensor in zip(back, tensors, strict=True)
    )


def test_the_table_is_a_distribution_of_each_scale():
    """All masses are 1 or more, and zero takes more as the scale falls; theta is as documented."""
    table = np.hstack([tails(), np.zeros((SCALES, 1), np.int32)]).astype(np.int64)
    assert table.shape == (SCALES, BOUND + 2)
    assert (np.diff(table[:, :-1]) <= -1).all()
    assert not table[:, BOUND].any()
    zeros = 2**PRECISION_BITS - 2 * table[:, 0]
    assert (np.diff(zeros) < 0).all()
    assert zeros.min() >= 1
    a = np.array([(4 + n % 4) * 2.0 ** (n // 4 - 8) for n in range(SCALES)])
    assert np.allclose(table[:, 0] / 2**PRECISION_BITS, a / (2 * a + 1), atol=2e-4)
    ratio = table[:, 1] / table[:, 0]
    assert np.allclose(ratio[20:], (a / (a + 1))[20:], rtol=2e-2)


@pytest.mark.parametrize("size", [0.02, 0.3, 2, 20, 40])
def test_weights_take_about_their_entropy(size):
    rng = np.random.default_rng(0)
    weights = np.rint(rng.laplace(0, size, (32, 500))).clip(-127, 127).astype(np.int8)
    shares = np.unique(weights, return_counts=True)[1] / weights.size
    entropy = -(shares * np.log2(shares)).sum() * weights.size / 8
    assert len(pack_weights(laid_out([weights]))) < 1.04 * entropy + 130 + weights.size / 8 / 20


@given(hnp.arrays(np.int8, (5, 9), elements=st.integers(-15, 15)), st.integers(0, 3), KINDS, st.integers(-5, 5))
def test_multiples_of_a_power_of_two_take_no_more_than_their_quotients(quotients, power, kind, centre):
    ones = (quotients.astype(kind), (quotients << power).astype(kind))
    sizes = [len(pack_weights(laid_out([one]))) for one in ones]
    assert sizes[1] <= sizes[0]
    ((layout, line),) = laid_out([(quotients[0].astype(kind) << power) + centre])
    assert np.array_equal(unpack_weights([layout], pack_weights([(layout, line)]))[0], line)
    assert layout_of("zeros", ones[0] * 0).low == 0


def test_rows_have_scales_of_their_own():
    rng = np.random.default_rng(0)
    rows = [np.rint(rng.laplace(0, size, 400)) for size in (1, 50) * 8]
    together, apart = (sum(len(pack_weights(laid_out([one.astype(np.int16)]))) for one in each) for each in (
        [np.stack(rows)], rows
    ))  # fmt: skip
    assert together < apart
    assert together < 0.85 * len(pack_weights(laid_out([np.stack(rows).astype(np.int16).reshape(1, -1)])))


@pytest.mark.parametrize("codec", shipped_codecs(), ids=lambda codec: codec.name)
def test_codec_files_are_much_smaller_than_their_tensors(codec):
    stored = StoredCodec.read(codec)
    assert stored.pack() == codec.content
    assert len(codec.content) < 0.85 * sum(tensor.nbytes for tensor in stored.tensors.values())
    header, message = split_codec(codec.content)
    assert len(codec.content) - len(message) < 2000
    assert header["format"] == 3


LAYOUT = Layout("a", "i8", (3, 4), 0, 0)
MESSAGE = pack_weights([(LAYOUT, np.arange(12, dtype=np.int8).reshape(3, 4))])


@pytest.mark.parametrize(
    "change",
    [
        {"name": 5}, {"kind": "f4"}, {"kind": []}, {"shape": (0, 4)}, {"shape": (-1,)}, {"shape": (2.0, 6)},
        {"shape": (2**40,)}, {"shape": (1,) * 9}, {"shape": (2**13, 2**14)}, {"low": -23},
        {"low": 23}, {"low": True}, {"low": -6}, {"centre": 2**40}, {"centre": 0.0}, {"centre": 125}, {"shape": (4, 4)},
        {"shape": (2, 4)}, {"low": 3},
    ],
)  # fmt: skip
def test_layouts_that_cannot_be_are_refused(change):
    unpack_weights([LAYOUT], MESSAGE)
    with pytest.raises(BadCodecFile):
        unpack_weights([LAYOUT._replace(**change)], MESSAGE)


def test_a_few_bytes_hold_few_weights():
    """Before memory is taken for them."""
    for count in (VALUES_A_BYTE * len(MESSAGE) + 1, 2**26):
        with pytest.raises(BadCodecFile, match="too few"):
            unpack_weights([LAYOUT._replace(shape=(count,))], MESSAGE)
    zeros = np.zeros(2**20, np.int8)
    packed = pack_weights(laid_out([zeros]))
    assert zeros.size < VALUES_A_BYTE * len(packed)
    assert np.array_equal(unpack_weights([layout_of("zeros", zeros)], packed)[0], zeros)


def test_other_types_are_refused():
    for kind in (np.float32, np.int64, np.uint8, np.bool_):
        with pytest.raises(BadCodecFile, match="expected one of"):
            layout_of("a", np.zeros(3, kind))


@given(st.data())
def test_damaged_messages_are_refused_or_other_weights(data):
    words = bytearray(MESSAGE)
    words[data.draw(st.integers(0, len(words) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        (tensor,) = unpack_weights([LAYOUT], bytes(words))
    except BadCodecFile:
        return
    assert tensor.shape == (3, 4)
    assert pack_weights([(LAYOUT, tensor)]) == bytes(words)


@pytest.mark.parametrize("length", [0, 4, 7, len(MESSAGE) - 4, len(MESSAGE) - 1])
def test_messages_cut_short_are_refused(length):
    with pytest.raises(BadCodecFile):
        unpack_weights([LAYOUT], MESSAGE[:length])
    with pytest.raises(BadCodecFile):
        unpack_weights([LAYOUT], MESSAGE + b"\0\0\0\0")


@pytest.mark.parametrize("tensors", [None, 5, [1], [["a"]], [["a", "i8", 5, 0, 0]], {"a": 1}])
def test_headers_without_layouts_are_refused(contents, tensors):
    header, message = split_codec(contents["grey"])
    with pytest.raises(BadCodecFile):
        StoredCodec.read(parse_codec(with_message({**header, "tensors": tensors}, message), "mine"))


def test_two_tensors_of_one_name_are_refused():
    header = {"format": 3, "family": "vlae", "config": {"channels": 1, "levels": 2}, "known_answers": []}
    header |= {"pixels": {"channels": 1, "levels": 2}, "card": {}, "tensors": [LAYOUT, LAYOUT]}
    one = np.zeros((3, 4), np.int8)
    content = with_message(json.loads(json.dumps(header)), pack_weights([(LAYOUT, one), (LAYOUT, one)]))
    with pytest.raises(BadCodecFile, match="one name"):
        StoredCodec.read(parse_codec(content, "mine"))
