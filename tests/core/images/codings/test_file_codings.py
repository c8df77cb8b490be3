"""Codings of whole files: every byte comes back, or the coding refuses; hostile streams are damage and cost little."""

import struct
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jpeg_examples import jpeg, slope

from bbcodec.errors import DamagedArchive, MissingPackage
from bbcodec.images.codings import FILE_CODINGS, file_coding, file_codings
from bbcodec.images.codings.base import MAX_FILE_MEMORY, FileFacts
from bbcodec.images.codings.lepton import FIXED_HEADER, MAX_SCANS, check_header

HERE = [one for one in file_codings("JPEG") if one.installed()]
LEPTON = file_coding("lepton", "jpeg")
needs_lepton = pytest.mark.skipif(not LEPTON.installed(), reason="lepton has no wheel here")


def facts_of(data: bytes, width: int = 48, height: int = 40) -> FileFacts:
    return FileFacts(len(data), width, height)


def test_files_have_codings():
    assert [one.name for one in file_codings("JPEG")] == list(FILE_CODINGS["jpeg"])
    assert file_codings("MPO") == file_codings("JPEG")
    assert file_codings("PNG") == []
    for name, form in (("lepton", "png"), ("webp", "jpeg"), ("bytes", "jpeg")):
        with pytest.raises(DamagedArchive):
            file_coding(name, form)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(HERE),
    st.sampled_from(["L", "RGB"]),
    st.tuples(st.integers(1, 70), st.integers(1, 70)),
    st.fixed_dictionaries({
        "quality": st.integers(1, 100),
        "progressive": st.booleans(),
        "optimize": st.booleans(),
        "subsampling": st.integers(0, 2),
        "restart_marker_blocks": st.integers(0, 5),
    }),
    st.integers(0, 40),
    st.binary(max_size=30),
)  # fmt: skip
def test_whatever_is_taken_comes_back(coding, mode, size, options, cut, tail):
    width, height = size
    data = jpeg(slope(height, width, mode), **options)
    data = data[: len(data) - cut] + tail
    facts = FileFacts(len(data), width, height)
    try:
        coded = coding.encode_file(data, facts)
    except ValueError:
        # The package refuses some files of few blocks, and grey ones with restart markers and a sampling of their own.
        odd = mode == "L" and options["subsampling"] and options["restart_marker_blocks"]
        assert cut or width * height < 1024 or odd or coding.name != "lepton"
        return
    assert coding.decode_file(coded, facts) == data


@needs_lepton
def test_photos_take_less():
    data = jpeg(slope(160, 200, "RGB"), quality=85)
    assert len(LEPTON.encode_file(data, facts_of(data, 200, 160))) < 0.9 * len(data)


@needs_lepton
def test_a_stream_depends_on_the_file_alone():
    data = jpeg(slope(300, 400, "RGB"), quality=90)
    facts = facts_of(data, 400, 300)
    with ThreadPoolExecutor(4) as pool:
        streams = set(pool.map(lambda _: LEPTON.encode_file(data, facts), range(8)))
    assert len(streams) == 1


@pytest.mark.parametrize("coding", HERE, ids=lambda one: one.name)
def test_files_that_are_none_are_refused(coding):
    photo = jpeg(slope(40, 48, "RGB"))
    for data in (b"", b"\xff", photo[:100], b"\x89PNG" + photo, jpeg(slope(40, 48, "CMYK"))):
        with pytest.raises(ValueError, match=coding.name):
            coding.encode_file(data, facts_of(data))
    with pytest.raises(ValueError, match="takes no"):
        coding.encode_file(photo, facts_of(photo, 2**16, 2**16))
    side = int((MAX_FILE_MEMORY / 16) ** 0.5) + 1
    with pytest.raises(ValueError, match="takes no"):
        coding.encode_file(photo * 200, facts_of(photo * 200, side, side))


