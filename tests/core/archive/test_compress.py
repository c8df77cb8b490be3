"""Archives are written alike wherever and however often, appear whole or not at all, and say what was done."""

import errno
import multiprocessing
import os
import re
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from fake_codec import fake_codec, familiar, load_fake, load_hasty, load_lying, squeeze
from folders import (
    ALL,
    BITS,
    COLOUR,
    FAKE,
    GREY,
    N_FILES,
    check_same_tree,
    contents,
    hows,
    make_folder,
    noise,
    restore,
    save,
    smooth,
)
from pinned_inputs import natural
from pins import grey_echo_codec, without_predicted

import bbcodec
from bbcodec import input_files
from bbcodec import options as run_options
from bbcodec.archive import compress as compressing
from bbcodec.archive.compress import CompressRequest, compress_with
from bbcodec.archive.format import container
from bbcodec.archive.read.archive import Archive
from bbcodec.archive.write import changes
from bbcodec.archive.write import scan as scanning
from bbcodec.archive.write import tasks as planning
from bbcodec.archive.write import writer as assembling
from bbcodec.archive.write.tasks import FINE_TILE_PIXELS, TILE_PIXELS
from bbcodec.codec import catalogue
from bbcodec.codec.catalogue import find_codec
from bbcodec.errors import DamagedArchive, InputError, MissingPackage, OutputError, TargetExists, VerificationFailed
from bbcodec.images import npy
from bbcodec.images.codings.jpegxl import require_jpegxl
from bbcodec.options import RunOptions


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "in")


def inside(folder):
    return sorted(path.name for path in folder.iterdir())


# --- codecs that run without PyTorch, and others


def test_a_codec_that_needs_torch_matters_only_to_images_that_it_may_code(tmp_path):
    quick, slow = find_codec("photo-3"), find_codec(grey_echo_codec(tmp_path))
    assert CompressRequest("in", "a.bb", codecs=[quick, slow]).tile_pixels("RGB") == TILE_PIXELS
    for mode in ("L", "RGBA", "P"):
        assert CompressRequest("in", "a.bb", codecs=[quick]).tile_pixels(mode) == TILE_PIXELS
        assert CompressRequest("in", "a.bb", codecs=[quick, slow]).tile_pixels(mode) == FINE_TILE_PIXELS


# --- the same bytes


def test_the_archive_is_the_same_whatever_the_executor(folder, tmp_path, careful_webp):
    bbcodec.compress(folder, tmp_path / "here.bb", codec="none")
    spawn = multiprocessing.get_context("spawn")
    for executor in (ThreadPoolExecutor(2), ProcessPoolExecutor(2, mp_context=spawn)):
        with executor:
            bbcodec.compress(folder, tmp_path / "there.bb", codec="none", force=True, executor=executor, jobs=2)
        assert (tmp_path / "there.bb").read_bytes() == (tmp_path / "here.bb").read_bytes()


def test_the_archive_is_the_same_whatever_the_jobs(folder, tmp_path, monkeypatch, careful_webp):
    for number in range(20):
        save(folder / "more" / f"{number}.png", familiar(30, 40 + number % 3, 3, seed=number))
    monkeypatch.setattr(run_options, "POOL_VALUES", 0)
    monkeypatch.setattr(planning, "GROUP_VALUES", 5000)
    monkeypatch.setattr(container, "SEGMENT_BYTES", 3000)
    monkeypatch.setattr(container, "PIECE_BYTES", 3000)
    for jobs in (1, 3):
        squeeze(folder, tmp_path / f"{jobs}.bb", ALL, jobs=jobs)
    assert (tmp_path / "1.bb").read_bytes() == (tmp_path / "3.bb").read_bytes()
    restore(tmp_path / "1.bb", tmp_path / "out", run=RunOptions(2, "cpu", load=load_fake))
    check_same_tree(folder, tmp_path / "out")


