"""Evaluating a codec and looking into an archive: rows that add up to real files, whatever is among the images."""

import math
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from folders import quick_webp
from pattern_model import codec_content, familiar, load_pattern
from PIL import Image, ImageDraw
from pins import without_predicted

import bbcodec
from bbcodec.codec import pool as workers
from bbcodec.errors import BadCodecFile, BBCodecError, DamagedArchive, InputError, MissingCodec
from bbcodec.report.byte_counts import count_bytes
from bbcodec.report.coding_costs import UNITS_PER_BIT, UNITS_PER_BYTE
from bbcodec.report.evaluate import draws_up_to, evaluate, inspect, iwae_positions
from bbcodec.report.render_json import render_json
from bbcodec.report.report import check_breakdown

LOAD_INSTALLED = workers.load_content


@pytest.fixture(scope="module")
def codec(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch, quick_webp():
        patch.setattr(workers, "load_content", load_pattern)
        path = tmp_path_factory.mktemp("codec") / "pattern.bbc"
        path.write_bytes(codec_content())
        yield path


@pytest.fixture(scope="module")
def array(tmp_path_factory):
    path = tmp_path_factory.mktemp("array") / "digits.npy"
    np.save(path, familiar(400)[..., 0])
    return path


@pytest.fixture(scope="module")
def report(codec, array):
    """Of the array, with all that is measured but baselines."""
    return evaluate(codec, array, baselines=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return mixed(tmp_path_factory.mktemp("mixed") / "in")


@pytest.fixture(scope="module")
def folder_report(codec, folder):
    return evaluate(codec, folder, iwae=0, baselines=False)


def compressed_bytes(codec, inputs, path):
    bbcodec.compress(inputs, path, codec=codec, embed_codec=False)
    return path.stat().st_size


def steps(report):
    return {row.key: row.step_units for row in report.breakdown}


def test_rows_add_up_to_the_file_that_compress_writes(report, codec, array, tmp_path):
    assert report.archive_bytes == compressed_bytes(codec, array, tmp_path / "a.bb")
    assert all(isinstance(row.units, int) and isinstance(row.step_units, int) for row in report.breakdown)
    assert sum(steps(report).values()) == report.archive_bytes * UNITS_PER_BYTE
    assert [row.units for row in report.breakdown] == np.cumsum([row.step_units for row in report.breakdown]).tolist()
    assert list(steps(report)) == [
        "iwae_100", "iwae_10", "negative_elbo", "discretised", "account", "words", "initial", "container",
    ]  # fmt: skip
    assert (report.images, report.dims, report.learned_images, report.learned_dims) == (400, 400 * 256, 400, 400 * 256)


def test_layers_add_up_to_the_bounds(report):
    assert sum(layer.elbo_units for layer in report.layers) == report.row("negative_elbo").units
    assert sum(layer.discretised_units for layer in report.layers) == report.row("discretised").units
    assert sum(layer.integer_units for layer in report.layers) == report.row("account").units
    assert sum(cost.units for cost in report.image_costs) == report.row("account").units
    assert [(layer.name, layer.active_latents, layer.latents) for layer in report.layers] == [
        ("z1", 1, 1), ("z2", 1, 1), ("x", 0, 0),
    ]  # fmt: skip


def test_the_bound_lies_below_the_negative_elbo(codec, array):
    report = evaluate(codec, array, baselines=False, iwae=100, iwae_images=400)
    assert report.iwae_images == 400
    found = steps(report)
    assert found["iwae_10"] > 0
    assert found["negative_elbo"] > 0
    assert report.row("iwae_100").estimated
    assert 0.1 < report.elbo_error_nats < 1  # one draw of each of 400 images


def test_a_codec_of_ones_own_counts_as_installed_and_as_embedded(report, codec, array, tmp_path):
    bbcodec.compress(array, tmp_path / "with.bb", codec=codec)
    embedded = (tmp_path / "with.bb").stat().st_size
    assert abs(report.archive_bytes + report.codec_chunk_bytes - embedded) <= 24  # what directories say of it
    assert embedded > report.archive_bytes


def mixed(folder):
    """Images that the codec knows, others, other files, copies, and arrays in a zip."""
    folder.mkdir()
    for number, image in enumerate(familiar(40, seed=3)):
        Image.fromarray(image[:, :, 0] * np.uint8(255)).convert("1").save(folder / f"{number:03}.png")
    (folder / "copy.png").write_bytes((folder / "000.png").read_bytes())
    slopes = np.add.outer(np.arange(40), np.arange(50)).astype(np.uint8)
    Image.fromarray(slopes).save(folder / "slopes.png")
    Image.fromarray(np.stack([slopes] * 3, 2)).save(folder / "photo.jpg")
    (folder / "notes.txt").write_bytes(bytes(range(256)) * 4)
    np.savez(folder / "both.npz", familiar=familiar(300, seed=5), other=np.arange(10.0))
    np.save(folder / "flat.npy", np.zeros((30, 16, 16), np.uint8))
    return folder


def test_everything_in_a_folder_has_its_row(folder_report, codec, folder, tmp_path):
    report = folder_report
    assert report.archive_bytes == compressed_bytes(codec, folder, tmp_path / "a.bb")
    found = steps(report)
    assert sum(found.values()) == report.archive_bytes * UNITS_PER_BYTE
    assert found["classical"] > 0
    assert found["other"] > 0
    assert report.copies == 1
    assert report.images == 40 + 2 + 300 + 30
    assert report.dims == (40 + 300 + 30) * 256 + 2000 + 6000
    assert report.learned_images >= 300
    assert report.learned_images + report.classical_images == report.images
    names = {cost.name for cost in report.image_costs}
    assert "both.npz[299]" in names
    assert all(cost.dims == 256 for cost in report.image_costs)


def test_an_archive_tells_the_same_without_the_originals(folder_report, codec, folder, tmp_path):
    measured = folder_report
    compressed_bytes(codec, folder, tmp_path / "a.bb")
    found = inspect(tmp_path / "a.bb", codec=codec)
    assert found.breakdown == measured.breakdown
    assert found.image_costs == measured.image_costs
    assert found.layers == measured.layers
    assert found.how == measured.how
    assert [use.embedded for use in found.codecs] == [False]
    with pytest.raises(MissingCodec):
        inspect(tmp_path / "a.bb")


def test_an_embedded_codec_has_its_row(codec, array, tmp_path):
    bbcodec.compress(array, tmp_path / "a.bb", codec=codec)
    found = inspect(tmp_path / "a.bb")
    assert steps(found)["codecs"] > 0
    assert [use.embedded for use in found.codecs] == [True]


def test_an_archive_without_learned_images(codec, folder, tmp_path):
    bbcodec.compress(folder, tmp_path / "a.bb", codec="none")
    found = inspect(tmp_path / "a.bb")
    assert list(steps(found)) == ["container", "classical", "other"]
    assert found.learned_dims == 0
    data = render_json(found)
    assert data["negative_elbo_bits_per_dim"] is None
    assert data["measured_bits_per_dim"] == pytest.approx(8 * found.archive_bytes / found.dims)


def test_a_damaged_message_is_told(codec, array, tmp_path):
    path = tmp_path / "a.bb"
    bbcodec.compress(array, path, codec=codec)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(data)
    with pytest.raises(DamagedArchive):
        inspect(path, codec=codec)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda folder: (folder / "a.txt").write_text("no image"), "there is no image"),
        (lambda folder: Image.new("RGB", (20, 20), "red").save(folder / "a.png"), "takes images of two levels"),
        (
            lambda folder: np.save(folder / "a.npy", np.arange(256, dtype=np.uint8).reshape(4, 8, 8)),
            "takes images of two levels",
        ),
    ],
)
def test_what_a_codec_cannot_be_measured_on(codec, tmp_path, make, told):
    folder = tmp_path / "in"
    folder.mkdir()
    make(folder)
    with pytest.raises(InputError, match=told):
        evaluate(codec, folder, baselines=False)


