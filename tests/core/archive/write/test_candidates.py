"""Never worse: every file costs no more than the best of itself, WebP and PNG; and groups what was tried."""

import io
import pickle

import numpy as np
import pytest
from fake_codec import fake_codec, familiar, load_fake, squeeze
from folders import ALL, COLOUR, FAKE, GREY, check_same_tree, hows, noise, restore, save, smooth
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from bbcodec.archive.format.chunks import LEARNED, SHEET
from bbcodec.archive.read.archive import Archive
from bbcodec.archive.write import candidates as encoding
from bbcodec.archive.write.candidates import (
    CHUNK_PIXELS,
    Group,
    encode_each,
    encode_learned,
    encode_plane,
    encode_task,
    join_planes,
)
from bbcodec.archive.write.tasks import ArrayTask, TileTask, open_task, plan, scan
from bbcodec.binary import shortest
from bbcodec.codec.pool import CodecPool, CodecSource
from bbcodec.images.formats.png import encode_png
from bbcodec.images.image_files import split_image
from bbcodec.options import StorageOptions
from bbcodec.sample_formats import SAMPLE_FORMATS

PLAIN = StorageOptions()


def pool_of(*codecs, load=load_fake):
    return CodecPool([CodecSource.of(codec) for codec in codecs], "cpu", load)


# --- folders of images