def test_the_archive_is_the_same_in_another_place_and_order(folder, tmp_path):
    """Nothing of the paths around a folder, or of the order of its entries on the disk, is in it."""
    squeeze(folder, tmp_path / "a.bb", ALL)
    again = tmp_path / "elsewhere"
    os.rename(folder, again)
    listing = os.listdir
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scanning.os, "listdir", lambda path: listing(path)[::-1])
        squeeze(again, tmp_path / "b.bb", ALL)
    assert (tmp_path / "a.bb").read_bytes() == (tmp_path / "b.bb").read_bytes()


# --- codecs that pay, and others


def test_a_poor_codec_is_not_used(folder, tmp_path):
    squeeze(folder, tmp_path / "a.bb", [])
    formats = (1, 256), (3, 256), (1, 2)
    poor = [fake_codec("poor", channels=c, levels=v, waste=10**5, shipped=True) for c, v in formats]
    summary = squeeze(folder, tmp_path / "b.bb", poor)
    assert (tmp_path / "a.bb").read_bytes() == (tmp_path / "b.bb").read_bytes()
    assert summary.codecs == summary.skipped == []


def test_an_embedded_codec_that_costs_more_than_it_saves_is_left_out_and_named(folder, tmp_path):
    squeeze(folder, tmp_path / "a.bb", [])
    long = fake_codec("long", note=noise(20_000).tobytes().hex())
    summary = squeeze(folder, tmp_path / "b.bb", [long])
    assert (tmp_path / "a.bb").read_bytes() == (tmp_path / "b.bb").read_bytes()
    assert summary.codecs == []
    assert summary.skipped == ["the codec long would take more bytes than it saves: stored without it"]
    for options in ({"embed": False}, {}):
        about = [fake_codec("long", shipped=not options, note="x" * 40_000)]
        summary = squeeze(folder, tmp_path / "c.bb", about, force=True, **options)
        assert (summary.codecs, summary.skipped) == (["long"], [])


@pytest.mark.parametrize("count", range(1, 12))
def test_an_embedded_codec_never_makes_an_archive_longer(tmp_path, count):
    """Around the point where it begins to pay."""
    for number in range(count):
        save(tmp_path / "in" / f"{number}.png", familiar(seed=number))
    codec = fake_codec("grey", note=noise(2000).tobytes().hex())
    without = squeeze(tmp_path / "in", tmp_path / "a.bb", [], verify=False)
    summary = squeeze(tmp_path / "in", tmp_path / "b.bb", [codec], verify=False)
    assert summary.archive_bytes <= without.archive_bytes + 64
    assert (summary.codecs == []) == (summary.skipped != []) == (count < 5)


def test_each_kind_of_pixels_gets_its_codec(folder, tmp_path):
    summary = squeeze(folder, tmp_path / "a.bb", [fake_codec("poor", waste=3000), *ALL])
    assert sorted(summary.codecs) == ["bits-1", "colour-1", "grey-1"]
    how = hows(tmp_path / "a.bb")
    assert {how[name] for name in ("grey/0.png", "colour/0.png", "colour/same.bmp", "mask.npy")} == {"learned"}


def test_all_shipped_codecs_are_tried_with_auto(folder, tmp_path, monkeypatch):
    shipped = tuple(fake_codec(codec.name, shipped=True, **about) for codec, about in (
        (GREY, {}), (COLOUR, {"channels": 3}), (BITS, {"levels": 2})))  # fmt: skip
    made_for_speed = replace(shipped[0], card={"fast": True})
    monkeypatch.setattr(catalogue, "shipped_codecs", lambda: (*shipped, made_for_speed))
    assert tuple(catalogue.choose_codecs("auto")) == shipped
    assert catalogue.choose_codecs("none") == catalogue.choose_codecs(None) == ()
    assert list(catalogue.choose_codecs("auto", fast=True)) == [made_for_speed, *shipped[1:]]
    assert catalogue.choose_codecs("none", fast=True) == ()


