"""Codecs of archives: embedded, shipped or given."""

from dataclasses import replace

import numpy as np
import pytest
from fake_codec import fake_codec, fake_content, familiar, load_fake, squeeze
from folders import (
    ALL,
    FAKE,
    GREY,
    N_FILES,
    check_same_tree,
    contents,
    restore,
    text,
    write_archive,
)

import bbcodec
from bbcodec.archive.format.chunks import BYTES, LEARNED, pack_bytes
from bbcodec.archive.format.index import Entry, Place
from bbcodec.archive.read import codecs as codecs_of_archives
from bbcodec.archive.read.archive import Archive
from bbcodec.codec import pool as workers
from bbcodec.codec.pool import CodecSource
from bbcodec.errors import DamagedArchive, MissingCodec
from bbcodec.options import Limits


def test_codecs_of_ones_own_are_embedded(folder, tmp_path):
    squeeze(folder, tmp_path / "a.bb", ALL)
    squeeze(folder, tmp_path / "b.bb", ALL, embed=False)
    squeeze(folder, tmp_path / "c.bb", [fake_codec("grey-1", shipped=True)])
    with Archive(tmp_path / "a.bb") as one, Archive(tmp_path / "b.bb") as two, Archive(tmp_path / "c.bb") as three:
        assert [codec.chunk is None for codec in one.codecs] == [False] * 3
        assert [codec.chunk is None for codec in two.codecs] == [True] * 3
        assert [codec.chunk is None for codec in three.codecs] == [True]
        listed = {codec["name"]: codec["embedded"] for codec in one.listing()["codecs"]}
        assert listed == {"grey-1": True, "colour-1": True, "bits-1": True}


def test_a_missing_codec_is_named_and_nothing_is_written(folder, tmp_path):
    squeeze(folder, tmp_path / "a.bb", [GREY], embed=False)
    with pytest.raises(MissingCodec, match="grey-1.*" + GREY.digest.hex()):
        restore(tmp_path / "a.bb", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    restore(tmp_path / "a.bb", tmp_path / "out", known=[CodecSource.of(GREY)])
    check_same_tree(folder, tmp_path / "out")
    restore(tmp_path / "a.bb", tmp_path / "some", ["notes.txt"])
    assert contents(tmp_path / "some").keys() == {"notes.txt"}


def test_a_codec_is_only_needed_for_what_needs_it(folder, tmp_path):
    """Of several codecs, too: a file of one is read without the others."""
    squeeze(folder, tmp_path / "a.bb", ALL, embed=False)
    with Archive(tmp_path / "a.bb", [CodecSource.of(GREY)], FAKE) as archive:
        assert np.array_equal(np.asarray(archive["grey/1.png"]), familiar(seed=1)[..., 0])
        with pytest.raises(MissingCodec, match="colour-1"):
            archive["colour/1.png"]
        assert np.array_equal(archive["stack.npy"], familiar(count=10)[..., 0])


def test_shipped_codecs_are_found_by_digest(folder, tmp_path, monkeypatch):
    shipped = fake_codec("grey-1", shipped=True)
    squeeze(folder, tmp_path / "a.bb", [shipped])
    known = fake_codec("else", shipped=True, x=1), shipped
    monkeypatch.setattr(codecs_of_archives, "shipped_codecs", lambda: known)
    restore(tmp_path / "a.bb", tmp_path / "out")
    check_same_tree(folder, tmp_path / "out")


def test_an_embedded_codec_that_is_another_is_damage(tmp_path):
    source = CodecSource.of(GREY)
    body = workers.CodecPool([source], "cpu", load_fake).encode(source, familiar(4, 4, count=1))[0]
    files = [Entry(b"a", "raw", "L", "L8", 0, 4, 4, places=(Place(1, 0),)), text(b"b", b"hi", chunk=2)]
    chunks = [(LEARNED, replace(body, codec_id=bytes(4)).pack()), (BYTES, pack_bytes(b"hi"))]
    bad = write_archive(tmp_path / "a.bb", files, chunks, [(bytes(16), "grey-1", GREY.content)])
    with pytest.raises(DamagedArchive, match="1 of 2 files are damaged: 'a'"):
        restore(bad, tmp_path / "out")
    assert contents(tmp_path / "out") == {"b": b"hi"}
    unused = write_archive(tmp_path / "b.bb", [], [], [(bytes(16), "grey-1", GREY.content)])
    with Archive(unused) as archive, pytest.raises(DamagedArchive, match="embedded codec 'grey-1' is not the one"):
        archive.verify()


def test_embedded_codecs_can_be_refused(folder, tmp_path):
    """Then what needs them cannot be read, unless their files are given; nothing else needs them."""
    squeeze(folder, tmp_path / "a.bb", [GREY])
    refusing = replace(FAKE, limits=Limits(embedded_codecs=False))
    with Archive(tmp_path / "a.bb", run=refusing) as archive:
        assert archive.read_bytes("notes.txt")
        with pytest.raises(MissingCodec, match="--no-embedded-codec refuses"):
            archive.read_bytes("grey/1.png")
    with Archive(tmp_path / "a.bb", [CodecSource.of(GREY)], refusing) as archive:
        assert archive.read_bytes("grey/1.png")


def test_only_codecs_of_archives_are_checked_against_the_limits(folder, tmp_path):
    squeeze(folder, tmp_path / "a.bb", [GREY])
    with Archive(tmp_path / "a.bb", run=FAKE) as archive, Archive(tmp_path / "a.bb", [CodecSource.of(GREY)]) as given:
        (record,) = archive.codecs
        assert archive.source_of(record).stored_bytes == archive._file.directory.chunks[record.chunk].length
        assert given.source_of(record).stored_bytes is None


def test_the_public_functions_take_codec_files(folder, tmp_path, monkeypatch):
    """compress, open, verify and decompress with the path of a codec; the fake replaces what needs torch."""
    monkeypatch.setattr(workers, "load_content", load_fake)
    (tmp_path / "mine.bbc").write_bytes(fake_content())
    archive = tmp_path / "a.bb"
    summary = bbcodec.compress(folder, archive, codec=tmp_path / "mine.bbc", embed_codec=False)
    assert summary.codecs == ["mine"]
    with pytest.raises(MissingCodec):
        bbcodec.verify(archive)
    assert bbcodec.verify(archive, codec=tmp_path / "mine.bbc").files == N_FILES
    bbcodec.decompress(archive, tmp_path / "out", codec=tmp_path / "mine.bbc")
    check_same_tree(folder, tmp_path / "out")
    with bbcodec.open(archive, codec=tmp_path / "mine.bbc") as opened:
        assert len(opened) == N_FILES
    with pytest.raises(MissingCodec, match="neither a shipped codec"):
        bbcodec.compress(folder, tmp_path / "b.bb", codec="no-such-codec")
    assert not (tmp_path / "b.bb").exists()
