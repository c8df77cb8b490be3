"""Archives that are appended to: they hold all, or what they held, whatever happens on the way."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pattern_model import codec_content, familiar, load_pattern
from PIL import Image
from tiny_models import pictures

import bbcodec
from bbcodec.archive.format.container import ContainerWriter
from bbcodec.archive.format.journal import GrowingArchive, growing, journal_of, read_journal, roll_back
from bbcodec.archive.summary import Summary
from bbcodec.codec import pool
from bbcodec.errors import BBCodecError, DamagedArchive, InputError, OutputError, TargetExists
from bbcodec.report.byte_counts import count_bytes


@pytest.fixture
def folders(tmp_path) -> Path:
    """Folders `day0` ... `day4`, of images, text, an empty file and a link."""
    rng = np.random.default_rng(0)
    for day in range(5):
        folder = tmp_path / "in" / f"day{day}"
        (folder / "notes").mkdir(parents=True)
        (folder / "notes" / "text").write_text(f"day {day}\n" * 50)
        (folder / "empty").write_bytes(b"")
        (folder / "link").symlink_to("notes/text")
        for number in range(3):
            pixels = np.repeat(rng.integers(0, 255, (12, 4, 3)), 4, 1).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "in"


def append(folder: Path, archive: Path, **options) -> Summary:
    return bbcodec.compress(folder, archive, append=True, **{"codec": "none", **options})


def content(archive: Path) -> dict[str, bytes]:
    with bbcodec.open(archive) as opened:
        return {name: opened.read_bytes(name) for name in opened}


def days(folders: Path, tmp_path: Path, count: int) -> Path:
    """A folder of the first days alone."""
    some = tmp_path / f"{count}days"
    for day in range(count):
        shutil.copytree(folders / f"day{day}", some / f"day{day}", symlinks=True)
    return some


def test_an_archive_grows_day_by_day(folders, tmp_path):
    """And holds what one that was made at once holds; what it held has the same bytes in the same place."""
    growing_one, at_once = tmp_path / "growing.bb", tmp_path / "once.bb"
    bbcodec.compress(days(folders, tmp_path, 1), growing_one, codec="none")
    for count in range(2, 6):
        before = growing_one.read_bytes()
        end = count_bytes(growing_one).directory.chunks[-1]
        summary = append(days(folders, tmp_path, count), growing_one)
        assert (summary.files, summary.archive_bytes) == (6, growing_one.stat().st_size)
        assert summary.skipped == [f"{6 * (count - 1)} files are in {growing_one} already"]
        stop = end.offset + end.length + 4
        assert growing_one.read_bytes()[:stop] == before[:stop]
        assert not journal_of(growing_one).exists()
    bbcodec.compress(folders, at_once, codec="none")
    assert content(growing_one) == content(at_once)
    assert bbcodec.verify(growing_one).files == 30
    bbcodec.decompress(growing_one, tmp_path / "out")
    assert os.readlink(tmp_path / "out" / "day3" / "link") == "notes/text"
    assert (tmp_path / "out" / "day4" / "notes").stat().st_mtime_ns == (folders / "day4" / "notes").stat().st_mtime_ns


def test_equal_appends_give_equal_archives(folders, tmp_path):
    for name in ("a.bb", "b.bb"):
        bbcodec.compress(folders / "day0", tmp_path / name, codec="none")
        bbcodec.compress(
            [folders / "day1", folders / "day2"], tmp_path / name, codec="none", append=True, jobs=len(name)
        )
    assert (tmp_path / "a.bb").read_bytes() == (tmp_path / "b.bb").read_bytes()


def test_nothing_new_changes_nothing(folders, tmp_path):
    archive = tmp_path / "all.bb"
    bbcodec.compress(folders, archive, codec="none")
    before = archive.read_bytes(), archive.stat().st_mtime_ns
    assert append(folders, archive).files == 0
    assert (archive.read_bytes(), archive.stat().st_mtime_ns) == before


def test_its_index_can_be_lost(folders, tmp_path):
    archive = tmp_path / "all.bb"
    bbcodec.compress(folders / "day0", archive, codec="none")
    bbcodec.compress([folders / "day1", folders / "day2"], archive, codec="none", append=True)
    whole = content(archive)
    data = bytearray(archive.read_bytes())
    data[-40] ^= 1
    archive.write_bytes(data)
    with bbcodec.open(archive) as opened:
        assert opened.rebuilt
    assert content(archive) == whole


def test_a_codec_in_the_archive_is_used_and_not_stored_again(tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "load_content", load_pattern)
    (tmp_path / "pattern.bbc").write_bytes(codec_content())
    for number in range(2):
        np.save(tmp_path / f"{number}.npy", familiar(300, number)[..., 0])
    archive = tmp_path / "all.bb"
    bbcodec.compress(tmp_path / "0.npy", archive, codec=tmp_path / "pattern.bbc")
    bbcodec.compress(tmp_path / "1.npy", archive, codec="grey-3", append=True)
    types = [chunk.type for chunk in count_bytes(archive).directory.chunks]
    assert (types.count("C"), types.count("L")) == (1, 2)
    assert np.array_equal(bbcodec.open(archive)["1.npy"], familiar(300, 1)[..., 0])
    assert [record.name for record in bbcodec.open(archive).codecs] == ["pattern"]


def test_another_file_of_a_name_is_refused(folders, tmp_path):
    archive = tmp_path / "all.bb"
    bbcodec.compress(folders, archive, codec="none")
    before = archive.read_bytes()
    (folders / "day2" / "notes" / "text").write_text("another")
    with pytest.raises(TargetExists, match=r"all\.bb holds another 'day2/notes/text', of 300 bytes: give the new one"):
        append(folders, archive)
    shutil.rmtree(folders / "day0")
    (folders / "day0").write_text("a file where there was a folder")
    with pytest.raises(BBCodecError, match="day0"):
        append(folders, archive, exclude=["text"])
    assert archive.read_bytes() == before
    assert not journal_of(archive).exists()


def test_what_cannot_be_appended_to_is_refused(folders, tmp_path):
    day, archive = folders / "day1", tmp_path / "all.bb"
    with pytest.raises(InputError, match=r"there is no archive .*all\.bb to append to"):
        append(day, archive)
    archive.write_bytes(b"hello" * 20)
    with pytest.raises(BBCodecError, match="not a bbcodec archive"):
        append(day, archive)
    archive.unlink()
    bbcodec.compress(folders / "day0", archive, codec="none")
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-30] + b"\x00" + whole[-29:])
    with pytest.raises(DamagedArchive, match="only a whole archive can be appended to"):
        append(day, archive)
    archive.write_bytes(whole)
    for options in ({"force": True}, {"recovery": 5}):
        with pytest.raises(InputError, match="append: nothing is overwritten"):
            append(day, archive, **options)
    with open(archive, "r+b") as stream:
        GrowingArchive(archive, stream)
    with growing(archive), pytest.raises(OutputError, match="another process is appending"):
        append(day, archive)
    assert archive.read_bytes() == whole
    bbcodec.compress(folders / "day0", archive, codec="none", recovery=10, force=True)
    with pytest.raises(InputError, match="has recovery data"):
        append(day, archive)


# --- errors and kills ------------------------------------------------------------------------------------------------


class Stopped(Exception):
    pass


@pytest.fixture
def stopping(monkeypatch):
    """Stop after so many writes of an archive, by a function."""

    def install(after, stop):
        left = [after]
        real = ContainerWriter._write
        finish = ContainerWriter.finish

        def counted(function):
            def wrapped(writer, *arguments):
                left[0] -= 1
                if left[0] < 0:
                    writer._stream.flush()
                    stop()
                return function(writer, *arguments)

            return wrapped

        monkeypatch.setattr(ContainerWriter, "_write", counted(real))
        monkeypatch.setattr(ContainerWriter, "finish", counted(finish))

    return install


def raised():
    raise Stopped


@pytest.mark.parametrize("after", range(5))
def test_an_error_takes_back_what_was_appended(folders, tmp_path, stopping, after):
    archive = tmp_path / "all.bb"
    bbcodec.compress(folders / "day0", archive, codec="none")
    before = archive.read_bytes()
    stopping(after, raised)
    with pytest.raises(Stopped):
        bbcodec.compress([folders / "day1", folders / "day2"], archive, codec="none", append=True)
    assert archive.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"in", "all.bb"}


def killed_while_appending(inputs, archive):
    """In a child process, which ends by itself where `stopping` says so."""
    child = os.fork()
    if not child:
        bbcodec.compress(inputs, archive, codec="none", append=True)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("after", range(5))
@pytest.mark.parametrize("then", ["append", "repair"])
def test_a_killed_run_costs_nothing(folders, tmp_path, stopping, after, then, monkeypatch):
    """The archive can be read, and is put back by the next run that appends, or by `repair`."""
    archive, inputs = tmp_path / "all.bb", [folders / "day1", folders / "day2"]
    bbcodec.compress([folders / "day0"], archive, codec="none")
    before, held = archive.read_bytes(), content(archive)
    stopping(after, lambda: os._exit(9))
    assert killed_while_appending(inputs, archive) == 9
    monkeypatch.undo()
    assert journal_of(archive).exists()
    with bbcodec.open(archive) as opened:
        assert "bbcodec repair takes back what was being appended" in opened.rebuilt
        assert {name: opened.read_bytes(name) for name in held} == held
    if then == "repair":
        assert bbcodec.repair(archive).taken_back
        assert archive.read_bytes() == before
    bbcodec.compress(inputs, archive, codec="none", append=True)
    undisturbed = tmp_path / "other.bb"
    undisturbed.write_bytes(before)
    bbcodec.compress(inputs, undisturbed, codec="none", append=True)
    assert archive.read_bytes() == undisturbed.read_bytes()
    assert not journal_of(archive).exists()
    assert bbcodec.verify(archive).files == 18


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 10**6), st.integers(1, 255))
def test_a_damaged_journal_puts_nothing_back(tmp_path_factory, data, place, flip):
    archive = tmp_path_factory.mktemp("journal") / "a.bb"
    with open(archive, "w+b") as stream:
        ContainerWriter(stream).finish()
        GrowingArchive(archive, stream).keep_tail()
        journal, content = journal_of(archive), archive.read_bytes()
        whole = bytearray(journal.read_bytes())
        assert read_journal(bytes(whole)) == (len(content) - len(whole) + 24, content[-len(whole) + 24 :])
        whole[place % len(whole)] ^= flip
        for damaged in (bytes(whole), data, bytes(whole[: place % len(whole)])):
            assert read_journal(damaged) == (0, b"")
            journal.write_bytes(damaged)
            assert not roll_back(archive, stream)
            assert archive.read_bytes() == content


COMMAND = "import sys, bbcodec; bbcodec.compress(sys.argv[1:-1], sys.argv[-1], codec='none', append=True)"


@pytest.mark.slow
def test_a_hundred_appends_with_kills(tmp_path):
    """At random moments, by the signal that nobody can answer; never is a file lost that an append had returned for."""
    rng = np.random.default_rng(1)
    archive, day = tmp_path / "all.bb", tmp_path / "day"
    np.save(tmp_path / "many.npy", pictures("grey", 10_000, 8, 8)[..., 0])
    bbcodec.compress(tmp_path / "many.npy", archive, codec="none")
    held, kills = content(archive), 0
    for number in range(100):
        day.mkdir()
        for one in range(5):
            (day / f"{number}-{one}").write_bytes(rng.bytes(30_000))
        process = subprocess.Popen([sys.executable, "-c", COMMAND, str(day), str(archive)], cwd=tmp_path)
        if number % 3 == 0:
            time.sleep(rng.uniform(0.2, 0.9))
            process.send_signal(signal.SIGKILL)
            kills += process.wait() == -signal.SIGKILL
            assert held.items() <= content(archive).items()
            bbcodec.compress([day], archive, codec="none", append=True)
        assert process.wait() in (0, -signal.SIGKILL)
        shutil.rmtree(day)
        held = content(archive) if number % 10 == 0 else held
    assert kills >= 30
    assert bbcodec.verify(archive).files == 501