def test_fast_takes_the_codecs_made_for_speed(tmp_path):
    """The shipped ones, as users have them."""
    save(tmp_path / "in" / "photo.png", natural(1, 60, 70, 3)[0])
    for options, how in (({}, "predicted"), ({"fast": True}, "learned")):
        summary = bbcodec.compress(tmp_path / "in", tmp_path / "a.bb", force=True, **options)
        assert hows(tmp_path / "a.bb") == {"photo.png": how}
        assert summary.codecs == ["photo-fast-1"] * (how == "learned")
        bbcodec.decompress(tmp_path / "a.bb", tmp_path / how)
        check_same_tree(tmp_path / "in", tmp_path / how)
    with pytest.raises(InputError, match="choose one of fast and mix"):
        bbcodec.compress(tmp_path / "in", tmp_path / "b.bb", fast=True, mix=True)


# --- options


def test_with_exact_files_every_byte_comes_back(tmp_path):
    """Also of files of which otherwise the picture would be kept: PNGs, BMPs and arrays are still coded."""
    top = make_folder(tmp_path / "in")
    np.savez_compressed(top / "more.npz", one=familiar(count=30))
    save(top / "odd.png", smooth(30, 30), compress_level=1)
    summary = squeeze(top, tmp_path / "a.bb", ALL, exact=True)
    restore(tmp_path / "a.bb", tmp_path / "out")
    check_same_tree(top, tmp_path / "out", exact=True)
    how = hows(tmp_path / "a.bb")
    assert summary.rewritten == 0
    assert {how[name] for name in how if name.endswith((".webp", ".npz"))} == {"original"}
    assert {how[name] for name in ("stack.npy", "colour/same.bmp", "colour/0.png", "grey/0.png")} == {"learned"}
    assert squeeze(top, tmp_path / "b.bb", ALL).rewritten > 5


def waves(height, width, seed=0):
    """Waves in 16 colours, with a little noise, as JPEG XL codes best."""
    random = np.random.default_rng(seed)
    wave = np.add.outer(np.sin(np.arange(height) / 17), np.cos(np.arange(width) / 11))
    level = (wave + random.normal(2.5, 0.15, (height, width))).clip(0, 4.99) / 5 * 16
    return np.sort(random.integers(0, 256, (16, 3)), 0).astype(np.uint8)[level.astype(int)]


def test_jpegxl_is_named_among_the_needs(folder, tmp_path, monkeypatch):
    pytest.importorskip("imagecodecs", reason="JPEG XL is optional")
    save(folder / "gradient.png", waves(90, 90))
    with without_predicted():
        squeeze(folder, tmp_path / "webp.bb")
        squeeze(folder, tmp_path / "a.bb", jpegxl=True)
    restore(tmp_path / "a.bb", tmp_path / "out")
    check_same_tree(folder, tmp_path / "out")
    assert hows(tmp_path / "a.bb")["gradient.png"] == "jpegxl"
    with Archive(tmp_path / "a.bb") as archive, Archive(tmp_path / "webp.bb") as other:
        assert archive.listing()["needs"] == ["jpegxl"]
        assert other.listing()["needs"] == []
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "imagecodecs", None)
        with Archive(tmp_path / "a.bb") as archive:
            assert archive.read_bytes("notes.txt") == (folder / "notes.txt").read_bytes()
            with pytest.raises(MissingPackage, match="pip install imagecodecs"):
                archive.verify()
        with pytest.raises(
            MissingPackage, match=r"3 of \d+ files are not to be read here: .*gradient.png.*imagecodecs"
        ):
            restore(tmp_path / "a.bb", tmp_path / "most")
        everything, most = (contents(tmp_path / name) for name in ("out", "most"))
        assert everything.keys() - most.keys() == {
            name for name, how in hows(tmp_path / "a.bb").items() if how == "jpegxl"
        }
        assert most.items() <= everything.items()
        with pytest.raises(MissingPackage, match="pip install imagecodecs"):
            bbcodec.compress(folder, tmp_path / "b.bb", codec="none", jpegxl=True)
        assert not (tmp_path / "b.bb").exists()
    assert require_jpegxl()


