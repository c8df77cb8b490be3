"""Several archives and a manifest: opened like one by whatever reads archives; a lost one costs only its files."""

import json
import os
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import fsspec
import numpy as np
import pytest
from fake_codec import familiar
from folders import check_same_tree, make_folder, save
from hypothesis import given
from hypothesis import strategies as st
from reference_reader import ReaderError, opened

import bbcodec
from bbcodec.archive.format.shards import (
    MANIFEST_MAGIC,
    START,
    Shard,
    beside,
    check_shard_name,
    pack_manifest,
    unpack_manifest,
)
from bbcodec.archive.write import parts
from bbcodec.binary import digest64
from bbcodec.cli.main import main
from bbcodec.errors import BBCodecError, DamagedArchive, InputError, NotAnArchive, UnsafePath, UnsupportedVersion
from bbcodec.report.byte_counts import count_bytes

pytestmark = pytest.mark.usefixtures("unpredicted")


@pytest.fixture
def folder(tmp_path) -> Path:
    top = tmp_path / "in"
    make_folder(top)
    for number in range(6):
        save(top / "many" / f"{number}.png", familiar(20, 20, 3, seed=number))
    return top


@pytest.fixture
def sharded(folder, tmp_path) -> Path:
    """A manifest of some shards."""
    place = tmp_path / "out" / "all.bb"
    place.parent.mkdir()
    bbcodec.compress(folder, place, codec="none", shard_size=2000, exact_files=True)
    return place


def shards_of(place: Path) -> list[Path]:
    return sorted(path for path in place.parent.iterdir() if path != place)


