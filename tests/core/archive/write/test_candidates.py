"""Candidates: what images cost in each coding, and that the cheapest is kept."""

from dataclasses import replace

import numpy as np
import pytest
from fake_codec import fake_codec, familiar, load_fake
from folders import ALL, COLOUR, GREY, noise
from hypothesis import given, settings
from hypothesis import strategies as st
from image_samples import samples_of
from pinned_inputs import natural
from pins import without_predicted

from bbcodec.archive.format.chunks import LEARNED, SHEET
from bbcodec.archive.write import candidates
from bbcodec.archive.write.candidates import (
    CHUNK_PIXELS,
    Candidate,
    completed,
    encode_each,
    encode_learned,
    encode_plane,
    encode_sheets,
    join_planes,
    settled_by_strips,
)
from bbcodec.archive.write.coded import SharedPiece
from bbcodec.archive.write.trials import PictureTrials
from bbcodec.codec.pool import CodecPool, CodecSource
from bbcodec.images.codings import base, coding_named
from bbcodec.images.codings.webp import WebPCoding
from bbcodec.options import StorageOptions

PLAIN = StorageOptions()


def pool_of(*codecs, load=load_fake):
    return CodecPool([CodecSource.of(codec) for codec in codecs], "cpu", load)


def check_group(group, count):
    """What a coding of some images promises."""
    assert len(group.pieces) == len(group.costs) == count
    for pieces in group.pieces:
        assert all(isinstance(piece, SharedPiece) or piece.chunk < len(group.chunks) for piece in pieces)
    assert all(len(costs) == count for costs in group.tried.values())
    whole = sum(len(chunk.body) + 9 for chunk in group.chunks)
    shared = [piece for pieces in group.pieces for piece in pieces if isinstance(piece, SharedPiece)]
    whole += sum(len(piece.data) for piece in shared)
    assert whole <= group.costs.sum() <= whole + 8 * count


forms = st.sampled_from([(1, 2), (1, 256), (2, 256), (3, 256), (4, 256)])
looks = st.sampled_from(["flat", "smooth", "noise", "familiar"])


@settings(max_examples=20)
@given(st.integers(1, 6), st.integers(1, 20), st.integers(1, 20), forms, looks, st.integers(0, 5))
def test_a_plane_is_coded_as_the_best_that_was_tried(count, height, width, form, how, seed):
    channels, levels = form
    if how == "familiar":
        stack = familiar(height, width, channels, seed, count, levels)
    else:
        sample_format = {1: "L8", 2: "LA8", 3: "RGB8", 4: "RGBA8"}[channels]
        many = np.array([samples_of(sample_format, height, width, how, seed + n) for n in range(count)])
        stack = (many.astype(int) % levels).astype(np.uint8)
    pool = pool_of(*ALL)
    group = encode_plane(pool, stack, levels, PLAIN)
    check_group(group, count)
    each = encode_each(stack, levels, PLAIN)
    check_group(each, count)
    assert group.costs.sum() <= each.costs.sum()
    assert (group.alone <= each.costs).all()
    learned = encode_learned(pool, stack, levels)
    if learned:
        check_group(learned, count)
        assert group.costs.sum() <= learned.costs.sum()


def test_learned_chunks_are_bounded(monkeypatch):
    monkeypatch.setitem(CHUNK_PIXELS, (1, 256), 3 * 24 * 24)
    group = encode_learned(pool_of(GREY), familiar(count=10), 256)
    assert [chunk.type for chunk in group.chunks] == [LEARNED] * 4
    assert [(pieces[0].chunk, pieces[0].position) for pieces in group.pieces] == [
        (0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2),
    ]  # fmt: skip
    assert encode_learned(pool_of(COLOUR), familiar(count=10), 256) is None
    assert encode_learned(pool_of(fake_codec("small", side=7)), familiar(count=10), 256) is None


def test_sheets_are_no_higher_than_webp_takes(monkeypatch):
    monkeypatch.setattr(candidates, "SHEET_SIDE", 50)
    monkeypatch.setattr(base, "SHEET_SIDE", 50)
    stack = np.tile(noise(1, 24, 24, 3), (7, 1, 1, 1))
    groups = list(encode_sheets(stack, PLAIN, encode_each(stack, 256, PLAIN)))
    sizes = {next(iter(group.tried)): [chunk.type for chunk in group.chunks] for group in groups}
    assert sizes.pop("sheet (webp)") == [SHEET] * 4
    assert set(map(tuple, sizes.values())) == {(SHEET,)}


@pytest.mark.parametrize(
    ("size", "coded"), [((3000, 1), False), ((1, 3000), False), ((3000, 20), True), ((900, 1), True)]
)
def test_images_of_single_pixels_in_many_waves_are_not_for_torch(size, coded):
    images = np.zeros((1, *size, 1), np.uint8)
    assert (encode_learned(pool_of(GREY), images, 256) is not None) == coded


