"""The codecs that work needs: loaded once, chosen by size, their messages checked."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from fake_codec import FakeCodec, fake_codec, familiar, load_fake, load_hasty, load_lying, read_header
from folders import BITS, COLOUR, GREY, noise

from bbcodec.binary import digest64
from bbcodec.codec import pool as codec_pool
from bbcodec.codec.message import LearnedMessage
from bbcodec.codec.pool import CodecPool, CodecSource
from bbcodec.errors import DamagedArchive, InputError


def pool_of(*codecs, load=load_fake):
    return CodecPool([CodecSource.of(codec) for codec in codecs], "cpu", load)


def test_codecs_are_loaded_once_and_when_needed():
    loaded = []

    def load(content, device):
        loaded.append(device)
        return load_fake(content, device)

    pool = pool_of(GREY, COLOUR, load=load)
    assert loaded == []
    assert pool.codec(pool.sources[0]) is pool.codec(pool.sources[0])
    assert loaded == ["cpu"]


def test_messages_come_back_and_say_what_they_hold():
    pool = pool_of(GREY, COLOUR, BITS)
    stacks = familiar(count=3), familiar(channels=3, count=2), familiar(levels=2, count=1)
    for source, images in zip(pool.sources, stacks, strict=True):
        body, bits = pool.encode(source, images)
        assert (body.codec_id, body.digest) == (source.digest[:4], digest64(images.tobytes()))
        assert (body.count, body.height, body.width) == images.shape[:3]
        assert bits.sum() == 8 * len(body.stream)
        found, decoded = pool.decode(LearnedMessage.unpack(body.pack()))
        assert found is source
        assert np.array_equal(decoded, images)


def test_the_codec_that_is_shortest_is_chosen():
    others = fake_codec("wasteful", waste=50), fake_codec("other", number=1), fake_codec("small", side=7)
    pool = pool_of(*others, GREY, COLOUR)
    assert pool.choose(familiar(count=5), 256).name == "grey-1"
    assert pool.choose(familiar(count=5, number=1), 256).name == "other"
    assert pool.choose(familiar(channels=3, count=5), 256).name == "colour-1"
    assert pool.choose(familiar(count=5), 2) is None
    assert pool.choose(familiar(channels=2, count=5), 256) is None


def test_codecs_for_other_sizes_are_not_chosen_among_several():
    assert pool_of(fake_codec("a", side=7), fake_codec("b", side=8)).choose(familiar(count=5), 256) is None
    alone = pool_of(fake_codec("a", side=7))
    with pytest.raises(InputError):
        alone.encode(alone.choose(familiar(count=5), 256), familiar(count=5))


def test_codecs_are_chosen_on_a_few_images(monkeypatch):
    monkeypatch.setattr(codec_pool, "SAMPLE_VALUES", 2 * 24 * 24)
    seen = []

    class Watching:
        concurrent = False

        def __init__(self, content, device):
            self.codec = load_fake(content, device)

        def encode_message(self, images, bits, mix):
            seen.append(len(images))
            return self.codec.encode_message(images, bits, mix)

    pool_of(GREY, fake_codec("other", number=1), load=Watching).choose(familiar(count=50), 256)
    assert seen == [2, 2]


def test_other_pixels_are_tried_again_on_the_safe_path():
    images = familiar(count=3)
    pool = pool_of(GREY, load=load_hasty)
    body, _ = pool.encode(pool.sources[0], images)
    assert np.array_equal(pool.decode(body)[1], images)
    assert not pool.codec(pool.sources[0]).safe
    pool = pool_of(GREY, load=load_lying)
    with pytest.raises(DamagedArchive, match="digest differs"):
        pool.decode(body)
    assert not pool.codec(pool.sources[0]).safe


def test_codecs_that_may_be_shared_code_at_once():
    """Two threads meet within the codec."""
    met = threading.Barrier(2, timeout=60)

    class Shared(FakeCodec):
        concurrent = True

        def encode_message(self, images, bits=None, mix=False):
            met.wait()
            return super().encode_message(images, bits, mix)

    pool = pool_of(GREY, load=lambda content, device: Shared(read_header(content)))
    with ThreadPoolExecutor(2) as threads:
        messages = list(threads.map(lambda n: pool.encode(pool.sources[0], familiar(count=n))[0], (1, 2)))
    assert [message.count for message in messages] == [1, 2]


def test_other_codecs_code_for_one_thread_at_a_time():
    inside = []

    class Alone(FakeCodec):
        def encode_message(self, images, bits=None, mix=False):
            inside.append(1)
            time.sleep(0.01)
            assert len(inside) == 1
            inside.pop()
            return super().encode_message(images, bits, mix)

    pool = pool_of(GREY, load=lambda content, device: Alone(read_header(content)))
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda n: pool.encode(pool.sources[0], familiar(count=n)), range(1, 9)))


def test_learned_chunks_that_cannot_be_are_damage():
    pool = pool_of(GREY)
    body, _ = pool.encode(pool.sources[0], familiar(count=3))
    for changes in ({"codec_id": b"none"}, {"count": 4}, {"width": 25}, {"stream": b"junk"}, {"count": 2**28}):
        with pytest.raises(DamagedArchive):
            pool.decode(LearnedMessage(**{**vars(body), **changes}))


def test_noise_is_long_to_the_fake_and_familiar_images_are_short():
    """What the tests of archives build on."""
    pool = pool_of(GREY)
    assert len(pool.encode(pool.sources[0], noise(1, 24, 24, 1))[0].stream) > 24 * 24
    assert len(pool.encode(pool.sources[0], familiar(count=1))[0].stream) < 100