def test_every_command_opens_a_manifest_like_an_archive(folder, sharded, tmp_path, capsys):
    single = tmp_path / "single.bb"
    summary = bbcodec.compress(folder, single, codec="none", exact_files=True)
    assert len(shards_of(sharded)) > 3
    assert main(["list", str(sharded), "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert main(["list", str(single), "--json"]) == 0
    of_one = json.loads(capsys.readouterr().out)
    assert [file["name"] for file in listed["files"]] == [file["name"] for file in of_one["files"]]
    assert listed["folders"] == of_one["folders"]
    assert main(["verify", str(sharded), "-q"]) == 0
    assert main(["decompress", str(sharded), "-o", str(tmp_path / "back"), "-q"]) == 0
    check_same_tree(folder, tmp_path / "back")
    assert main(["report", str(sharded), "-q", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["file_bytes"] == sum(path.stat().st_size for path in sharded.parent.iterdir())
    assert main(["list", str(sharded), "--sheet", str(tmp_path / "sheet.png")]) == 0
    assert count_bytes(sharded).archive_bytes == told["file_bytes"]
    with bbcodec.open(sharded) as archive, bbcodec.open(single) as one:
        assert len(archive) == len(one) == summary.files
        for name in one:
            assert archive.read_bytes(name) == one.read_bytes(name)


def test_each_shard_is_an_archive(folder, sharded):
    with bbcodec.open(sharded) as archive:
        names = list(archive)
    found = []
    for path in shards_of(sharded):
        bbcodec.verify(path)
        with bbcodec.open(path) as shard:
            found += list(shard)
    assert sorted(found) == names


def test_a_manifest_is_a_data_set_and_a_file_system(sharded):
    images = bbcodec.ArchiveDataset(sharded, mode="RGB")
    with bbcodec.open(sharded) as archive:
        assert len(images) == sum(archive.count(name) for name in archive)
        for index in (0, len(images) - 1):
            assert np.array_equal(images[index], archive.pixels(*images.item(index), "RGB"))
        system = fsspec.filesystem("bb", fo=str(sharded))
        assert system.cat_file("many/3.png") == archive.read_bytes("many/3.png")
    chunks = [chunk for archive_chunks in images.chunks() for chunk in archive_chunks]
    assert sorted(index for chunk in chunks for index in chunk) == list(range(len(images)))


def test_the_reference_reader_reads_a_manifest(tmp_path):
    (tmp_path / "in").mkdir()
    texts = {f"{number}.txt".encode(): b"text %d" % number * 99 for number in range(5)}
    for name, text in texts.items():
        (tmp_path / "in" / os.fsdecode(name)).write_bytes(text)
    bbcodec.compress(tmp_path / "in", tmp_path / "a.bb", codec="none", shard_size=1500)
    shards = list(opened(tmp_path / "a.bb"))
    assert len(shards) > 1
    held = {name: shard.read(entry)[0] for shard in shards for name, entry in shard.entries.items()}
    assert held == texts
    (tmp_path / "a-00002.bb").write_bytes((tmp_path / "a-00001.bb").read_bytes())
    with pytest.raises(ReaderError, match="another than was meant"):
        list(opened(tmp_path / "a.bb"))


def test_worker_processes_read_shards(sharded, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("bbcodec.options.POOL_VALUES", 0)
    bbcodec.decompress(sharded, tmp_path / "back", jobs=2)
    check_same_tree(folder, tmp_path / "back")


def test_learned_codecs_of_shards_are_known_once(tmp_path):
    for number in range(4):
        save(tmp_path / "in" / f"{number}.png", familiar(64, 64 + number, 3, seed=number))
    summary = bbcodec.compress(tmp_path / "in", tmp_path / "a.bb", codec="photo-fast-1", shard_size=1, jobs=2)
    with bbcodec.open(tmp_path / "a.bb") as archive:
        assert [one.name for one in archive.codecs] == summary.codecs
        archive.verify()


def test_shards_and_manifests_may_lie_at_urls(folder, sharded):
    store = f"memory://{uuid4().hex}"
    bbcodec.compress(folder, f"{store}/all.bb", codec="none", shard_size=2000, exact_files=True)
    system = fsspec.filesystem("memory")
    there = {Path(path).name: system.cat_file(path) for path in system.find(store)}
    assert there == {path.name: path.read_bytes() for path in sharded.parent.iterdir()}
    with bbcodec.open(f"{store}/all.bb") as archive, bbcodec.open(sharded) as local:
        archive.verify()
        assert {name: archive.read_bytes(name) for name in archive} == {name: local.read_bytes(name) for name in local}


def test_a_set_that_grows_in_its_own_folder_does_not_hold_its_shards(tmp_path):
    top = tmp_path / "in"
    for number in range(4):
        save(top / f"{number}.png", familiar(20, 20, 3, seed=number))
    for _ in range(2):
        bbcodec.compress(top, top / "a.bb", codec="none", shard_size=1, force=True)
        with bbcodec.open(top / "a.bb") as archive:
            assert list(archive) == [f"{number}.png" for number in range(4)]


# --- what is wrong costs its files


@pytest.mark.parametrize("how", ["missing", "cut", "swapped", "another", "a pipe"])
def test_a_lost_shard_is_told_and_costs_its_files(how, sharded, folder, tmp_path, capsys):
    first, second, *_ = shards_of(sharded)
    with bbcodec.open(second) as shard:
        lost = set(shard)
    with bbcodec.open(sharded) as archive:
        names = set(archive)
    if how == "missing":
        second.unlink()
    elif how == "a pipe":
        second.unlink()
        os.mkfifo(second)
    elif how == "cut":
        second.write_bytes(second.read_bytes()[:30])
    elif how == "swapped":
        second.write_bytes(first.read_bytes())
    else:
        (tmp_path / "other.txt").write_text("another")
        bbcodec.compress(tmp_path / "other.txt", second, codec="none", force=True)
    with bbcodec.open(sharded) as archive:
        assert set(archive) == names - lost
        assert f"shard {second.name} is lost" in archive.rebuilt
    assert main(["verify", str(sharded), "-q"]) == DamagedArchive.exit_code
    assert f"{sharded}: shard {second.name} is lost" in capsys.readouterr().err
    assert main(["list", str(sharded)]) == 0
    assert f"shard {second.name} is lost" in capsys.readouterr().err
    assert main(["decompress", str(sharded), "-o", str(tmp_path / "back"), "-q"]) == DamagedArchive.exit_code
    restored = {
        path.relative_to(tmp_path / "back").as_posix() for path in (tmp_path / "back").rglob("*") if not path.is_dir()
    }
    assert restored == names - lost


def test_a_shard_whose_index_is_damaged_is_read_all_the_same(sharded, folder, tmp_path):
    """From its directory chunks, as other archives; it is the one that was meant by the id of its header."""
    second = shards_of(sharded)[1]
    data = bytearray(second.read_bytes())
    data[-40] ^= 1
    second.write_bytes(data)
    with bbcodec.open(sharded) as archive:
        assert f"shard {second.name}: its index is damaged" in archive.rebuilt
        archive.restore(tmp_path / "back")
    check_same_tree(folder, tmp_path / "back")


def test_damage_in_a_shard_names_it(sharded):
    second = shards_of(sharded)[1]
    data = bytearray(second.read_bytes())
    data[30] ^= 1
    second.write_bytes(data)
    with pytest.raises(DamagedArchive, match=f"of {second.name} is damaged"):
        bbcodec.verify(sharded)


def test_without_any_shard_there_is_no_archive(sharded):
    for path in shards_of(sharded):
        path.unlink()
    with pytest.raises(
        DamagedArchive, match=r"none of its [0-9]+ shards is whole: the first shard all-00001.bb is lost"
    ):
        bbcodec.open(sharded)


def test_two_shards_that_hold_one_name_are_refused(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    shards = []
    for number in (1, 2):
        path = tmp_path / f"{number}.bb"
        bbcodec.compress(tmp_path / "a.txt", path, codec="none")
        footer = path.read_bytes()[-25:]
        shards.append(Shard(path.name, path.stat().st_size, footer[4:12], footer[-4:], 1))
    (tmp_path / "m.bb").write_bytes(pack_manifest(shards))
    with pytest.raises(DamagedArchive, match="not in order"):
        bbcodec.open(tmp_path / "m.bb")


def test_a_manifest_is_no_shard_and_does_not_grow(sharded, folder, capsys):
    data = sharded.read_bytes()
    inner = Shard(sharded.name, len(data), data[-8:], b"1234", 1)
    outer = sharded.parent / "outer.bb"
    outer.write_bytes(pack_manifest([inner]))
    with pytest.raises(DamagedArchive, match="manifest of several archives"):
        bbcodec.open(outer)
    assert main(["compress", str(folder), "-o", str(sharded), "--append"]) == NotAnArchive.exit_code
    assert sharded.read_bytes() == data


# --- manifests


SHARDS = st.builds(
    Shard,
    st.from_regex(r"[a-z0-9._-]{1,20}", fullmatch=True).filter(lambda name: name not in (".", "..")),
    st.integers(0, 2**64 - 1),
    st.binary(min_size=8, max_size=8),
    st.binary(min_size=4, max_size=4),
    st.integers(0, 2**32 - 1),
)


@given(st.lists(SHARDS, min_size=1, max_size=5, unique_by=lambda shard: shard.name))
def test_a_manifest_says_what_was_put_into_it(shards):
    assert unpack_manifest(pack_manifest(shards)) == shards


def sealed(body: bytes) -> bytes:
    return START + digest64(START, body) + body


@given(st.binary(max_size=200))
def test_any_bytes_are_a_manifest_or_refused(body):
    try:
        shards = unpack_manifest(sealed(body))
    except BBCodecError:
        return
    assert pack_manifest(shards) == sealed(body)


@given(st.binary(min_size=1, max_size=40), st.integers(0, 200))
def test_a_changed_manifest_is_found(noise, at):
    data = pack_manifest([Shard("a.bb", 1, b"12345678", b"1234", 1)])
    changed = data[:at] + bytes(byte ^ 1 for byte in noise) + data[at + len(noise) :]
    if changed != data and changed.startswith(MANIFEST_MAGIC):
        with pytest.raises((DamagedArchive, UnsupportedVersion)):
            unpack_manifest(changed)


NAMES = [
    "",
    ".",
    "..",
    "../a.bb",
    "/etc/passwd",
    "a/b.bb",
    "a\\b.bb",
    "c:a.bb",
    "a\0",
    "a\n",
    "x::memory:",
    "a" * 256,
    "a?b",
    "a#b",
    "*",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_leave_the_folder_are_refused(name, tmp_path):
    row = struct.pack("<Q8s4sI", 1, b"12345678", b"1234", 1)
    encoded = name.encode()[:255]
    (tmp_path / "m.bb").write_bytes(sealed(bytes([len(encoded)]) + encoded + row))
    if encoded == name.encode():
        with pytest.raises(UnsafePath, match="refused"):
            bbcodec.open(tmp_path / "m.bb")
    with pytest.raises(UnsafePath):
        check_shard_name(name)


def test_a_name_twice_and_other_versions_are_refused():
    row = bytes([4]) + b"a.bb" + struct.pack("<Q8s4sI", 1, b"12345678", b"1234", 1)
    for body in (b"", row + row, row[:-1], b"\x01\xff" + row[5:]):
        with pytest.raises(DamagedArchive):
            unpack_manifest(sealed(body))
    with pytest.raises(UnsupportedVersion):
        unpack_manifest(MANIFEST_MAGIC + b"\x77" + bytes(40))
    with pytest.raises(UnsupportedVersion):
        unpack_manifest(MANIFEST_MAGIC)


def test_shards_lie_beside_their_manifest():
    assert beside(Path("in/out.bb"), "a.bb") == Path("in/a.bb")
    assert beside("simplecache::s3://bucket/out.bb", "a.bb") == "simplecache::s3://bucket/a.bb"
    assert beside("https://host/x/out.bb", "a.bb") == "https://host/x/a.bb"


# --- writing


def test_nothing_is_left_where_a_shard_fails(folder, tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    calls = []

    def fail(path, *_):
        calls.append(path)
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("bbcodec.archive.compress._verify_written", fail)
    with pytest.raises(KeyboardInterrupt):
        bbcodec.compress(folder, tmp_path / "out" / "all.bb", codec="none", shard_size=2000)
    assert os.listdir(tmp_path / "out") == []


def test_a_job_of_shards_goes_on_where_it_was_killed(folder, sharded, tmp_path, monkeypatch):
    """By an executor, too. The shards that were done are written again, from their parts."""
    calls = []

    def stop(keeping, task):
        calls.append(task)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return parts.encode_or_take(keeping, task)

    place = tmp_path / "again" / "all.bb"
    place.parent.mkdir()
    options = {"codec": "none", "shard_size": 2000, "exact_files": True, "parts": tmp_path / "parts"}
    with monkeypatch.context() as patch:
        patch.setattr("bbcodec.archive.compress.encode_or_take", stop)
        with pytest.raises(KeyboardInterrupt):
            bbcodec.compress(folder, place, **options)
    assert len(list((tmp_path / "parts").rglob("*.part"))) == 4
    with ThreadPoolExecutor(2) as executor:
        bbcodec.compress(folder, place, executor=executor, jobs=2, **options)
    assert not (tmp_path / "parts").exists()
    made, wanted = ({path.name: path.read_bytes() for path in one.parent.iterdir()} for one in (place, sharded))
    assert made == wanted


def test_shards_that_are_there_are_not_overwritten(folder, tmp_path, capsys):
    (tmp_path / "all-00002.bb").write_text("mine")
    words = ["compress", str(folder), "-o", str(tmp_path / "all.bb"), "--codec", "none", "--shard-size", "2K", "-q"]
    assert main(words) == 4
    assert "all-00002.bb exists" in capsys.readouterr().err
    assert sorted(os.listdir(tmp_path)) == ["all-00002.bb", "in"]
    assert (tmp_path / "all-00002.bb").read_text() == "mine"
    assert main([*words, "--force"]) == 0


def test_what_shards_cannot_do_is_told(folder, tmp_path, capsys):
    for more in (["--append"], ["--adapt", "1"]):
        assert main(["compress", str(folder), "-o", str(tmp_path / "a.bb"), "--shard-size", "1M", *more]) == 2
    assert main(["compress", str(folder), "-o", "-", "--shard-size", "1M"]) == 2
    for options in ({"shard_size": 0}, {"shard_size": 1, "append": True}, {"shard_size": 1, "adapt": 1}):
        with pytest.raises(InputError):
            bbcodec.compress(folder, tmp_path / "a.bb", **options)
    with pytest.raises(InputError, match="plainer name"):
        bbcodec.compress(folder, tmp_path / "a:b.bb", codec="none", shard_size=100)