@pytest.mark.parametrize("coding", HERE, ids=lambda one: one.name)
def test_another_file_than_is_said_is_damage(coding):
    data = jpeg(slope(40, 48, "RGB"))
    coded = coding.encode_file(data, facts_of(data))
    for wrong in (
        FileFacts(len(data) - 1, 48, 40), FileFacts(len(data) + 1, 48, 40), FileFacts(len(data), 47, 40),
        FileFacts(len(data), 48, 39),
    ):  # fmt: skip
        with pytest.raises(DamagedArchive):
            coding.decode_file(coded, wrong)
    with pytest.raises(DamagedArchive, match="does not give back"):
        coding.decode_file(bytes([coded[0] ^ 1]) + coded[1:], facts_of(data))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(HERE), st.booleans(), st.data())
def test_damage_of_a_stream_is_no_other_error(coding, progressive, data):
    original = jpeg(slope(40, 48, "RGB"), progressive=progressive)
    coded = bytearray(coding.encode_file(original, facts_of(original)))
    for _ in range(data.draw(st.integers(1, 4))):
        coded[data.draw(st.integers(0, len(coded) - 1))] ^= data.draw(st.integers(1, 255))
    coded = coded[: data.draw(st.sampled_from([len(coded), len(coded) // 2]))]
    try:
        assert coding.decode_file(bytes(coded), facts_of(original)) == original
    except DamagedArchive:
        return


@pytest.mark.parametrize("coding", file_codings("JPEG"), ids=lambda one: one.name)
def test_without_its_package_a_coding_says_what_to_install(coding, monkeypatch):
    monkeypatch.setitem(sys.modules, coding.package, None)
    for call in (coding.encode_file, coding.decode_file):
        with pytest.raises(MissingPackage, match=f"needs the package {coding.install}: pip install {coding.install}"):
            call(bytes(200), facts_of(bytes(200)))


# --- lepton


def lepton_stream(records: bytes, *, jpeg_bytes: int = 20, scans: int = 1, size: int = 1000, partitions: int = 1):
    """A stream with a header of these records, as of a file of `size` bytes."""
    start = b"HDR" + struct.pack("<I", jpeg_bytes) + b"\xff\xda" * scans + bytes(20)
    header = zlib.compress(start[: 7 + jpeg_bytes] + records)
    return FIXED_HEADER.pack(b"\xcf\x84", 1, b"Z", partitions, size, len(header)) + header + b"CMP"


@needs_lepton
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}, {"quality": 30}])
def test_headers_of_the_package_are_sound(options):
    for tail in (b"", b"more"):
        data = jpeg(slope(40, 48, "RGB"), **options) + tail
        check_header(LEPTON.encode_file(data, facts_of(data))[8:], len(data))


def test_headers_that_ask_for_more_than_they_hold_are_damage():
    """A number of 32 bits would have the package take so much memory before it looks."""
    split, many = b"HH\x01" + bytes(16), b"\xff\xff\xff\xff"
    check_header(lepton_stream(split + b"P0D\0" + b"GRB\2\0\0\0ab" + b"CRS\1\0\0\0abcd" + b"FRS\0\0\0\0"), 1000)
    check_header(lepton_stream(split + b"EEE" + bytes(28)), 1000)
    for records in (
        b"GRB" + many, b"CRS" + many, b"FRS" + many, b"CRS\2\0\0\0abcd", b"HH\2" + bytes(32), b"HH\1", b"what", b"EEE",
        b"GRB\3\0\0\0ab",
    ):  # fmt: skip
        with pytest.raises(DamagedArchive):
            check_header(lepton_stream(records), 1000)
    for wrong in (
        {"jpeg_bytes": 2**32 - 1}, {"jpeg_bytes": 30}, {"size": 999}, {"partitions": 2}, {"partitions": 0},
        {"scans": MAX_SCANS + 1, "jpeg_bytes": 2 * MAX_SCANS + 2},
    ):  # fmt: skip
        with pytest.raises(DamagedArchive):
            check_header(lepton_stream(split, **wrong), 1000)
    whole = lepton_stream(split)
    for cut in range(len(whole) - 3):
        with pytest.raises(DamagedArchive):
            check_header(whole[:cut], 1000)


def test_a_header_that_inflates_without_end_is_damage():
    with pytest.raises(DamagedArchive):
        check_header(lepton_stream(b"GRB" + struct.pack("<I", 2**26) + bytes(2**26)), 1000)
