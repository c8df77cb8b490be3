"""Never worse: every file costs no more than the best of itself, WebP and PNG; and how that is reached."""

import io
from dataclasses import replace

import numpy as np
import pytest
from fake_codec import fake_codec, familiar, load_fake, squeeze
from folders import ALL, FAKE, check_same_tree, hows, noise, restore, save, smooth
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_samples import samples_of
from PIL import Image

from bbcodec.archive.format.chunks import LEARNED
from bbcodec.archive.read.archive import Archive
from bbcodec.archive.write import image_storage
from bbcodec.archive.write.candidates import PLACE_BYTES, encode_each
from bbcodec.archive.write.coded import ChunkPiece, DraftChunk
from bbcodec.archive.write.image_storage import (
    MAX_EXCESS,
    OpenedImage,
    choose,
    evict,
    settle,
    skeleton_costs,
    store,
)
from bbcodec.archive.write.tasks import ImageDescription
from bbcodec.binary import shortest
from bbcodec.codec.pool import CodecSource
from bbcodec.images.formats.png_samples import encode_png
from bbcodec.images.image_files import split_image
from bbcodec.options import StorageOptions
from bbcodec.sample_formats import SAMPLE_FORMATS

PLAIN = StorageOptions()


def file_of(sample_format, samples, form):
    """The bytes of an image file with these samples."""
    about = SAMPLE_FORMATS[sample_format]
    if about.mode == "P":
        image = Image.frombytes("P", samples.shape[1::-1], samples.tobytes())
        colours = np.random.default_rng(0).permutation(256)[: 2**about.depth]
        image.putpalette(np.column_stack([colours, colours // 2, 255 - colours]).astype(np.uint8).tobytes())
        stream = io.BytesIO()
        image.save(stream, "PNG", bits=about.depth)
        return stream.getvalue()
    if form == "png" or sample_format not in ("L8", "RGB8"):
        return encode_png(samples, sample_format)
    stream = io.BytesIO()
    Image.fromarray(samples if about.channels == 3 else samples[..., 0]).save(stream, form)
    return stream.getvalue()


def best_alone(data):
    """The fewest bytes of a file: as it is, as Pillow's best WebP, or as Pillow's best PNG and its skeleton.

    Of colours of 16 bits, which Pillow does not know, it is the first.
    """
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        sizes = [len(data)]
        if split_image(data).sample_format in ("RGB16", "RGBA16"):
            return sizes[0]
        for name, options in (
            ("WEBP", {"lossless": True, "method": 6, "quality": 80, "exact": True}),
            ("PNG", {"optimize": True}),
        ):
            stream = io.BytesIO()
            # WebP knows no 16 bits, and no palette; a skeleton holds the palette and all else.
            shown = image.convert("L") if image.mode == "1" and name == "WEBP" else image
            if not (image.mode.startswith("I") and name == "WEBP"):
                shown.save(stream, name, **options)
                skeleton = split_image(data).skeleton
                sizes.append(len(stream.getvalue()) + min(len(skeleton), len(shortest(skeleton)[1])))
    return min(sizes)


sample_formats = st.sampled_from(list(SAMPLE_FORMATS))
images = st.lists(
    st.tuples(
        sample_formats,
        st.tuples(st.integers(1, 40), st.integers(1, 40)) | st.just((24, 24)),
        st.sampled_from(["flat", "gradient", "smooth", "noise", "familiar"]),
        st.integers(0, 9),
        st.sampled_from(["png", "png", "bmp", "ppm", "tiff"]),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(images, st.booleans())
def test_no_file_costs_more_than_the_best_of_the_others(tmp_path_factory, images, learned):
    tmp_path = tmp_path_factory.mktemp("never")
    (tmp_path / "in").mkdir()
    best = {}
    for number, (sample_format, (height, width), how, seed, form) in enumerate(images):
        data = file_of(sample_format, samples_of(sample_format, height, width, how, seed), form)
        name = f"{number:02}.{form if sample_format in ('L8', 'RGB8') else 'png'}"
        (tmp_path / "in" / name).write_bytes(data)
        best[name] = best_alone(data)
    codecs = [fake_codec(one.name, channels=one.channels, levels=one.levels, shipped=True) for one in ALL]
    reports = []
    summary = squeeze(
        tmp_path / "in", tmp_path / "a.bb", codecs if learned else [], report=reports.append, load=load_fake
    )
    for report in reports:
        assert report.stored_bytes <= best[report.name] + 64, report
    names = sum(map(len, best))
    codecs_bytes = 60 * len(summary.codecs)  # a record of each in the index and in the directory chunk
    assert summary.archive_bytes <= sum(best.values()) + 64 * len(best) + 300 + names + codecs_bytes
    with Archive(tmp_path / "a.bb", [CodecSource.of(one) for one in codecs], FAKE) as archive:
        archive.restore(tmp_path / "out")
    check_same_tree(tmp_path / "in", tmp_path / "out")


def test_an_image_that_is_worse_in_company_leaves_it(tmp_path):
    """Flat images among those that the codec knows."""
    for number in range(6):
        save(tmp_path / "in" / f"known{number}.png", familiar(seed=number))
    for number in range(2):
        save(tmp_path / "in" / f"flat{number}.png", np.full((24, 24, 1), number, np.uint8))
    codec = fake_codec("grey-1", shipped=True)
    squeeze(tmp_path / "in", tmp_path / "a.bb", [codec], load=load_fake, verify=False)
    how = hows(tmp_path / "a.bb")
    assert {how[f"known{n}.png"] for n in range(6)} == {"learned"}
    assert {how[f"flat{n}.png"] for n in range(2)}.isdisjoint({"learned"})


def test_files_that_are_shorter_as_they_are_are_kept(tmp_path):
    """By an encoder that tried harder than ours; and one that did not."""
    generator = np.random.default_rng(0)
    sprites = generator.integers(0, 256, (6, 3), np.uint8)[generator.integers(0, 6, (8, 16, 16))]
    pixels = sprites[generator.integers(0, 8, (12, 12))].swapaxes(1, 2).reshape(192, 192, 3)
    save(tmp_path / "in" / "good.webp", pixels, lossless=True, exact=True, method=6, quality=100)
    save(tmp_path / "in" / "poor.webp", pixels[:, 1:], lossless=True, exact=True, method=0, quality=0)
    good, poor = ((tmp_path / "in" / f"{name}.webp").stat().st_size for name in ("good", "poor"))
    reports = []
    squeeze(tmp_path / "in", tmp_path / "a.bb", report=reports.append)
    about = {report.name: report for report in reports}
    assert {name: report.how for name, report in about.items()} == {"good.webp": "original", "poor.webp": "predicted"}
    assert about["good.webp"].stored_bytes <= good < about["good.webp"].tried["webp"] - 100
    assert about["poor.webp"].stored_bytes < poor - 100


def test_palettes_go_as_colours_where_these_are_shorter(tmp_path):
    """Neighbouring colours at distant indices; and indices in order, which stay indices."""
    shuffled = np.random.default_rng(0).permutation(256)
    grey = smooth(64, 64)[..., 0]
    for name, order in (("shuffled", shuffled), ("ordered", np.arange(256))):
        image = Image.frombytes("P", (64, 64), order[grey].astype(np.uint8).tobytes())
        palette = np.repeat(np.argsort(order)[:, None], 3, axis=1).astype(np.uint8)
        image.putpalette(palette.tobytes())
        (tmp_path / name).mkdir()
        image.save(tmp_path / name / "a.png")
        squeeze(tmp_path / name, tmp_path / f"{name}.bb")
        restore(tmp_path / f"{name}.bb", tmp_path / f"{name} out")
        check_same_tree(tmp_path / name, tmp_path / f"{name} out")
    with Archive(tmp_path / "shuffled.bb") as one, Archive(tmp_path / "ordered.bb") as two:
        assert one.files[0].plane_layout == 2
        assert two.files[0].sample_format == "P8"


def test_alpha_is_split_where_that_is_shorter(tmp_path):
    """Colours and alpha that two codecs know."""
    for number in range(4):
        pixels = np.concatenate([familiar(channels=3, seed=number), familiar(seed=number)], axis=2)
        save(tmp_path / "in" / f"{number}.png", pixels)
    squeeze(tmp_path / "in", tmp_path / "a.bb", ALL)
    with Archive(tmp_path / "a.bb", run=FAKE) as archive:
        assert {file.plane_layout for file in archive.files} == {1}
        assert {len(file.places) for file in archive.files} == {2}
    restore(tmp_path / "a.bb", tmp_path / "out")
    check_same_tree(tmp_path / "in", tmp_path / "out")


def test_the_plane_layout_of_a_large_group_is_chosen_on_some_files(tmp_path, monkeypatch):
    monkeypatch.setattr(image_storage, "SAMPLE_FILES", 3)
    tried = []
    real = image_storage._encode_layout

    def watched(files, layout, encode, bar=np.inf):
        tried.append((len(files), layout))
        return real(files, layout, encode, bar)

    monkeypatch.setattr(image_storage, "_encode_layout", watched)
    for number in range(10):
        save(
            tmp_path / "in" / f"{number}.png",
            np.concatenate([familiar(channels=3, seed=number), familiar(seed=number)], 2),
        )
    squeeze(tmp_path / "in", tmp_path / "a.bb", ALL)
    assert tried == [(3, 0), (3, 1), (10, 1)]


# --- the three steps


def opened(entry, pixels, **options):
    """A PNG of pixels (H, W, C), taken apart."""
    stream = io.BytesIO()
    Image.fromarray(pixels if pixels.shape[2] > 1 else pixels[..., 0]).save(stream, "PNG", **options)
    data = stream.getvalue()
    return OpenedImage.of(entry, data, split_image(data))


def alone(images, levels, bar=np.inf):
    return encode_each(images, levels, PLAIN)


def crowded(costs):
    """An encoder of images to chunks in which they cost so much more, or less, than alone."""

    def encode(images, levels, bar=np.inf):
        candidate = alone(images, levels)
        pieces = [(ChunkPiece(0, position),) for position in range(len(images))]
        return replace(candidate, chunks=[DraftChunk(LEARNED, b"")], pieces=pieces, costs=candidate.costs + costs)

    return encode


@pytest.mark.parametrize(
    ("costs", "parts"),
    [
        ([MAX_EXCESS, -99, -99], False), ([MAX_EXCESS + 1, -99, -99], True),
        ([30, 30, 30], False), ([40, 40, 40], True),
    ],
)  # fmt: skip
def test_a_group_parts_where_one_file_or_all_together_cost_too_much(costs, parts):
    """All together: by 1 % of about 10,800 bytes."""
    files = [opened(entry, noise(60, 60, 1, seed=entry)) for entry in range(3)]
    (group,) = choose(files, crowded(np.array(costs, float)))
    assert [round(member.excess) for member in group.members] == costs
    evicted = evict(group)
    leaving = [n for n in range(3) if parts and costs[n] > 0]
    assert [file.entry for file in evicted.leaving] == leaving
    assert [file.entry for file in evicted.staying] == [n for n in range(3) if parts and n not in leaving]


def test_files_that_leave_are_stored_alone_and_the_others_begin_anew():
    files = [opened(entry, noise(40, 40, 1, seed=entry)) for entry in range(4)]
    sizes = []

    def together(images, levels, bar=np.inf):
        sizes.append(len(images))
        return crowded(np.array([500, -9, 500, -9] if len(images) == 4 else [-9, -9], float))(images, levels)

    groups = list(settle(files, together, alone))
    assert [[member.file.entry for member in group.members] for group in groups] == [[0, 2], [1, 3]]
    assert [len(group.chunks) for group in groups] == [0, 1]
    assert sizes == [4, 2]


def test_files_are_stored_with_their_costs_or_as_they_are():
    files = [opened(entry, noise(40, 40, 1, seed=entry)) for entry in range(2)]
    described = ImageDescription("L", width=40, height=40)
    (group,) = choose(files, crowded(np.array([-100.0, -200.0])))
    for stored, member in zip(store(group, described), group.members, strict=True):
        assert (stored.form, stored.image.sample_format, stored.pieces) == ("png", "L8", member.pieces)
        assert stored.cost == round(member.cost) < stored.tried["webp"]
        assert stored.tried["original"] == stored.size == len(member.file.data)
    short = [replace(file, data=b"short") for file in files]  # as if somebody else's encoder were better
    (group,) = choose(short, alone)
    for kept, file in zip(store(group, described), short, strict=True):
        assert (kept.entry, kept.data, kept.image) == (file.entry, b"short", described)


def test_equal_skeletons_share_their_cost():
    same, other, plain = (
        opened(n, noise(9, 9, 1), **about) for n, about in enumerate(({"dpi": (9, 9)}, {"dpi": (8, 8)}, {}))
    )
    costs = skeleton_costs([same, replace(same, entry=9), other, plain])
    packed = len(shortest(same.picture.skeleton + other.picture.skeleton)[1])
    assert 0 < costs[0] == costs[9] < costs[1]
    assert sum(costs.values()) == pytest.approx(packed + 3 * PLACE_BYTES)
    assert costs[2] == 0


@pytest.mark.parametrize("shape", [(16384, 1), (20000, 1), (60000, 1), (1, 20000)])
def test_images_longer_than_webp_takes_come_back(tmp_path, shape):
    """Several of one size, so that sheets are tried; and WebP takes not even one."""
    for number in range(2):
        save(tmp_path / "in" / f"{number}.png", np.resize(noise(100, seed=number), (*shape, 1)))
    np.save(tmp_path / "in" / "stack.npy", np.resize(noise(100), (3, *shape)))
    squeeze(tmp_path / "in", tmp_path / "a.bb")
    restore(tmp_path / "a.bb", tmp_path / "out")
    check_same_tree(tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize(("sample_format", "layout"), [("L8", 4), ("L8", 8), ("RGB8", 4), ("RGBA8", 4), ("L16", 4)])
def test_images_of_two_values_are_two_levels(tmp_path, sample_format, layout):
    """In any format they take as many bytes as in `L1`; a photo among them stays what it is."""
    description = SAMPLE_FORMATS[sample_format]
    top = 1 if layout == 8 else 2**description.depth - 1
    masks = [smooth(24, 30, seed=seed)[..., :1] > 128 for seed in range(6)]
    for number, mask in enumerate(masks):
        samples = np.where(mask, top, 0).astype(description.dtype).repeat(description.channels, 2)
        if description.channels == 4:
            samples[..., 3] = top
        for folder, content in ("in", samples), ("bits", mask.astype(np.uint8)):
            (tmp_path / folder).mkdir(exist_ok=True)
            data = file_of(sample_format if folder == "in" else "L1", content, "png")
            (tmp_path / folder / f"{number}.png").write_bytes(data)
    for folder in ("in", "bits"):
        squeeze(tmp_path / folder, tmp_path / f"{folder}.bb")
    restore(tmp_path / "in.bb", tmp_path / "out")
    check_same_tree(tmp_path / "in", tmp_path / "out")
    sizes = [(tmp_path / f"{folder}.bb").stat().st_size for folder in ("in", "bits")]
    assert abs(sizes[0] - sizes[1]) < 24
    with Archive(tmp_path / "in.bb") as archive:
        assert {entry.plane_layout for entry in archive.files if entry.form == "png"} == {layout}


def test_two_levels_are_tried_only_where_half_of_the_images_have_them():
    """Else one black photo among many would have all of them coded twice. Then apart, and all as they are."""
    tried = []

    def encode(images, levels, bar):
        tried.append((len(images), levels))
        return encode_each(images, levels, PLAIN)

    photos = [opened(seed, smooth(20, 20, seed=seed)) for seed in range(3)]
    black = opened(3, np.zeros((20, 20, 1), np.uint8))
    choose([*photos, black], encode)
    assert tried == [(4, 256)]
    tried.clear()
    choose([photos[0], black], encode)
    assert sorted(set(tried)) == [(1, 2), (1, 256), (2, 256)]
