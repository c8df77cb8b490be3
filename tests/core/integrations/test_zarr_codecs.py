"""Chunks of zarr arrays: what was written is read, in both formats, whatever its type and shape; damage is found."""

import base64
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tiny_models import deep_codec_file, pictures, tiny_codec_file

from bbcodec.codec.file import load_codec
from bbcodec.errors import BBCodecError, DamagedArchive, InputError, MissingCodec

zarr = pytest.importorskip("zarr", reason="zarr is optional")

import numcodecs  # noqa: E402

from bbcodec.integrations.chunk_coder import CODED, FALLBACK, LEARNED, VERSION, ChunkCoder  # noqa: E402
from bbcodec.integrations.zarr_codecs import BBCodec, BBNumcodec  # noqa: E402


@pytest.fixture(scope="module")
def codecs(tmp_path_factory) -> dict[str, str]:
    """The paths of tiny codecs, by the pixels that they take."""
    folder = tmp_path_factory.mktemp("codecs")
    for kind in ("grey", "RGB", "binary"):
        (folder / f"{kind}.bbc").write_bytes(tiny_codec_file(kind))
    return {kind: str(folder / f"{kind}.bbc") for kind in ("grey", "RGB", "binary")}


@pytest.fixture(scope="module")
def deep_codec(tmp_path_factory) -> str:
    """The path of a codec for images of 16 bits."""
    path = tmp_path_factory.mktemp("deep") / "deep.bbc"
    path.write_bytes(deep_codec_file())
    return str(path)


def images(kind: str, count: int = 4) -> np.ndarray:
    seen = pictures(kind, count, 16, 16)
    return seen if kind == "RGB" else seen[..., 0]


@pytest.mark.parametrize("kind", ["grey", "RGB", "binary"])
@pytest.mark.parametrize("version", [2, 3])
def test_arrays_come_back_with_nothing_but_their_metadata(kind, version, codecs, tmp_path):
    data = images(kind)
    chunks = (2, *data.shape[1:])
    if version == 3:
        how = {"serializer": BBCodec(codecs[kind]), "compressors": None}
    else:
        how = {"compressors": BBNumcodec(codecs[kind]), "zarr_format": 2}
    zarr.create_array(tmp_path / "a.zarr", data=data, chunks=chunks, **how)
    opened = zarr.open_array(tmp_path / "a.zarr", mode="r")
    assert np.array_equal(opened[:], data)
    assert np.array_equal(opened[3], data[3])
    about = (tmp_path / "a.zarr" / ("zarr.json" if version == 3 else ".zarray")).read_text()
    assert "content" in about  # the codec itself, as it is not shipped
    assert codecs[kind] not in about