def test_jpegxl_is_needed_only_where_it_is_shortest(tmp_path):
    pytest.importorskip("imagecodecs", reason="JPEG XL is optional")
    colours = np.random.default_rng(2).integers(0, 256, (4, 4, 3), np.uint8)
    save(tmp_path / "in" / "few colours.png", np.tile(colours, (12, 12, 1)))
    for jpegxl in (False, True):
        with without_predicted():
            squeeze(tmp_path / "in", tmp_path / f"{jpegxl}.bb", jpegxl=jpegxl)
    assert (tmp_path / "True.bb").read_bytes() == (tmp_path / "False.bb").read_bytes()
    assert hows(tmp_path / "True.bb") == {"few colours.png": "webp"}
    save(tmp_path / "in" / "waves.png", waves(90, 90))
    with without_predicted():
        squeeze(tmp_path / "in", tmp_path / "both.bb", jpegxl=True)
    assert hows(tmp_path / "both.bb") == {"few colours.png": "webp", "waves.png": "jpegxl"}


def test_a_need_is_told_by_the_directory_chunks_too(tmp_path):
    pytest.importorskip("imagecodecs", reason="JPEG XL is optional")
    save(tmp_path / "in" / "a.png", waves(90, 90))
    with without_predicted():
        squeeze(tmp_path / "in", tmp_path / "a.bb", jpegxl=True)
    data = (tmp_path / "a.bb").read_bytes()
    (tmp_path / "a.bb").write_bytes(data[:-1])
    with Archive(tmp_path / "a.bb") as archive:
        assert archive.listing()["needs"] == ["jpegxl"]


def test_excluded_names_are_left_out(folder, tmp_path):
    squeeze(folder, tmp_path / "a.bb", ALL, exclude=["*.png", "hollow"])
    with Archive(tmp_path / "a.bb") as archive:
        assert not any(name.endswith(".png") for name in archive)
        assert archive.listing()["folders"] == ["colour", "grey"]


# --- what is told


def test_every_file_is_reported(folder, tmp_path):
    reports = []
    summary = squeeze(folder, tmp_path / "a.bb", ALL, report=reports.append)
    about = {report.name: report for report in reports}
    with Archive(tmp_path / "a.bb") as archive:
        assert sorted(about) == archive.names
        listed = {file["name"]: file for file in archive.listing()["files"]}
    assert len(reports) == summary.files == N_FILES
    for name, report in about.items():
        how = "original" if report.how == "link" else report.how
        assert (how, report.file_bytes) == (listed[name]["how"], listed[name]["bytes"])
    assert about["notes.txt"].copy_of == "copy of notes.txt"
    assert about["notes.txt"].stored_bytes == 0
    assert about["grey/0.png"].tried.keys() == {"learned", "original"}  # trials settled the others
    assert any({"webp", "png", "original"} <= report.tried.keys() for report in reports)
    assert about["grey/0.png"].tried["original"] == (folder / "grey" / "0.png").stat().st_size
    stored = sum(report.stored_bytes for report in reports)
    assert 0.5 * summary.archive_bytes < stored < summary.archive_bytes


def test_progress_runs_to_the_end(folder, tmp_path):
    seen = []
    run = RunOptions(1, "cpu", lambda *step: seen.append(step), load_fake)
    compress_with(CompressRequest(folder, tmp_path / "a.bb", ALL, run=run))
    for what in ("compressing", "verifying"):
        steps = [step for step in seen if step[0] == what]
        done = [step[1] for step in steps]
        assert done == sorted(done)
        assert {step[2] for step in steps} == {steps[0][2]}
    assert steps[-1][1] == steps[-1][2]
    written = [step[3] for step in seen if step[0] == "compressing"]
    assert written == sorted(written)


def test_a_single_file_has_little_overhead(tmp_path):
    """Directory, index, frames and digests: docs/format.md."""
    save(tmp_path / "in" / "noise.png", noise(50, 50, 3))
    codec = fake_codec("photo-1", channels=3, shipped=True)
    summary = squeeze(tmp_path / "in", tmp_path / "a.bb", [codec], verify=False)
    assert summary.archive_bytes <= summary.file_bytes + 300


# --- whole or not at all


