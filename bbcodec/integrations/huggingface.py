"""Archives as data sets of Hugging Face `datasets`: images are decoded when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from datasets import Dataset, Features, Image, IterableDataset, Value

from bbcodec.archive.dataset import ArchiveDataset
from bbcodec.options import PathLike

FEATURES: Final = Features(
    {"image": Image(), "archive": Value("string"), "name": Value("string"), "number": Value("int32")}
)
ITEM: Final = "item"  # the column of numbers in the `ArchiveDataset`, which rows do not have


def load_archives(
    paths: PathLike | Sequence[PathLike],
    *,
    streaming: bool = False,
    names: Sequence[str] = (),
    codec: PathLike | None = None,
    device: str = "cpu",
) -> Dataset | IterableDataset:
    """The images of archives as rows: `image` (PIL.Image), `archive` (its path), `name` of the file, `number` in it.

    paths, names, codec, device: as of `ArchiveDataset`. streaming: an `IterableDataset`, whose shards are the chunks of
    the archives, so that each is decoded once; shuffled, it shuffles chunks, and images in a buffer. Otherwise a
    `Dataset`, which decodes the rows that are asked for: in order, that is as fast. Nothing is written.

    Raises what `ArchiveDataset` raises.

    >>> import pathlib, tempfile, bbcodec, numpy
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> numpy.save(folder / "digits.npy", numpy.zeros((100, 28, 28), numpy.uint8))
    >>> _ = bbcodec.compress(folder, folder / "digits.bb", codec="none")
    >>> rows = load_archives(folder / "digits.bb")
    >>> len(rows), rows[7]["image"].size, rows[7]["name"], rows[7]["number"]
    (100, (28, 28), 'digits.npy', 7)
    """
    images = ArchiveDataset(paths, names=names, codec=codec, device=device)
    if streaming:
        chunks = [chunk for archive in images.chunks() for chunk in archive]
        return IterableDataset.from_generator(_rows, features=FEATURES, gen_kwargs={"images": images, "chunks": chunks})
    items = range(len(images))
    about = [_about(images, item) for item in items]
    columns = {ITEM: list(items), **{name: [row[name] for row in about] for name in ("archive", "name", "number")}}
    kinds = Features({ITEM: Value("int64"), **{name: kind for name, kind in FEATURES.items() if name in columns}})
    return Dataset.from_dict(columns, features=kinds).with_transform(_Decoding(images))


def _rows(images: ArchiveDataset, chunks: list[list[int]]) -> Iterator[dict[str, Any]]:
    """The rows of some chunks."""
    for chunk in chunks:
        for item in chunk:
            yield {"image": _content(images, item), **_about(images, item)}


def _about(images: ArchiveDataset, item: int) -> dict[str, Any]:
    """Where an image is from."""
    name, number = images.item(item)
    return {"archive": _text(images.archive_of(item)), "name": _text(name), "number": number}


def _text(name: str) -> str:
    """A name as Arrow takes it: bytes that are not UTF-8 become escape sequences."""
    return name.encode("utf-8", "backslashreplace").decode()


def _content(images: ArchiveDataset, item: int) -> Any:
    """What the feature `Image` makes an image of: the bytes of a file, or an array."""
    (name, number), archive = images.item(item), images.opened(item)
    if archive.holds_array(name):
        pixels = archive.pixels(name, number)
        return pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
    return {"bytes": archive.read_bytes(name), "path": _text(name)}


class _Decoding:
    """Rows with their images."""

    def __init__(self, images: ArchiveDataset) -> None:
        self.images = images

    def __call__(self, rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        if ITEM not in rows:  # columns that were asked for by name
            return rows
        feature = FEATURES["image"]
        contents = [_content(self.images, item) for item in rows[ITEM]]
        found = [feature.decode_example(feature.encode_example(content)) for content in contents]
        return {"image": found, **{name: values for name, values in rows.items() if name != ITEM}}