LAYOUTS = {
    "stack": ((5, 24, 20), (2, 24, 20)),  # the last chunk is not full
    "tiles": ((40, 36), (16, 16)),
    "tczyx": ((1, 2, 3, 18, 16), (1, 1, 2, 18, 16)),
    "colours": ((3, 20, 18, 3), (2, 20, 18, 3)),
    "line": ((100,), (30,)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["u1", "<u2", ">u2", "i2", "f8", "?"])
@pytest.mark.parametrize("version", [2, 3])
def test_every_type_and_layout(version, kind, layout, codecs):
    """As fallback, as learned images where the codec takes them, and as images of 16 bits."""
    shape, chunks = LAYOUTS[layout]
    slopes = np.indices(shape).sum(axis=0) * 9 % 251
    data = (slopes + np.random.default_rng(0).integers(0, 4, shape)).astype(kind)
    codec = codecs["RGB" if layout == "colours" else "grey"]
    if version == 3:
        how = {"serializer": BBCodec(codec), "compressors": None}
    else:
        how = {"compressors": BBNumcodec(codec), "zarr_format": 2, "order": "F" if layout == "stack" else "C"}
    array = zarr.create_array({}, data=data, chunks=chunks, **how)
    assert array.dtype == data.dtype
    assert np.array_equal(array[:], data)
    part = tuple(slice(1, end - 1) for end in shape)
    assert np.array_equal(array[part], data[part])
    array[part] = data[part] + data.dtype.type(1)
    data[part] += data.dtype.type(1)
    assert np.array_equal(array[:], data)


def test_chunks_in_shards(codecs):
    data = deep(8)
    how = {"serializer": BBCodec(codecs["grey"]), "compressors": None}
    array = zarr.create_array({}, data=data, chunks=(2, 24, 24), shards=(4, 24, 24), **how)
    assert np.array_equal(array[:], data)
    assert np.array_equal(array[3], data[3])


def test_images_are_coded_by_the_learned_codec_where_that_is_shorter(codecs):
    coder = ChunkCoder.of(codecs["binary"])
    data = load_codec(codecs["binary"], "cpu").draw((60, 16, 16))[..., 0]
    coded = coder.encode(data)
    assert coded[1] == LEARNED
    assert len(coded) < len(numcodecs.Zstd(9).encode(data.tobytes()))
    assert coder.encode(data + 7)[1] != LEARNED  # which has other levels
    assert np.array_equal(coder.decode(coded, data.shape, data.dtype), data)


def deep(count: int, height: int = 24, width: int = 24, seed: int = 0) -> np.ndarray:
    """Smooth images of 12 bits, with noise, of big numbers."""
    steps = np.random.default_rng(seed).integers(-9, 10, (count, height, width)).cumsum(axis=1).cumsum(axis=2)
    return (2048 + steps).clip(0, 4095).astype(np.uint16)


@pytest.mark.parametrize("order", ["<", ">"])
def test_deep_images_are_coded_as_archives_code_them(order, codecs):
    coder = ChunkCoder.of(codecs["grey"])
    images = deep(6).reshape(2, 3, 24, 24).astype(f"{order}u2")
    coded = coder.encode(images)
    assert coded[1] == CODED
    assert len(coded) < len(numcodecs.Blosc("zstd", 9).encode(images)) - 200
    back = coder.decode(coded, images.shape, images.dtype)
    assert np.array_equal(back, images)
    assert back.dtype == images.dtype


def test_deep_images_in_several_sheets(codecs):
    """No sheet of a coding takes more than some rows."""
    coder = ChunkCoder.of(codecs["grey"])
    images = deep(3, 9000, 2)
    coded = coder.encode(images)
    assert coded[1] == CODED
    assert np.array_equal(coder.decode(coded, images.shape, images.dtype), images)


def test_deep_images_by_a_codec_of_their_own(deep_codec):
    coder = ChunkCoder.of(deep_codec)
    images = deep(40, 16, 16)
    ways = {way[1]: way for way in coder._ways(images)}
    assert set(ways) == {FALLBACK, LEARNED, CODED}
    for way in ways.values():
        assert np.array_equal(coder.decode(way, images.shape, images.dtype), images)
    assert {way[1] for way in coder._ways(images.astype(np.uint8))} == {FALLBACK}


def test_chunks_of_another_kind_are_refused(codecs):
    """Bytes that are right for one type, decoded as another."""
    coder = ChunkCoder.of(codecs["grey"])
    for images in (deep(2), np.zeros((2, 16, 16), np.uint8)):
        coded = coder.encode(images)
        for shape, kind in (((2, 24, 25), "u2"), ((2, 24, 24), "i4"), ((2304,), "u2"), ((2, 16, 15), "u1"), ((), "u2")):
            with pytest.raises(DamagedArchive):
                coder.decode(coded, shape, kind)
    for way in (b"", bytes([VERSION]), bytes([VERSION, 9]), bytes([1, 0])):
        with pytest.raises(DamagedArchive):
            coder.decode(way, (2, 2), "u1")


TYPES = st.sampled_from(["u1", "<u2", ">u2", "<i4", ">f8", "?", "<c8"])


@settings(max_examples=40)
@given(array=arrays.arrays(TYPES, arrays.array_shapes(max_dims=5, max_side=6)))
def test_any_array_comes_back(array, codecs):
    coder = ChunkCoder.of(codecs["grey"])
    assert coder.decode(coder.encode(array), array.shape, array.dtype).tobytes() == array.tobytes()
    codec = BBNumcodec(coder)
    back = codec.decode(codec.encode(array))
    assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, array.shape, array.tobytes())
    out = np.empty_like(array)
    codec.decode(codec.encode(array), out=out)
    assert out.tobytes() == array.tobytes()