def test_a_codec_that_decodes_other_pixels_is_caught_before_the_rename(folder, tmp_path):
    with pytest.raises(VerificationFailed, match="nothing was kept"):
        squeeze(folder, tmp_path / "a.bb", ALL, load=load_lying)
    assert inside(tmp_path) == ["in"]
    squeeze(folder, tmp_path / "a.bb", ALL, load=load_lying, verify=False)
    with pytest.raises(DamagedArchive):
        restore(tmp_path / "a.bb", tmp_path / "out", run=RunOptions(1, "cpu", load=load_lying))


def test_other_pixels_are_tried_again_on_the_safe_path(folder, tmp_path):
    squeeze(folder, tmp_path / "a.bb", ALL, load=load_hasty)
    restore(tmp_path / "a.bb", tmp_path / "out", run=RunOptions(1, "cpu", load=load_hasty))
    squeeze(folder, tmp_path / "b.bb", ALL)
    assert (tmp_path / "a.bb").read_bytes() == (tmp_path / "b.bb").read_bytes()


def test_an_existing_archive_is_left_alone_without_force(folder, tmp_path):
    (tmp_path / "a.bb").write_text("mine")
    with pytest.raises(TargetExists):
        squeeze(folder, tmp_path / "a.bb")
    assert (tmp_path / "a.bb").read_text() == "mine"
    with pytest.raises(OutputError, match="is a folder"):
        squeeze(folder, folder)
    with pytest.raises(OutputError, match="cannot be written"):
        squeeze(folder, tmp_path / "no" / "such" / "a.bb")
    squeeze(folder, tmp_path / "a.bb", force=True)
    restore(tmp_path / "a.bb", tmp_path / "out")


def test_an_archive_in_its_own_input_is_left_out(folder, tmp_path):
    squeeze(folder, folder / "a.bb")
    squeeze(folder, folder / "a.bb", force=True)
    with Archive(folder / "a.bb") as archive:
        assert "a.bb" not in archive
        assert len(archive) == N_FILES
    squeeze(folder, tmp_path / "b.bb")
    with Archive(tmp_path / "b.bb") as archive:
        assert "a.bb" in archive


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError(28, "No space left on device"), InputError("gone")])
def test_nothing_is_left_when_compressing_stops(folder, tmp_path, monkeypatch, stop, force):
    def stopping(*_, **__):
        raise stop

    if force:
        (tmp_path / "a.bb").write_text("old")
    monkeypatch.setattr(assembling.ArchiveWriter, "_place", stopping)
    with pytest.raises(OutputError if isinstance(stop, OSError) else (KeyboardInterrupt, InputError)):
        squeeze(folder, tmp_path / "a.bb", ALL, force=force)
    assert inside(tmp_path) == (["a.bb", "in"] if force else ["in"])
    assert not force or (tmp_path / "a.bb").read_text() == "old"


@pytest.mark.parametrize("name", ["notes.txt", "stack.npy", "colour/0.png"])
def test_a_file_that_cannot_be_read_is_named(folder, tmp_path, monkeypatch, name):
    """As root every file can be read, so the failure is made."""
    real = open

    def refusing(path, *options, **more):
        if str(path).endswith(name):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *options, **more)

    monkeypatch.setattr(input_files, "open", refusing, raising=False)
    monkeypatch.setattr(npy, "open", refusing, raising=False)
    summary = squeeze(folder, tmp_path / "a.bb", ALL)
    assert summary.lost == sorted(
        repr(str(path.relative_to(folder))) for path in folder.rglob("*") if str(path).endswith(name)
    )
    assert "Permission denied" in summary.skipped[0]
    restore(tmp_path / "a.bb", tmp_path / "out")
    assert not (tmp_path / "out" / name).exists()
    assert len(list((tmp_path / "out").rglob("*"))) == len(list(folder.rglob("*"))) - len(summary.lost)


# --- files that change meanwhile


@pytest.fixture
def changing(monkeypatch):
    """A function that is called after files are found and copies decided on, at each of some rounds."""

    def call(*functions):
        waiting, real = list(functions), compressing.find_copies

        def find(*arguments):
            found = real(*arguments)
            if waiting:
                waiting.pop(0)()
            return found

        monkeypatch.setattr(compressing, "find_copies", find)

    return call


