"""Archives of separate jobs made one by a manifest: every file comes back; what would not be one archive is refused."""

import json
import os
import shutil
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest
from fake_codec import familiar
from folders import check_same_tree, save
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_reader import opened

import bbcodec
from bbcodec.archive.format.shards import name_of
from bbcodec.cli.main import main
from bbcodec.errors import BBCodecError, DamagedArchive, InputError, NotAnArchive, TargetExists

JOBS = ("a", "b", "c")


@pytest.fixture
def made(tmp_path) -> Path:
    """Archives of jobs that each compressed a part of what is in `in`, with a folder that all of them have."""
    (tmp_path / "out").mkdir()
    for number, job in enumerate(JOBS):
        part = tmp_path / job
        save(part / "cats" / f"{job}.png", familiar(20, 20, 3, seed=number))
        (part / f"{job}.txt").write_text(job * 99)
        (part / "cats" / f"{job}.link").symlink_to(f"{job}.png")
        os.utime(part / "cats", ns=(1, 10**18))
        bbcodec.compress(part, tmp_path / "out" / f"{job}.bb", codec="none", exact_files=True)
        shutil.copytree(part, tmp_path / "in", symlinks=True, dirs_exist_ok=True)
    return tmp_path / "out"


def archives(made: Path) -> list[str]:
    return [str(made / f"{job}.bb") for job in JOBS]


def test_joined_archives_are_opened_like_one(made, tmp_path, capsys):
    place = made / "all.bb"
    assert main(["join", *archives(made), "-o", str(place), "--json"]) == 0
    said = capsys.readouterr()
    size = sum(os.path.getsize(path) for path in archives(made))
    assert json.loads(said.out) == {"archives": 3, "files": 9, "archive_bytes": size}
    assert said.err.startswith(f"{place}: 3 archives of 9 files, ")
    assert main(["verify", str(place), "-q"]) == 0
    assert main(["decompress", str(place), "-o", str(tmp_path / "back"), "-q"]) == 0
    check_same_tree(tmp_path / "in", tmp_path / "back")
    assert main(["list", str(place), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["folders"] == ["cats"]
    assert len(bbcodec.ArchiveDataset(place)) == 3


def test_the_reference_reader_reads_joined_archives(made):
    bbcodec.join(archives(made), made / "all.bb")
    names = [name for shard in opened(made / "all.bb") for name in shard.entries if not name.endswith(b"cats")]
    assert sorted(names) == sorted(
        name
        for job in JOBS
        for name in (f"{job}.txt".encode(), f"cats/{job}.png".encode(), f"cats/{job}.link".encode())
    )


def test_manifests_are_joined_by_their_shards(made, tmp_path):
    bbcodec.join(archives(made)[:2], made / "two.bb")
    bbcodec.join([made / "two.bb", made / "c.bb"], made / "all.bb")
    bbcodec.join(archives(made), made / "again.bb")
    assert (made / "all.bb").read_bytes() == (made / "again.bb").read_bytes()
    with pytest.raises(InputError, match=r"a\.bb is given twice"):
        bbcodec.join([made / "two.bb", made / "a.bb"], made / "other.bb")


def test_archives_at_urls_are_joined_there(made):
    store = f"memory://{uuid4().hex}"
    system = fsspec.filesystem("memory")
    for path in map(Path, archives(made)):
        system.pipe_file(f"{store}/{path.name}", path.read_bytes())
    bbcodec.join([f"{store}/{job}.bb" for job in JOBS], f"{store}/all.bb")
    with bbcodec.open(f"{store}/all.bb") as archive:
        assert archive.read_bytes("b.txt") == b"b" * 99
    with pytest.raises(InputError, match="does not lie in the folder"):
        bbcodec.join([f"{store}/a.bb"], made / "all.bb")


def refused(kind: type[BBCodecError], why: str, inputs: list, output: Path, **options) -> None:
    before = {path.name: path.read_bytes() for path in output.parent.iterdir() if path.is_file()}
    with pytest.raises(kind, match=why):
        bbcodec.join(inputs, output, **options)
    assert {path.name: path.read_bytes() for path in output.parent.iterdir() if path.is_file()} == before


def test_what_cannot_be_one_archive_is_refused(made, tmp_path):
    shutil.copy(made / "a.bb", made / "copy.bb")
    refused(InputError, r"a\.bb and copy\.bb both hold 'a\.txt'", [made / "a.bb", made / "copy.bb"], made / "all.bb")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "cats").write_text("no folder")
    (tmp_path / "more" / "z").write_text("z")
    bbcodec.compress(tmp_path / "more", made / "d.bb", codec="none")
    refused(InputError, r"a\.bb and d\.bb both hold 'cats'", [made / "a.bb", made / "d.bb"], made / "all.bb")
    refused(InputError, r"d\.bb and a\.bb both hold 'cats'", [made / "d.bb", made / "a.bb"], made / "all.bb")
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "a.txt").mkdir()
    (tmp_path / "only" / "a.txt" / "x").write_text("x")
    bbcodec.compress(tmp_path / "only", made / "e.bb", codec="none")
    refused(InputError, "both hold 'a.txt'", [made / "a.bb", made / "e.bb"], made / "all.bb")


def test_what_is_no_whole_archive_in_the_folder_is_refused(made, tmp_path):
    refused(InputError, r"a\.bb does not lie in the folder of .*all\.bb", archives(made), tmp_path / "all.bb")
    refused(InputError, r"gone\.bb cannot be read: No such file", [made / "gone.bb"], made / "all.bb")
    refused(InputError, "no archive was given", [], made / "all.bb")
    refused(TargetExists, r"b\.bb exists", archives(made), made / "b.bb")
    refused(InputError, r"b\.bb is one of the archives", archives(made), made / "b.bb", force=True)
    (made / "text.bb").write_text("no archive" * 50)
    refused(NotAnArchive, r"text\.bb: ", [made / "text.bb"], made / "all.bb")
    (made / "cut.bb").write_bytes((made / "a.bb").read_bytes()[:-30])
    refused(DamagedArchive, r"cut\.bb: ", [made / "cut.bb"], made / "all.bb")


def test_a_link_to_the_folder_is_the_folder(made, tmp_path):
    (tmp_path / "link").symlink_to(made)
    bbcodec.join([tmp_path / "link" / "a.bb", made / "b.bb"], made / "all.bb")
    with bbcodec.open(made / "all.bb") as archive:
        assert "b.txt" in archive


@given(st.lists(st.sampled_from(JOBS), min_size=1, max_size=3, unique=True))
@settings(max_examples=8)
def test_the_order_of_archives_is_that_of_the_manifest(tmp_path_factory, order):
    folder = tmp_path_factory.mktemp("order")
    for job in JOBS:
        (folder / job).write_text(job)
        bbcodec.compress(folder / job, folder / f"{job}.bb", codec="none")
    shards = bbcodec.join([folder / f"{job}.bb" for job in order], folder / "all.bb")
    assert [shard.name for shard in shards] == [f"{job}.bb" for job in order]
    with bbcodec.open(folder / "all.bb") as archive:
        assert list(archive) == sorted(order)


def test_a_name_of_a_url_is_that_of_its_file():
    assert name_of("s3://bucket/x/a.bb") == "a.bb"
    assert name_of("simplecache::s3://bucket/a.bb") == "a.bb"