def test_wrong_codecs_are_errors(tmp_path, array):
    with pytest.raises(MissingCodec):
        evaluate("no-such-codec", array)
    (tmp_path / "x.bbc").write_bytes(b"nothing")
    with pytest.raises(BadCodecFile):
        evaluate(tmp_path / "x.bbc", array)
    with pytest.raises(InputError, match="no file or folder"):
        evaluate("mnist-binary-3", tmp_path / "nowhere")


def test_images_that_the_codec_takes_may_all_be_shorter_classically(codec, tmp_path):
    np.save(tmp_path / "flat.npy", np.zeros((30, 16, 16), np.uint8))
    report = evaluate(codec, tmp_path / "flat.npy", baselines=False)
    assert report.learned_images == 0
    assert list(steps(report)) == ["container", "classical"]
    assert render_json(report)["iwae_bits_per_dim"] is None


def test_a_breakdown_that_does_not_add_up_is_a_fault(report):
    with pytest.raises(BBCodecError, match="add up"):
        check_breakdown(replace(report, archive_bytes=report.archive_bytes + 1))


def test_draws_are_powers_of_ten_and_the_most():
    assert draws_up_to(1) == (1,)
    assert draws_up_to(1000) == (1, 10, 100, 1000)
    assert draws_up_to(99) == (1, 10, 99)