def rewritten(path, content):
    """A change of a file, of the same size or not."""
    return lambda: path.write_bytes(content)


@pytest.mark.parametrize("content", [b"THE NEW CONTENT!", b"longer than it was before", b"short"])
def test_a_copy_of_a_file_that_changes_stays_what_it_is(tmp_path, changing, content):
    """And the file comes back as it is now, not cut to its earlier size."""
    (tmp_path / "in").mkdir()
    for name in "abc":
        (tmp_path / "in" / name).write_bytes(b"the same content")
    changing(rewritten(tmp_path / "in" / "a", content))
    summary = squeeze(tmp_path / "in", tmp_path / "a.bb")
    assert (summary.copies, summary.changed, summary.skipped) == (1, [], [])
    restore(tmp_path / "a.bb", tmp_path / "out")
    check_same_tree(tmp_path / "in", tmp_path / "out")
    assert inside(tmp_path) == ["a.bb", "in", "out"]


@pytest.mark.parametrize("name", ["a", "b"])
def test_copies_are_decided_by_content_where_times_say_nothing(tmp_path, changing, monkeypatch, name):
    """A program that writes through a memory map leaves the times of a file as they are for a while."""
    (tmp_path / "in").mkdir()
    for each in "abc":
        (tmp_path / "in" / each).write_bytes(b"the same content")
    for module in (scanning, changes):
        monkeypatch.setattr(module, "signature_of", lambda about: (about.st_size,))
    changing(rewritten(tmp_path / "in" / name, b"THE NEW CONTENT!"))
    with pytest.raises(InputError, match=rf"in/a or {tmp_path}/in/b changed while they were read: compress again"):
        squeeze(tmp_path / "in", tmp_path / "a.bb")
    assert inside(tmp_path) == ["in"]


@pytest.mark.parametrize("name", ["notes.txt", "stack.npy", "both.npz", "colour/0.png", "photo.jpg", "deep.png"])
@pytest.mark.parametrize("content", [b"x" * 10, b"y" * 100_000])
def test_any_kind_of_file_may_change(folder, tmp_path, changing, name, content):
    changing(rewritten(folder / name, content))
    assert squeeze(folder, tmp_path / "a.bb", ALL).changed == []
    restore(tmp_path / "a.bb", tmp_path / "out")
    assert (tmp_path / "out" / name).read_bytes() == content
    assert len(list((tmp_path / "out").rglob("*"))) == len(list(folder.rglob("*")))


def test_a_file_that_goes_meanwhile_is_left_out_and_named(folder, tmp_path, changing):
    changing((folder / "notes.txt").unlink)
    summary = squeeze(folder, tmp_path / "a.bb")
    assert summary.skipped == [f"{folder / 'notes.txt'}: was removed before it was read: left out"]
    assert summary.lost == ["'notes.txt'"]
    restore(tmp_path / "a.bb", tmp_path / "out")
    check_same_tree(folder, tmp_path / "out")


@pytest.mark.parametrize("name", ["notes.txt", "stack.npy", "deep.png"])
def test_a_file_that_is_emptied_meanwhile_is_left_out_and_named(folder, tmp_path, changing, name):
    changing(rewritten(folder / name, b""))
    summary = squeeze(folder, tmp_path / "a.bb", ALL)
    assert summary.skipped == [f"{folder / name}: could not be read any more (it was emptied): left out"]
    assert summary.lost == [repr(name)]
    restore(tmp_path / "a.bb", tmp_path / "out")
    (folder / name).unlink()
    check_same_tree(folder, tmp_path / "out")


def test_files_that_go_one_by_one_are_all_left_out(folder, tmp_path, changing):
    """However many rounds that takes."""
    names = ["notes.txt", "photo.jpg", "deep.png", "stack.npy", "both.npz", "bits.png"]
    changing(*[(folder / name).unlink for name in names])
    summary = squeeze(folder, tmp_path / "a.bb", ALL)
    assert summary.lost == sorted(map(repr, names))
    restore(tmp_path / "a.bb", tmp_path / "out")
    check_same_tree(folder, tmp_path / "out")


