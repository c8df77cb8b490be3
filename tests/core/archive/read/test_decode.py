"""Chunks to files: contradictions are damage, memory is bounded, threads and forked processes get the same."""

import multiprocessing
import os
import sys
import threading
import warnings

import numpy as np
import pytest
from fake_codec import familiar, load_fake, squeeze
from folders import ALL, FAKE, GREY, make_folder, noise, read_all, restore, save, smooth, text, write_archive
from PIL import Image

from bbcodec.archive.format.chunks import BYTES, LEARNED, SHEET, Chunk, SheetBody, pack_bytes
from bbcodec.archive.format.index import Entry, Place
from bbcodec.archive.read import decode as decoding
from bbcodec.archive.read import kept_chunks
from bbcodec.archive.read.archive import Archive
from bbcodec.archive.read.kept_chunks import KeptChunks
from bbcodec.archive.read.tasks import plan_units
from bbcodec.binary import digest64
from bbcodec.codec.message import LearnedMessage
from bbcodec.codec.pool import CodecPool, CodecSource
from bbcodec.errors import DamagedArchive
from bbcodec.images.codings import coding_named
from bbcodec.options import RunOptions

# --- contradictions: right checksums, wrong content, as only a hostile or faulty writer makes them

PIXELS = familiar(4, 4, count=2)
CODEC = (GREY.digest, "grey-1", GREY.content)
L8 = {"sample_format": "L8", "width": 4, "height": 4}


def learned(**changes):
    message = load_fake(GREY.content, "cpu").encode_message(PIXELS)
    about = {"codec_id": GREY.digest[:4], "digest": digest64(PIXELS.tobytes()), "count": 2, "height": 4, "width": 4}
    return LEARNED, LearnedMessage(**{**about, "stream": message, **changes}).pack()


def sheet(coding="lzma", pixels=PIXELS, coded_as="", **changes):
    count, height, width, channels = pixels.shape
    about = {"coding": coded_as or coding, "channels": channels, "count": count}
    about |= {"height": height, "width": width, "digest": digest64(pixels.tobytes())}
    about["stream"] = coding_named(coding).encode_sheet(pixels)
    return SHEET, SheetBody(**{**about, **changes}).pack()


def pictures(chunk, count=2, **changes):
    about = {**L8, **changes}
    planes = 2 if about.get("plane_layout", 0) & 1 else 1
    return [
        Entry(b"%d" % n, "png", places=tuple(Place(chunk, n * planes + plane) for plane in range(planes)), **about)
        for n in range(count)
    ]


CASES = {
    "another position": ([Entry(b"0", "png", places=(Place(1, 7),), **L8)], learned()),
    "colours": (pictures(1, sample_format="RGB8"), learned()),
    "two levels": (pictures(1, sample_format="L1"), learned()),
    "another width": (pictures(1, width=2), learned()),
    "transposed": (pictures(1, width=2, height=8), learned()),
    "another digest": (pictures(1), learned(digest=bytes(8))),
    "another codec": (pictures(1), learned(codec_id=b"none")),
    "images joined": (pictures(1), learned(count=1, height=8)),
    "three images": (pictures(1), learned(count=3)),
    "no message": (pictures(1), learned(stream=b"garbage")),
    "a short chunk": (pictures(1), (LEARNED, b"short")),
    "a short sheet": (pictures(1), (SHEET, b"short")),
    "a sheet of another digest": (pictures(1), sheet(digest=bytes(8))),
    "a sheet of another coding": (pictures(1), sheet(coded_as="webp")),
    "a sheet of another size": (pictures(1), sheet(width=2, height=8)),
    "a sheet of more": (pictures(1), sheet(count=3)),
    "a sheet of less": (pictures(1), sheet(count=1)),
    "a sheet of junk": (pictures(1), sheet(stream=b"junk")),
    "grey of a sheet that is not 17 times": (pictures(1, sample_format="L4"), sheet(pixels=noise(2, 4, 4, 1) | 1)),
    "bits of a sheet that are bytes": (pictures(1, sample_format="L1"), sheet(pixels=noise(2, 4, 4, 1) | 2)),
    "split without a split sample format": (pictures(1, 1, plane_layout=1), learned()),
    "a colour plane_layout without a palette": (
        pictures(1, sample_format="P8", plane_layout=2),
        sheet(pixels=noise(2, 4, 4, 3)),
    ),
    "WebP of grey": ([Entry(b"0", "webp", places=(Place(1, 0),), **L8)], learned()),
    "raw without a layout": ([Entry(b"0", "raw", places=(Place(1, 0),), **L8)], learned()),
}