def test_a_coding_that_is_far_from_the_best_on_a_few_is_not_tried_on_all(monkeypatch):
    monkeypatch.setattr(candidates, "SAMPLE_PIXELS", 2 * 24 * 24)
    seen = []

    class Watching:
        concurrent = False

        def __init__(self, content, device):
            self.codec = load_fake(content, device)

        def encode_message(self, images, bits, mix):
            seen.append(len(images))
            return self.codec.encode_message(images, bits, mix)

    flat = np.zeros((9, 24, 24, 1), np.uint8)
    encode_plane(pool_of(GREY, load=Watching), flat, 256, PLAIN)
    encode_plane(pool_of(GREY, load=Watching), familiar(count=9), 256, PLAIN)
    assert seen == [2, 2, 9]


def test_sheets_of_photos_are_not_coded_hard(monkeypatch):
    """Drawings are, where they come near the best."""
    efforts = []
    encode = WebPCoding.encode_picture

    def watched(self, pixels, effort):
        efforts.append(effort)
        return encode(self, pixels, effort)

    monkeypatch.setattr(WebPCoding, "encode_picture", watched)
    pieces = noise(40, 4, 4, 3).repeat(2, 1).repeat(2, 2)
    chosen = np.random.default_rng(0).integers(0, 40, (9, 4, 4))
    drawings = pieces[chosen].transpose(0, 1, 3, 2, 4, 5).reshape(9, 32, 32, 3)
    for images, hard in ((drawings, True), (natural(9, 32, 32, 3), False)):
        efforts.clear()
        best = replace(encode_each(images, 256, PLAIN), costs=np.full(9, 1e6))
        with without_predicted():  # it would be the shorter by far, and nothing else come near
            list(encode_sheets(images, PLAIN, best))
        assert ("hard sheet" in efforts) == hard


def rival_of_predictions(share, seen, images):
    """A codec whose messages take so many times the bytes that predictions do for a row, of all of the first image.

    seen: receives heights of what it encodes.
    """
    bits_of_a_row = 8 * share * len(coding_named("predicted").encode(images[0], 256)) / images.shape[1]

    class Rival:
        concurrent = False

        def __init__(self, content, device):
            pass

        def encode_message(self, images, bits, mix):
            seen.append(images.shape[1])
            bits[:] = bits_of_a_row * images.shape[1]
            return bytes(int(bits.sum() / 8))

    return pool_of(COLOUR, load=Rival)


@pytest.mark.parametrize(
    ("share", "options", "heights", "tried"),
    [
        (1.15, PLAIN, [8], {"predicted"}),
        (1.08, PLAIN, [8, 22], {"predicted"}),
        (0.98, PLAIN, [8, 22, 180], {"learned"}),
        (1.045, PLAIN, [8, 22, 180], {"learned", "predicted"}),
        (1.1, StorageOptions(mix=True), [22], {"predicted"}),
        (0.95, StorageOptions(mix=True), [22, 180], {"learned"}),
        (1.055, StorageOptions(mix=True), [22, 180], {"learned", "predicted"}),
        (0.9, StorageOptions(fast=True), [180], {"learned"}),
    ],
)
def test_strips_of_photos_tell_which_coding_is_tried_in_full(share, options, heights, tried):
    seen = []
    images = natural(1, 180, 250, 3)
    pool = rival_of_predictions(share, seen, images)
    group = encode_plane(pool, images, 256, options)
    assert (seen, group.tried.keys() & {"learned", "predicted"}) == (heights, tried)
    check_group(group, 1)


def test_there_are_no_strips_of_small_images_and_drawings_or_where_all_or_nothing_is_predicted():
    drawings = natural(2, 45, 62, 3).repeat(4, axis=1).repeat(4, axis=2)
    for images, options in (
        (natural(2, 60, 60, 3), PLAIN),
        (drawings, PLAIN),
        (natural(2, 180, 250, 3), StorageOptions(thorough=True)),
        (natural(2, 180, 250, 3), StorageOptions(fast=True)),
    ):
        seen = []
        pool = rival_of_predictions(1.1, seen, images)
        assert settled_by_strips(pool, images, 256, options) is None
        assert seen == []


def test_strips_leave_doubt_where_photos_of_a_group_differ():
    """One of two is even shorter as predicted than strips of both say, and the other much longer."""
    seen = []
    images = natural(2, 180, 250, 3)
    pool = rival_of_predictions(1.045, seen, images)
    few = CodecPool.encode

    def uneven(self, source, images, mix=False):
        message, bits = few(self, source, images, mix)
        return message, bits * [1.2, 0.6] if len(bits) == 2 else bits

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CodecPool, "encode", uneven)
        assert settled_by_strips(pool, images, 256, PLAIN) is None