@pytest.mark.parametrize("name", ["notes.txt", "stack.npy", "both.npz", "bits.png", "photo.jpg"])
def test_a_file_that_cannot_be_read_any_more_is_left_out_and_named(folder, tmp_path, changing, monkeypatch, name):
    """By a disk that fails, say."""
    real = open

    def failing(path, *args, **kwargs):
        if str(path) == str(folder / name) and broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return real(path, *args, **kwargs)

    broken = []
    changing(lambda: broken.append(True))
    monkeypatch.setattr("builtins.open", failing)
    summary = squeeze(folder, tmp_path / "a.bb", ALL)
    assert summary.lost == [repr(name)]
    assert "could not be read any more (Input/output error): left out" in summary.skipped[0]
    restore(tmp_path / "a.bb", tmp_path / "out")
    (folder / name).unlink()
    check_same_tree(folder, tmp_path / "out")


def test_where_all_files_have_gone_nothing_is_written(tmp_path, changing):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_text("here")
    changing((tmp_path / "in" / "a").unlink)
    with pytest.raises(InputError, match=r"nothing is left to compress: .*in/a: was removed before it was read"):
        squeeze(tmp_path / "in" / "a", tmp_path / "a.bb")
    assert inside(tmp_path) == ["in"]


def test_a_file_that_never_rests_is_told(folder, tmp_path, monkeypatch):
    """One that is written whenever it is copied; the archive has what was read last, and is whole."""
    size = changes.signature_of

    def restless(about):
        return (*size(about), os.urandom(8)) if about.st_ino == (folder / "notes.txt").stat().st_ino else size(about)

    monkeypatch.setattr(changes, "signature_of", restless)
    summary = squeeze(folder, tmp_path / "a.bb")
    assert summary.changed == ["'notes.txt'"]
    assert summary.skipped == ["'notes.txt' changed whenever it was read: stored as it was read last"]
    restore(tmp_path / "a.bb", tmp_path / "out")
    check_same_tree(folder, tmp_path / "out")


def test_files_that_change_in_every_round_are_told(folder, tmp_path, changing):
    """Each another one; those of the last round are stored as they were read."""
    names = ["notes.txt", "photo.jpg", "deep.png"]
    changing(*[rewritten(folder / name, name.encode() * 1000) for name in names])
    assert squeeze(folder, tmp_path / "a.bb").changed == ["'deep.png'"]
    restore(tmp_path / "a.bb", tmp_path / "out")
    for name in names[:2]:
        assert (tmp_path / "out" / name).read_bytes() == name.encode() * 1000
    assert (folder / "deep.png").read_bytes().startswith((tmp_path / "out" / "deep.png").read_bytes())


def test_an_array_that_is_cut_meanwhile_does_not_end_the_process(tmp_path):
    """Its pages are not mapped: those behind the end would."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 128, 128), np.uint8)
    np.save(tmp_path / "a.npy", pixels)
    lines = f"""
import os
from bbcodec.images.npy import split_npy
from bbcodec.errors import InputError
member = split_npy({str(tmp_path / "a.npy")!r})
os.truncate({str(tmp_path / "a.npy")!r}, 4096)
try:
    member.images.pixels[20:30].sum()
except InputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True)
    assert "a.npy became shorter while it was read" in done.stdout


def test_the_usual_options_load_fake_codecs():
    assert FAKE.load is load_fake


def test_a_codec_that_was_asked_for_and_is_not_used_is_told(tmp_path):
    save(tmp_path / "a.png", smooth(60, 60))
    summary = squeeze(tmp_path / "a.png", tmp_path / "a.bb", [COLOUR])
    assert summary.skipped == [
        "codec colour-1 was not used: no image is one that it takes, or comes near to other codings in it"
    ]
    np.save(tmp_path / "b.npy", smooth(60, 60)[None])
    summary = squeeze(tmp_path / "b.npy", tmp_path / "b.bb", [GREY])
    (line,) = summary.skipped
    assert re.fullmatch(r"codec grey-1 was not used: it would take [\d,]+ bytes for what takes [\d,]+ without it", line)