@pytest.mark.parametrize("case", CASES)
def test_chunks_that_contradict_the_directory_are_damage(tmp_path, case):
    files, chunk = CASES[case]
    bad = write_archive(tmp_path / "a.bb", files, [chunk], [CODEC])
    with Archive(bad, run=FAKE) as archive:
        for name in archive:
            with pytest.raises(DamagedArchive):
                archive.read_bytes(name)
    with pytest.raises(DamagedArchive, match=f"{len(files)} of {len(files)} files are damaged"):
        restore(bad, tmp_path / "out")


def test_the_cases_are_wrong_in_one_thing_each(tmp_path):
    for number, chunk in enumerate([learned(), sheet(), sheet("lzma-planar"), sheet("webp")]):
        good = write_archive(tmp_path / f"{number}.bb", pictures(1), [chunk], [CODEC])
        assert None not in read_all(good).values()


@pytest.mark.parametrize(
    ("coding", "changes"),
    [
        ("webp", {"sample_format": "L8", "width": 5}), ("webp", {"sample_format": "L16"}),
        ("png", {"sample_format": "L8", "width": 5}), ("png", {"sample_format": "L1"}),
        ("png", {"sample_format": "L16"}), ("png", {"sample_format": "P8", "plane_layout": 3}),
        ("jpegxl", {"sample_format": "L8"}),
    ],
)  # fmt: skip
def test_images_alone_must_be_what_the_directory_says(tmp_path, coding, changes):
    data = coding_named("png" if coding == "png" else "webp").encode(smooth(4, 4), 256)
    about = {**L8, **changes}
    places = tuple(Place(0, 0, len(data), coding) for _ in range(2 if about.get("plane_layout") else 1))
    bad = write_archive(tmp_path / "a.bb", [Entry(b"0", "png", places=places, **about)], [(BYTES, pack_bytes(data))])
    assert read_all(bad) == {"0": None}


def test_lengths_must_add_up(tmp_path):
    files = [text(b"a", b"he"), text(b"b", b"123456789", 1)]
    bad = write_archive(tmp_path / "a.bb", files, [(BYTES, pack_bytes(b"hello"))])
    assert read_all(bad) == {"a": None, "b": None}


def test_images_may_be_read_as_bytes_of_no_array(tmp_path):
    """A part where images are asked for, and images where a part is."""
    one = Entry(b"0", "arrays", skeleton=True, places=(Place(1, 0, 3), Place(2, 0)))
    bad = write_archive(tmp_path / "a.bb", [one], [(BYTES, pack_bytes(b"abc")), learned()], [CODEC])
    assert read_all(bad) == {"0": None}


# --- memory


def test_decoded_chunks_are_kept_up_to_a_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(kept_chunks, "KEPT_BYTES", 2500)
    files, chunks = [], []
    for number in range(8):
        content = noise(1000, seed=number).tobytes()
        files.append(Entry(b"%d" % number, "bytes", size=1000, places=(Place(number, 0, 1000),)))
        chunks.append((BYTES, pack_bytes(content)))
    path = write_archive(tmp_path / "a.bb", files, chunks)
    reads = []
    real = decoding.read_chunk
    monkeypatch.setattr(decoding, "read_chunk", lambda path, chunk: (reads.append(chunk.offset), real(path, chunk))[1])
    with Archive(path) as archive:
        for name in "0110012234567":
            assert archive.read_bytes(name) == noise(1000, seed=int(name)).tobytes()
            assert sum(map(len, KeptChunks.of(archive._decoder._pool.kept).contents.values())) <= max(2500, 3 * 1000)
    assert len(reads) == 8