def test_fortran_order_is_kept(codecs):
    """numcodecs gives and takes memory, in the order of its axes."""
    codec = BBNumcodec(codecs["grey"])
    for plain in (images("grey"), deep(2), np.arange(24.0).reshape(2, 3, 4)):
        fortran = np.asfortranarray(plain)
        back = codec.decode(codec.encode(fortran))
        assert back.flags.f_contiguous
        assert np.array_equal(back, plain)
        out = np.empty_like(fortran)
        codec.decode(codec.encode(fortran), out=out)
        assert np.array_equal(out, plain)


@settings(max_examples=40)
@given(data=st.data())
def test_damage_is_found(data, codecs):
    coder = ChunkCoder.of(codecs["binary"])
    image = data.draw(st.sampled_from([images("binary", 2), deep(2, 12, 12)]))
    for codec, decode in (
        (coder, lambda coded: coder.decode(coded, image.shape, image.dtype)),
        (BBNumcodec(coder), BBNumcodec(coder).decode),
    ):
        coded = bytearray(codec.encode(image))
        place = data.draw(st.integers(0, len(coded) - 1))
        if data.draw(st.booleans()):
            coded[place] ^= 1 << data.draw(st.integers(0, 7))
        else:
            del coded[place:]
        try:
            back = decode(bytes(coded))
        except DamagedArchive:
            continue
        assert back.tobytes() == image.tobytes()


def test_metadata_name_shipped_codecs_and_carry_others(codecs):
    carried = ChunkCoder.of(codecs["grey"]).config()
    assert json.loads(json.dumps(carried)) == carried
    assert base64.b64decode(carried["content"]) == tiny_codec_file("grey")
    assert ChunkCoder.from_config(carried).config() == carried
    shipped = ChunkCoder.of("mnist-binary-fast-1").config()
    assert set(shipped) == {"codec", "digest", "fallback"}
    assert ChunkCoder.from_config(shipped).source.name == "mnist-binary-fast-1"
    named = ChunkCoder.of(codecs["grey"], embed=False).config()
    assert "content" not in named


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"digest": "00" * 16}, MissingCodec),
        ({"content": "!"}, InputError),
        ({"content": base64.b64encode(b"no codec").decode()}, BBCodecError),
        ({"fallback": {"id": "pickle"}}, InputError),
        ({"fallback": {"id": "zstd", "colour": 3}}, InputError),
        ({"fallback": None}, InputError),
        ({"codec": "none-such", "digest": "00" * 16, "content": None}, MissingCodec),
    ],
)
def test_metadata_that_cannot_be_are_refused(change, kind, codecs):
    config = ChunkCoder.of(codecs["grey"]).config()
    with pytest.raises(kind):
        ChunkCoder.from_config({**config, **change})
    with pytest.raises(InputError):
        ChunkCoder.from_config({})
    with pytest.raises(InputError, match="fallback"):
        BBCodec(codecs["grey"], fallback={"id": "quantize"})


def test_numcodecs_finds_it(codecs):
    codec = numcodecs.get_codec(BBNumcodec(codecs["grey"]).get_config())
    data = images("grey")
    assert np.array_equal(codec.decode(codec.encode(data)), data)
    assert numcodecs.get_codec(codec.get_config()) == codec