def samples_of(kind, height, width, how, seed):
    """Samples (H, W, C) of a kind: flat, a gradient, smooth, noise, or what the fake codecs know."""
    about = SAMPLE_FORMATS[kind]
    top = 2**about.depth
    if how == "flat":
        return np.full((height, width, about.channels), seed % top, about.dtype)
    if how == "gradient":
        slope = np.add.outer(np.arange(height) * 3, np.arange(width) * 2 + seed)[..., None]
        return (slope * [1, 2, 3, 1][: about.channels] % top).astype(about.dtype)
    if how == "smooth":
        return (smooth(height, width, about.channels, seed).astype(int) * top // 256).astype(about.dtype)
    if how == "noise":
        return np.random.default_rng(seed).integers(0, top, (height, width, about.channels)).astype(about.dtype)
    return (familiar(height, width, about.channels, seed).astype(int) * top // 256).astype(about.dtype)


def file_of(kind, samples, form):
    """The bytes of an image file with these samples."""
    about = SAMPLE_FORMATS[kind]
    if about.mode == "P":
        image = Image.frombytes("P", samples.shape[1::-1], samples.tobytes())
        colours = np.random.default_rng(0).permutation(256)[: 2**about.depth]
        image.putpalette(np.column_stack([colours, colours // 2, 255 - colours]).astype(np.uint8).tobytes())
        stream = io.BytesIO()
        image.save(stream, "PNG", bits=about.depth)
        return stream.getvalue()
    if form == "png" or kind not in ("L8", "RGB8"):
        return encode_png(samples, kind)
    stream = io.BytesIO()
    Image.fromarray(samples if about.channels == 3 else samples[..., 0]).save(stream, form)
    return stream.getvalue()


def best_alone(data):
    """The fewest bytes of a file: as it is, as Pillow's best WebP, or as Pillow's best PNG and its skeleton."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        sizes = [len(data)]
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


kinds_of_files = st.sampled_from(list(SAMPLE_FORMATS))
images = st.lists(
    st.tuples(
        kinds_of_files,
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
    for number, (kind, (height, width), how, seed, form) in enumerate(images):
        data = file_of(kind, samples_of(kind, height, width, how, seed), form)
        name = f"{number:02}.{form if kind in ('L8', 'RGB8') else 'png'}"
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
    assert {name: report.how for name, report in about.items()} == {"good.webp": "original", "poor.webp": "webp"}
    assert about["good.webp"].stored_bytes == good < about["good.webp"].tried["webp"] - 100
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
    with Archive(tmp_path / "a.bb", setting=FAKE) as archive:
        assert {file.plane_layout for file in archive.files} == {1}
        assert {len(file.places) for file in archive.files} == {2}
    restore(tmp_path / "a.bb", tmp_path / "out")
    check_same_tree(tmp_path / "in", tmp_path / "out")


def test_the_way_of_a_large_group_is_chosen_on_some_files(tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "SAMPLE_FILES", 3)
    tried = []
    real = encoding._encode_parts
    monkeypatch.setattr(encoding, "_encode_parts", lambda pool, files, way, *more: (
        tried.append((len(files), way)), real(pool, files, way, *more))[1])  # fmt: skip
    for number in range(10):
        save(
            tmp_path / "in" / f"{number}.png",
            np.concatenate([familiar(channels=3, seed=number), familiar(seed=number)], 2),
        )
    squeeze(tmp_path / "in", tmp_path / "a.bb", ALL)
    assert tried == [(3, 0), (3, 1), (10, 1)]


# --- groups


def check_group(group, count):
    """What a coding of some images promises."""
    assert len(group.pieces) == len(group.costs) == count
    for pieces in group.pieces:
        for piece in pieces:
            assert (piece.draft < 0) == (piece.data is not None)
            assert piece.draft < len(group.drafts)
    assert all(len(costs) == count for costs in group.tried.values())
    whole = sum(len(draft.body) + 9 for draft in group.drafts)
    whole += sum(len(piece.data) for pieces in group.pieces for piece in pieces if piece.data is not None)
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
        kind = {1: "L8", 2: "LA8", 3: "RGB8", 4: "RGBA8"}[channels]
        many = np.array([samples_of(kind, height, width, how, seed + n) for n in range(count)])
        stack = (many.astype(int) % levels).astype(np.uint8)
    pool = pool_of(*ALL)
    group = encode_plane(pool, stack, levels, PLAIN)
    check_group(group, count)
    each = encode_each(stack, levels, PLAIN)
    check_group(each, count)
    assert group.costs.sum() <= each.costs.sum()
    assert np.allclose(group.alone, each.costs)
    learned = encode_learned(pool, stack, levels, CHUNK_PIXELS.get((channels, levels), 2**16))
    if learned:
        check_group(learned, count)
        assert group.costs.sum() <= learned.costs.sum()


def test_learned_chunks_are_bounded(monkeypatch):
    group = encode_learned(pool_of(GREY), familiar(count=10), 256, 3 * 24 * 24)
    assert [draft.kind for draft in group.drafts] == [LEARNED] * 4
    assert [(pieces[0].draft, pieces[0].position) for pieces in group.pieces] == [
        (0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2),
    ]  # fmt: skip
    assert encode_learned(pool_of(COLOUR), familiar(count=10), 256, 10**6) is None
    assert encode_learned(pool_of(fake_codec("small", side=7)), familiar(count=10), 256, 10**6) is None


def test_sheets_are_no_higher_than_webp_takes(monkeypatch):
    monkeypatch.setattr(encoding, "SHEET_HEIGHT", 50)
    stack = np.tile(noise(1, 24, 24, 3), (7, 1, 1, 1))
    groups = list(encoding._encode_sheets(stack, PLAIN, encode_each(stack, 256, PLAIN)))
    sizes = {next(iter(group.tried)): [draft.kind for draft in group.drafts] for group in groups}
    assert sizes.pop("sheet (webp)") == [SHEET] * 4
    assert set(map(tuple, sizes.values())) == {(SHEET,)}


def test_a_coding_that_is_far_from_the_best_on_a_few_is_not_tried_on_all(monkeypatch):
    monkeypatch.setattr(encoding, "SAMPLE_PIXELS", 2 * 24 * 24)
    seen = []

    class Watching:
        def __init__(self, content, device):
            self.codec = load_fake(content, device)

        def encode_message(self, images, bits):
            seen.append(len(images))
            return self.codec.encode_message(images, bits)

    flat = np.zeros((9, 24, 24, 1), np.uint8)
    encode_plane(pool_of(GREY, load=Watching), flat, 256, PLAIN)
    encode_plane(pool_of(GREY, load=Watching), familiar(count=9), 256, PLAIN)
    assert seen == [2, 2, 9]


def test_planes_are_joined_with_their_pieces():
    one = encode_learned(pool_of(GREY), familiar(count=4), 256, 2 * 24 * 24)
    two = encode_each(noise(4, 24, 24, 3), 256, PLAIN)
    three = encode_learned(pool_of(GREY), familiar(count=4, seed=1), 256, 10**6)
    group = join_planes([one, two, three])
    check_group(group, 4)
    assert [[piece.draft for piece in pieces] for pieces in group.pieces] == [
        [0, -1, 2],
        [0, -1, 2],
        [1, -1, 2],
        [1, -1, 2],
    ]
    assert group.tried == {}
    both = join_planes([two, two])
    assert both.tried.keys() == {"webp", "png"}
    assert np.allclose(both.alone, np.min([both.tried["webp"], both.tried["png"]], axis=0))
    assert np.allclose(join_planes([one]).tried["learned"], one.tried["learned"])


@pytest.mark.parametrize("shape", [(16384, 1), (20000, 1), (60000, 1), (1, 20000)])
def test_images_longer_than_webp_takes_come_back(tmp_path, shape):
    """Several of one size, so that sheets are tried; and WebP takes not even one."""
    for number in range(2):
        save(tmp_path / "in" / f"{number}.png", np.resize(noise(100, seed=number), (*shape, 1)))
    np.save(tmp_path / "in" / "stack.npy", np.resize(noise(100), (3, *shape)))
    squeeze(tmp_path / "in", tmp_path / "a.bb")
    restore(tmp_path / "a.bb", tmp_path / "out")
    check_same_tree(tmp_path / "in", tmp_path / "out")


def test_sixteen_bits_go_as_png_alone():
    group = encode_each(noise(2, 9, 9, 1).astype(np.uint16) * 256, 65536, PLAIN)
    assert {pieces[0].coding for pieces in group.pieces} == {"png"}
    assert np.isinf(group.tried["webp"]).all()


@pytest.mark.parametrize("count", [1, 5])
def test_costs_of_a_group_are_those_of_its_chunks(count):
    """Bits of each image, and an equal share of what is around them."""
    group = encode_learned(pool_of(fake_codec("grey", waste=40)), familiar(count=count), 256, 10**6)
    assert isinstance(group, Group)
    assert group.costs.sum() == pytest.approx(len(group.drafts[0].body) + 9 + count)
    assert group.costs.max() - group.costs.min() < 30


def test_results_of_large_files_come_back_without_their_pixels(tmp_path):
    """All of one file wait for each other."""
    np.savez(tmp_path / "a.npz", images=np.zeros((500, 40, 40), np.uint8), rest=np.zeros(10**5))
    save(tmp_path / "b.png", np.zeros((800, 800, 3), np.uint8))
    tasks = [part for task in plan(scan([tmp_path]).entries, {}, PLAIN) for part in open_task(task)]
    assert {type(task) for task in tasks} == {ArrayTask, TileTask}
    for task in tasks:
        coded = encode_task(pool_of(), task)
        assert len(pickle.dumps(task)) > 10**5
        assert len(pickle.dumps(coded)) < 10**4
        if isinstance(task, ArrayTask):
            assert coded.length == (len(task.rest) if task.images is None else task.images.nbytes)
            assert coded.shape == (() if task.images is None else task.images.shape)