def test_planes_are_joined_with_their_pieces(monkeypatch):
    monkeypatch.setitem(CHUNK_PIXELS, (1, 256), 2 * 24 * 24)
    one = encode_learned(pool_of(GREY), familiar(count=4), 256)
    two = encode_each(noise(4, 24, 24, 3), 256, PLAIN)
    three = encode_learned(pool_of(GREY), familiar(count=4, seed=1), 256)
    group = join_planes([one, two, three])
    check_group(group, 4)
    assert [(one.chunk, three.chunk) for one, _, three in group.pieces] == [(0, 2), (0, 2), (1, 3), (1, 3)]
    assert all(shared == own[0] for (_, shared, _), own in zip(group.pieces, two.pieces, strict=True))
    assert group.tried == {}
    both = join_planes([two, two])
    assert both.tried.keys() == {"webp", "png", "predicted"}
    assert np.allclose(both.alone, np.min([both.tried["webp"], both.tried["png"]], axis=0))
    assert np.allclose(join_planes([one]).tried["learned"], one.tried["learned"])


def test_sixteen_bits_go_as_png_or_predicted():
    group = encode_each(noise(2, 9, 9, 1).astype(np.uint16) * 256, 65536, PLAIN)
    assert {pieces[0].coding for pieces in group.pieces} <= {"png", "predicted"} == group.tried.keys()


@pytest.mark.parametrize("count", [1, 5])
def test_costs_of_a_group_are_those_of_its_chunks(count):
    """Bits of each image, and an equal share of what is around them."""
    group = encode_learned(pool_of(fake_codec("grey", waste=40)), familiar(count=count), 256)
    assert isinstance(group, Candidate)
    assert group.costs.sum() == pytest.approx(len(group.chunks[0].body) + 9 + count)
    assert group.costs.max() - group.costs.min() < 30


def test_what_quick_trials_settled_is_coded_after_all_where_it_is_kept():
    """A few images with bars that nothing passes: they have no pieces, and with pieces they are as without bars."""
    stack = familiar(count=5)
    bars = np.array([20.0, np.inf, 20, 9999, 20])
    each = encode_each(stack, 256, PLAIN, bars)
    full = encode_each(stack, 256, PLAIN)
    assert each.settled == [0, 2, 4]
    assert (each.costs[[0, 2, 4]] > 20).all()
    assert (each.costs <= full.costs).all()
    assert np.isinf(each.tried["webp"][[0, 2, 4]]).all()
    whole = completed(each, stack, 256, PLAIN)
    assert whole.pieces == full.pieces
    assert np.array_equal(whole.alone, full.costs)
    assert all(np.array_equal(whole.tried[name], full.tried[name]) for name in full.tried)
    thorough = encode_each(stack, 256, StorageOptions(thorough=True), bars)
    assert thorough.pieces == full.pieces


def test_images_of_a_group_that_are_settled_are_compared_in_full(monkeypatch):
    """Should a trial say too little, so that images alone seem to be the best, then that is made sure."""
    monkeypatch.setattr(PictureTrials, "least", lambda self, coding, bar: 1.0 if bar < 100 else None)
    group = encode_plane(pool_of(GREY), familiar(count=4), 256, PLAIN)
    assert [chunk.type for chunk in group.chunks] == [LEARNED]
    assert group.tried.keys() >= {"learned", "webp", "png"}
    assert (group.alone > group.costs).all()


def test_predictions_settle_that_webps_of_photos_are_longer():
    """Without any codec, too; a full trial codes them all."""
    photos = natural(2, 90, 120, 3)
    quick, full = (encode_each(photos, 256, options) for options in (PLAIN, replace(PLAIN, thorough=True)))
    assert np.isinf(quick.tried["webp"]).all()
    assert np.array_equal(quick.tried["predicted"], full.tried["predicted"])
    assert (full.tried["webp"] > full.tried["predicted"]).all()
    assert np.array_equal(quick.costs, full.costs)


def test_what_is_fast_has_no_predictions_but_where_nothing_else_is():
    fast = replace(PLAIN, fast=True)
    for images, levels in ((natural(2, 40, 50, 3), 256), (natural(2, 40, 50, 1), 256)):
        group = encode_plane(pool_of(), images, levels, fast)
        assert not any("predicted" in coding for coding in group.tried)
        check_group(group, 2)
    assert "predicted" in encode_plane(pool_of(), noise(2, 9, 9, 1).astype(np.uint16), 65536, fast).tried


def test_large_images_share_sheets_where_they_are_like_each_other():
    """Slices are predicted from those before them; of others, two tell that a sheet gains nothing."""
    slices = np.add(noise(1, 260, 260, 1), noise(4, 260, 260, 1) % 3, dtype=np.uint16)
    for images, coding in ((slices, "sheet (predicted)"), (noise(4, 260, 260, 1).astype(np.uint16), "predicted")):
        group = encode_plane(pool_of(), images, 65536, PLAIN)
        assert ("sheet (predicted)" in group.tried) == (coding == "sheet (predicted)")
        check_group(group, 4)
    assert not list(encode_sheets(noise(2, 260, 260, 3), PLAIN, encode_each(noise(2, 260, 260, 3), 256, PLAIN)))