def test_images_of_the_bound_are_spread_evenly(codec, array, tmp_path, monkeypatch):
    monkeypatch.setattr("bbcodec.archive.write.candidates.ARRAY_CHUNK_PIXELS", {(1, 2): 2**14})
    compressed_bytes(codec, array, tmp_path / "a.bb")
    counts = count_bytes(tmp_path / "a.bb")
    assert len(counts.learned) == 7
    found = iwae_positions(counts, (1, 100), 50)
    assert sum(map(len, found.values())) == 50
    assert set(found) == set(counts.learned)
    every = {number: tuple(range(chunk.count)) for number, chunk in counts.learned.items()}
    assert iwae_positions(counts, (1, 100), 1000) == every
    assert sum(map(len, iwae_positions(counts, (1, 100), None).values())) == 100
    assert sum(map(len, iwae_positions(counts, (1, 10_000), None).values())) == 6
    assert iwae_positions(counts, (), 50) == {}


def test_report_on_an_archive_in_another_order_of_chunks(codec, array, tmp_path):
    """The copy of an array under another name costs nothing, and is no image of its own."""
    twice = tmp_path / "in"
    twice.mkdir()
    for name in ("a.npy", "b.npy"):
        (twice / name).write_bytes(array.read_bytes())
    report = evaluate(codec, twice, iwae=0, baselines=False)
    assert (report.files, report.copies, report.images) == (2, 1, 400)


def test_bits_per_dim_are_nats_of_images(report):
    data = render_json(report)
    nats = data["negative_elbo_bits_per_dim"] * 256 * math.log(2)
    assert data["nats_per_image"]["negative_elbo"] == pytest.approx(nats)
    assert data["units_per_bit"] == UNITS_PER_BIT
    assert data["iwae"]["images"] == 100


def test_npz_members_are_seen(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.txt", "no array")
    with pytest.raises(InputError, match="no image"):
        evaluate("mnist-binary-3", tmp_path / "a.npz")


def test_a_shipped_codec_writes_what_compress_writes_by_default(tmp_path):
    """Strokes as of a pen, by the installed loader: the model is loaded, and tested, as users have it."""
    rng = np.random.default_rng(0)
    images = []
    for _ in range(60):
        image = Image.new("1", (28, 28))
        points = [tuple(point) for point in rng.integers(5, 23, (6, 2)).tolist()]
        ImageDraw.Draw(image).line(points, 1, 3)
        images.append(np.array(image.convert("L")) // 255)
    np.save(tmp_path / "strokes.npy", np.array(images))
    with pytest.MonkeyPatch.context() as patch, without_predicted():
        patch.setattr(workers, "load_content", LOAD_INSTALLED)
        report = evaluate("mnist-binary-3", tmp_path / "strokes.npy", iwae=10, iwae_images=3, baselines=False)
        bbcodec.compress(tmp_path / "strokes.npy", tmp_path / "a.bb", codec="mnist-binary-3")
    assert report.archive_bytes == (tmp_path / "a.bb").stat().st_size
    assert report.learned_images == 60
    assert sum(steps(report).values()) == report.archive_bytes * UNITS_PER_BYTE
    assert [layer.name for layer in report.layers] == ["z", "x"]


def test_an_archive_without_a_codec_is_among_the_others(codec, array, tmp_path):
    report = evaluate(codec, array, iwae=0)
    plain = tmp_path / "plain.bb"
    bbcodec.compress(array, plain, codec="none")
    assert {one.key: one.bytes for one in report.baselines}["no_codec"] == plain.stat().st_size
    assert [one.key for one in report.baselines][-1] == "no_codec"
