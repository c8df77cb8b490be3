"""Messages of codecs that are mixed with contexts that learn: round trips, batches, damage, and who reads them."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from folders import check_same_tree, quick_webp
from pinned_inputs import natural, save
from pins import without_predicted
from test_deep_codecs import scans
from test_vlae_engine import content_of
from tiny_models import deep_codec_file, pictures

from bbcodec.archive.write.candidates import encode_learned
from bbcodec.cli.main import main
from bbcodec.codec.catalogue import parse_codec
from bbcodec.codec.codec import MIXED, Codec
from bbcodec.codec.file import load_codec
from bbcodec.codec.pool import CodecPool, CodecSource
from bbcodec.errors import DamagedArchive

KINDS = ["grey", "RGB", "joint"]


@pytest.fixture(scope="module")
def codecs():
    return {kind: load_codec(content_of(kind), "cpu") for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 9, 7), (1, 40, 60)])
def test_images_come_back(codecs, kind, shape):
    codec, images = codecs[kind], pictures(kind, *shape)
    bits = np.zeros(len(images))
    message = codec.encode_message(images, bits, mix=True)
    assert message[0] == MIXED
    assert -1 < 8 * len(message) - bits.sum() < 130
    assert np.array_equal(codec.decode_message(message, *shape), images)
    assert codec.encode_message(images)[0] != MIXED
    assert np.array_equal(codec.decode(codec.encode(images, mix=True)), images)


def test_images_in_batches_come_back_and_later_ones_cost_less(codecs, monkeypatch):
    monkeypatch.setattr(Codec, "widest", lambda self, shape: 2)
    images = np.concatenate([pictures("RGB", 1, 24, 24)] * 5)
    bits = np.zeros(5)
    message = codecs["RGB"].encode_message(images, bits, mix=True)
    assert bits[2:].max() < bits[0]
    assert np.array_equal(codecs["RGB"].decode_message(message, 5, 24, 24), images)


def test_threads_may_share_a_codec(codecs):
    batches = [pictures("RGB", 2, 10 + n, 15, n) for n in range(6)]
    with ThreadPoolExecutor(4) as threads:
        messages = list(threads.map(lambda images: codecs["RGB"].encode(images, mix=True), batches))
        assert all(map(np.array_equal, threads.map(codecs["RGB"].decode, messages), batches))
    assert messages == [codecs["RGB"].encode(images, mix=True) for images in batches]


def test_a_network_writes_plain_messages_and_has_mixed_ones_read(codecs):
    network, images = load_codec(content_of("RGB"), "cpu", engine=False), pictures("RGB", 2, 8, 9)
    assert not network.mixes
    assert network.encode_message(images, mix=True) == codecs["RGB"].encode_message(images)
    message = codecs["RGB"].encode_message(images, mix=True)
    assert np.array_equal(network.decode_message(message, 2, 8, 9), images)


def test_codecs_with_latents_and_of_two_levels_are_not_mixed():
    for content in (content_of("RGB", latent_channels=2), content_of("binary")):
        codec = load_codec(content, "cpu")
        assert not codec.mixes
        images = np.zeros((2, 8, 8, codec.pixels.channels), np.uint8)
        message = codec.encode_message(images, mix=True)
        assert message == codec.encode_message(images)
        with pytest.raises(DamagedArchive, match="never mixed"):
            codec.decode_message(bytes([MIXED]) + message[1:], 2, 8, 8)


def test_no_growth_is_taken_for_a_mixed_message(codecs):
    assert codecs["grey"].encode_message(np.zeros((300, 8, 8, 1), np.uint8))[0] == MIXED - 1


def test_images_of_16_bits_come_back():
    codec, images = load_codec(deep_codec_file(), "cpu"), scans(2, 12, 14)
    message = codec.encode_message(images, mix=True)
    assert message != codec.encode_message(images)
    assert np.array_equal(codec.decode_message(message, 2, 12, 14), images)


def test_damage_is_found(codecs):
    images = pictures("RGB", 1, 9, 8)
    message = codecs["RGB"].encode_message(images, mix=True)
    for bad in (message + b"\0", *(message[:size] for size in range(1, len(message)))):
        with pytest.raises(DamagedArchive):
            codecs["RGB"].decode_message(bad, 1, 9, 8)
    with pytest.raises(DamagedArchive, match="impossible"):
        codecs["RGB"].decode_message(message, 1, 2**13, 2**13)


def test_a_pool_mixes_where_it_is_asked_to():
    source = CodecSource.of(parse_codec(content_of("grey"), "grey"))
    images = pictures("grey", 2, 20, 20)
    for mix in (False, True):
        message, _ = CodecPool([source]).encode(source, images, mix)
        assert (message.stream[0] == MIXED) == mix
        assert np.array_equal(CodecPool([source]).decode(message)[1], images)
        candidate = encode_learned(CodecPool([source]), images, 256, mix=mix)
        assert candidate.chunks[0].body.endswith(message.stream)


def test_an_archive_is_mixed_and_read_like_any_other(tmp_path, capsys):
    """Its contexts learn that the channels have their noise in common."""
    codec, sizes = Path(__file__).parents[2] / "benchmarks" / "codecs" / "photo-8bit-1.bbc", []
    for number in range(3):
        save(tmp_path / "in" / f"{number}.png", natural(1, 96, 128, 3, seed=number)[0])
    with without_predicted(), quick_webp():
        for options in ([], ["--mix"]):
            archive, out = tmp_path / f"{len(options)}.bb", tmp_path / f"out{len(options)}"
            words = ["compress", tmp_path / "in", "-o", archive, "--no-embed-codec", "--json", *options]
            assert main([*map(str, words), "-q", "--codec", str(codec)]) == 0
            assert json.loads(capsys.readouterr().out)["how"] == {"learned": 3}
            sizes.append(archive.stat().st_size)
            assert main(["decompress", str(archive), "-o", str(out), "-q", "--codec", str(codec)]) == 0
            check_same_tree(tmp_path / "in", out)
            assert main(["report", str(archive), "--json", "--codec", str(codec)]) == 0
            rows = {row["key"]: row["units"] for row in json.loads(capsys.readouterr().out)["chain"]}
            assert ("mixed" in rows) == bool(options)
    assert sizes[1] < 0.98 * sizes[0]
    assert rows["mixed"] < rows["account"]
    assert 0 <= rows["words"] - rows["mixed"] < 200 * 2**24