def test_a_chunk_larger_than_the_bound_is_kept_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(kept_chunks, "KEPT_BYTES", 10)
    files = [Entry(b"%d" % n, "bytes", size=50, places=(Place(0, n, 50),)) for n in range(2)]
    path = write_archive(tmp_path / "a.bb", files, [(BYTES, pack_bytes(bytes(100)))])
    with Archive(path) as archive:
        assert archive.read_bytes("0") == archive.read_bytes("1") == bytes(50)
        assert len(KeptChunks.of(archive._decoder._pool.kept).contents) == 1


def test_a_damaged_chunk_is_decoded_once_for_all_its_files(tmp_path, monkeypatch):
    """A stranger's chunk may take a second, and be named by a hundred thousand files."""
    sheet = SheetBody(bytes(8), "webp", 1, 2, 4, 4, coding_named("webp").encode_sheet(PIXELS)).pack()
    about = {**L8, "mode": "L", "size": 99}
    files = [Entry(b"%03d.png" % n, "png", places=(Place(0, n % 2),), **about) for n in range(100)]
    path = write_archive(tmp_path / "a.bb", files, [(SHEET, sheet)])
    reads = []
    real = decoding.read_chunk
    monkeypatch.setattr(decoding, "read_chunk", lambda path, chunk: (reads.append(chunk.offset), real(path, chunk))[1])
    with Archive(path) as archive:
        with pytest.raises(DamagedArchive, match=r"100 of 100 files are damaged.*its digest differs"):
            archive.verify()
        with pytest.raises(DamagedArchive, match="its digest differs"):
            archive.read_bytes("007.png")
    assert len(reads) == 1


def test_files_that_take_turns_in_large_chunks_are_damage(tmp_path, monkeypatch):
    """Five chunks of zeros in 77 kB took seconds for each turn. A few turns are fine, and so are other files."""
    monkeypatch.setattr(kept_chunks, "KEPT_BYTES", 10)
    monkeypatch.setattr(kept_chunks, "AGAIN_BYTES", 400)
    turns = [Place(chunk, turn, 1) for turn in range(9) for chunk in range(5)]
    rest = [Entry(b"rest%d" % chunk, "bytes", size=91, places=(Place(chunk, 9, 91),)) for chunk in range(5)]
    files = [Entry(b"once", "bytes", size=10, places=tuple(turns[:10])), *rest]
    files.insert(1, Entry(b"over and over", "bytes", size=45, places=tuple(turns)))
    path = write_archive(tmp_path / "a.bb", files, [(BYTES, pack_bytes(bytes(100)))] * 5)
    reads = []
    real = decoding.read_chunk
    monkeypatch.setattr(decoding, "read_chunk", lambda path, chunk: (reads.append(chunk.offset), real(path, chunk))[1])
    with Archive(path) as archive:
        for _ in range(3):  # each time anew
            reads.clear()
            with pytest.raises(DamagedArchive, match="'over and over' is damaged: files take turns in chunks"):
                archive.read_bytes("over and over")
            assert len(reads) <= 5 + 6
            assert archive.read_bytes("once") == bytes(10)
            assert archive.read_bytes("rest3") == bytes(91)
    with Archive(path) as archive, pytest.raises(DamagedArchive, match=r"of 7 files are damaged: .*'over and over'"):
        archive.verify()


# --- threads and processes


def make_many(top):
    """Chunks of all kinds, so many that they are not all kept."""
    make_folder(top)
    for number in range(12):
        save(top / "more" / f"{number}.png", familiar(40, 30 + number % 4, seed=number))
        save(top / "photos" / f"{number}.png", smooth(30 + 10 * (number % 5), 40, 3, seed=number))
        save(top / "alpha" / f"{number}.webp", smooth(20 + number, 40, 4, seed=number), lossless=True, exact=True)
    return top


