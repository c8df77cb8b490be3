"""Folders with images and more, for tests of archives; and whether they came back."""

import os
import stat
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from fake_codec import fake_codec, familiar, load_fake
from PIL import Image

from bbcodec.archive.format.container import ContainerWriter
from bbcodec.archive.format.index import Entry, Place
from bbcodec.archive.read.archive import Archive
from bbcodec.errors import DamagedArchive
from bbcodec.images.formats import webp
from bbcodec.images.formats.webp import encode_webp
from bbcodec.options import RunOptions

GREY = fake_codec("grey-1")
COLOUR = fake_codec("colour-1", channels=3)
BITS = fake_codec("bits-1", levels=2)
ALL = (GREY, COLOUR, BITS)
FAKE = RunOptions(1, "cpu", load=load_fake)


def save(path: Path, pixels: np.ndarray, **options):
    """Pixels (H, W, C) as an image file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels if pixels.shape[-1] > 1 else pixels[..., 0]).save(path, **options)


def smooth(height, width, channels=1, seed=0):
    """Pixels that PNG and WebP code well, and the fake codecs do not."""
    steps = np.random.default_rng(seed).integers(-1, 2, (height, width, channels))
    return (np.cumsum(np.cumsum(steps, 0), 1) % 256).astype(np.uint8)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def make_folder(top: Path) -> Path:
    """One of everything."""
    for number in range(6):
        save(top / "grey" / f"{number}.png", familiar(seed=number), dpi=(300, 300))
    for number in range(3):
        save(top / "colour" / f"{number}.png", familiar(channels=3, seed=number))
    save(top / "colour" / "same.bmp", familiar(channels=3, seed=9))
    Image.fromarray(familiar(20, 20, levels=2)[..., 0].astype(bool)).save(top / "bits.png")
    Image.fromarray(smooth(24, 24, 3, seed=5)).save(top / "photo.jpg")
    save(top / "alpha.png", smooth(24, 24, 4))
    save(top / "alpha.webp", smooth(24, 24, 4, seed=1), lossless=True, exact=True)
    save(top / "deep.png", smooth(20, 20).astype(np.uint16) * 250)
    (top / "notes.txt").write_text("hello\n" * 50)
    (top / "copy of notes.txt").write_text("hello\n" * 50)
    (top / "empty.txt").touch()
    (top / "hollow" / "inner").mkdir(parents=True)
    np.save(top / "stack.npy", familiar(count=10)[..., 0])
    np.save(top / "mask.npy", familiar(count=4, levels=2)[..., 0] == 1)
    np.save(top / "labels.npy", np.arange(10))
    np.savez(top / "both.npz", images=familiar(count=5, seed=3)[..., 0], labels=np.arange(5))
    (top / "grey" / "link.png").symlink_to("../photo.jpg")
    os.utime(top / "notes.txt", ns=(1, 1234567890_123456789))
    (top / "notes.txt").chmod(0o640)
    (top / "grey" / "0.png").chmod(0o444)
    (top / "hollow").chmod(0o555)
    os.utime(top / "hollow", ns=(1, 987654321_987654321))
    return top


@contextmanager
def quick_webp():
    """WebP with little effort, for tests of anything but sizes: libwebp takes 15 ms for the smallest image."""

    def quick(pixels, quality=0, method=0):
        return encode_webp(pixels, quality=20, method=0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(webp, "encode_webp", quick)
        yield


N_FILES = 23  # of `make_folder`, with the link


def check_same_file(before: Path, after: Path, exact: bool = False):
    """The same bytes, or for a PNG or WebP the same picture; the same time and permissions."""
    first, second = before.lstat(), after.lstat()
    assert first.st_mtime_ns == second.st_mtime_ns, before
    assert stat.S_IFMT(first.st_mode) == stat.S_IFMT(second.st_mode)
    if before.is_symlink():
        assert os.readlink(before) == os.readlink(after)
        return
    assert stat.S_IMODE(first.st_mode) == stat.S_IMODE(second.st_mode), before
    if before.is_dir():
        return
    if before.suffix == ".npz" and not exact:
        with np.load(before) as one, np.load(after) as two:
            assert one.files == two.files
            assert all(np.array_equal(one[key], two[key]) and one[key].dtype == two[key].dtype for key in one.files)
    elif before.suffix in (".png", ".webp") and not exact:
        with Image.open(before) as one, Image.open(after) as two:
            one.load()
            two.load()
            assert (one.mode, one.size, one.info) == (two.mode, two.size, two.info)
            assert one.tobytes() == two.tobytes()
    else:
        assert before.read_bytes() == after.read_bytes(), before


def check_same_tree(before: Path, after: Path, exact: bool = False):
    """Nothing more, nothing less, nothing else."""
    inside = sorted(os.fsencode(path.relative_to(before)) for path in before.rglob("*"))
    assert inside == sorted(os.fsencode(path.relative_to(after)) for path in after.rglob("*"))
    for name in inside:
        check_same_file(before / os.fsdecode(name), after / os.fsdecode(name), exact)


def restore(path: Path, target: Path, names=(), *, run=FAKE, known=(), **options):
    with Archive(path, known, run) as archive:
        return archive.restore(target, names, **options)


def contents(folder: Path) -> dict[str, bytes]:
    """What is in the files of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read_all(path: Path, run=FAKE) -> dict[str, bytes | None]:
    """Every file of an archive; None for those that are refused as damaged."""
    found: dict[str, bytes | None] = {}
    with Archive(path, run=run) as archive:
        for name in archive:
            try:
                found[name] = archive.read_bytes(name)
            except DamagedArchive:
                found[name] = None
    return found


def hows(path: Path) -> dict[str, str]:
    """How each file of an archive is stored."""
    with Archive(path) as archive:
        return {file["name"]: file["how"] for file in archive.listing()["files"]}


def write_archive(path: Path, files=(), chunks=(), codecs=()) -> Path:
    """An archive of these entries, chunks, and codecs (digest, name, content): also one that nobody should write."""
    with open(path, "wb") as stream:
        writer = ContainerWriter(stream)
        for codec in codecs:
            writer.add_codec(*codec)
        for chunk in chunks:
            writer.add(*chunk)
        writer.add_files(files)
        writer.finish()
    return path


def damage(path: Path, name: str, which: int = 0):
    """Change the last byte of a chunk of a file's content: guaranteed to differ."""
    with Archive(path) as archive:
        file = next(file for file in archive.files if file.name == os.fsencode(name))
        chunk = archive._file.directory.chunks[file.content[which].chunk]
    data = bytearray(path.read_bytes())
    data[chunk.offset + chunk.length - 1] ^= 0x55
    path.write_bytes(data)


def text(name, content, position=0, chunk=0):
    """The entry of a small file, a part of a chunk of bytes."""
    return Entry(name, "bytes", size=len(content), places=(Place(chunk, position, len(content)),))


def counting():
    """Counts of images of each message that is decoded, and a setting that sees to it."""
    calls = []

    class Counting:
        concurrent = False

        def __init__(self, content, device):
            self.codec = load_fake(content, device)

        def decode_message(self, *message):
            calls.append(message[1])
            return self.codec.decode_message(*message)

    return calls, RunOptions(1, "cpu", None, Counting)