def test_threads_may_read_one_archive(tmp_path, monkeypatch, every_coding):
    """They get what is right, and leave the settings of the process as they were."""
    squeeze(make_many(tmp_path / "in"), tmp_path / "a.bb", ALL)
    whole = read_all(tmp_path / "a.bb")
    monkeypatch.setattr(kept_chunks, "KEPT_BYTES", 20_000)
    failures = []
    before = Image.MAX_IMAGE_PIXELS, list(warnings.filters)

    def read(archive, seed):
        names = list(whole)
        np.random.default_rng(seed).shuffle(names)
        try:
            for name in names:
                if archive.read_bytes(name) != whole[name]:
                    failures.append(name)
                if name.endswith((".png", ".webp")) and "link" not in name:
                    assert archive[name].width > 0
                if name == "stack.npy":
                    assert len(archive.images(name, 2, 5)) == 3
        except BaseException as error:
            failures.append(error)

    for _ in range(2):
        with Archive(tmp_path / "a.bb", run=FAKE) as archive:
            threads = [threading.Thread(target=read, args=(archive, seed)) for seed in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert failures == []
    assert (Image.MAX_IMAGE_PIXELS, list(warnings.filters)) == before


def test_threads_may_begin_while_others_keep_chunks(monkeypatch):
    """As each does that reads the next file of an archive."""
    monkeypatch.setattr(kept_chunks, "KEPT_BYTES", 0)  # all are decoded again
    kept, failures, stop = KeptChunks(), [], threading.Event()
    keys = [("a.bb", Chunk(BYTES, offset, 1)) for offset in range(2 * kept_chunks.KEPT_CHUNKS)]

    def use(chosen):
        try:
            while not stop.is_set():
                for key in chosen:
                    assert kept.content(key, lambda: b"some") == b"some"
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=use, args=(keys,)), threading.Thread(target=use, args=(keys[::-1],))]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for _ in range(100_000):
            kept.begin()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)
    assert failures == []


def read_in_child(archive, names, pipe):
    pipe.send({name: archive.read_bytes(name) for name in names})
    pipe.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_forked_processes_may_read_an_open_archive(tmp_path):
    """Each reads by itself: no file position is shared."""
    squeeze(make_many(tmp_path / "in"), tmp_path / "a.bb", ALL)
    whole = read_all(tmp_path / "a.bb")
    context = multiprocessing.get_context("fork")
    with Archive(tmp_path / "a.bb", run=FAKE) as archive:
        assert archive.read_bytes("grey/0.png") == whole["grey/0.png"]
        pipes = []
        for _ in range(3):
            ours, theirs = context.Pipe(False)
            process = context.Process(target=read_in_child, args=(archive, list(whole), theirs))
            process.start()
            theirs.close()
            pipes.append((ours, process))
        for name in reversed(list(whole)):
            assert archive.read_bytes(name) == whole[name]
        for ours, process in pipes:
            assert ours.recv() == whole
            process.join()
            assert process.exitcode == 0
            ours.close()


def test_no_file_is_held_open(tmp_path):
    squeeze(make_folder(tmp_path / "in"), tmp_path / "a.bb", ALL)
    with Archive(tmp_path / "a.bb", run=FAKE) as archive:
        archive.read_bytes("grey/0.png")
        open_files = [os.readlink(f"/proc/self/fd/{one}") for one in os.listdir("/proc/self/fd")
                      if os.path.exists(f"/proc/self/fd/{one}")]  # fmt: skip
        assert str(tmp_path / "a.bb") not in open_files


def test_codecs_stay_loaded_when_others_are_needed(tmp_path):
    """Files of two codecs by turns: each codec is loaded once."""
    squeeze(make_folder(tmp_path / "in"), tmp_path / "a.bb", ALL)
    loaded = []

    def load(content, device):
        loaded.append(content)
        return load_fake(content, device)

    with Archive(tmp_path / "a.bb", run=RunOptions(1, "cpu", None, load)) as archive:
        for name in ("grey/0.png", "colour/0.png", "grey/1.png", "colour/1.png", "stack.npy"):
            archive.read_bytes(name)
    assert len(loaded) == 2


def test_what_is_kept_is_told_apart_by_archive(tmp_path):
    """Two archives with chunks at the same place, on one pool."""
    pool = CodecPool([CodecSource.of(GREY)], "cpu", load_fake)
    tasks = []
    for name in ("a", "b"):
        file = Entry(b"x", "bytes", size=1, places=(Place(0, 0, 1),))
        path = write_archive(tmp_path / name, [file], [(BYTES, pack_bytes(name.encode()))])
        with Archive(path) as archive:
            tasks += plan_units(archive._file, [0], restore=True)[0].tasks
    assert [decoding.decode_task(pool, task)[0].content for task in tasks] == [b"a", b"b"]
