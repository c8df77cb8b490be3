"""Standard streams that are closed, full, or whose reader goes away; and no room for temporary files."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = str(Path(sys.executable).parent / "bbcodec")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with an archive `a.bb` of the folder `in`."""
    top = tmp_path_factory.mktemp("streams")
    (top / "in").mkdir()
    for number in range(200):
        (top / "in" / f"{number}.txt").write_text(f"number {number}" * 20)
    run(top, "compress in -o a.bb --codec none --jobs 1")
    return top


def run(folder, line, tmp=None):
    """A command line in a shell: its exit code, stdout and stderr."""
    command = line.replace("bbcodec", SCRIPT) if "bbcodec" in line else f"{SCRIPT} {line}"
    environment = {**os.environ, **({"TMPDIR": str(tmp)} if tmp else {})}
    done = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, env=environment)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("list a.bb >&-", 5),
        ("verify a.bb --jobs 1 2>&-", 0),
        ("verify a.bb --json --jobs 1 >&-", 5),
        ("decompress - -o none --jobs 1 <&-", 3),
        ("decompress a.bb 0.txt -o - --jobs 1 >&-", 5),
        ("list a.bb > /dev/full", 5),
        ("--help > /dev/full", 5),
        ("verify a.bb --jobs 1 2> /dev/full", 0),
        ("decompress a.bb 0.txt -o - --jobs 1 > /dev/full", 5),
        ("compress in -o - --codec none --jobs 1 > /dev/full", 5),
        ("bbcodec list --json a.bb | true; exit ${PIPESTATUS[0]}", 141),
        ("bbcodec compress -v in -o b.bb -f --codec none --jobs 1 2>&1 | head -1; exit ${PIPESTATUS[0]}", 0),
    ],
)
def test_the_exit_code_says_whether_the_work_was_done(folder, line, code):
    """And where it was not, one line says why, if it can; never that bbcodec has a bug."""
    found, _, told = run(folder, line)
    assert found == code, told
    assert "bug" not in told
    assert "Traceback" not in told
    if code in (3, 5) and "2>" not in line:
        assert told.splitlines()[-1].startswith("bbcodec: ")


def test_what_is_written_with_closed_streams_is_whole(folder):
    """No file takes the number of a closed stream, into which messages would then go."""
    assert run(folder, "compress in -o c.bb -f --codec none --jobs 1 <&- >&- 2>&-")[0] == 0
    assert (folder / "c.bb").read_bytes() == (folder / "a.bb").read_bytes()
    assert run(folder, "compress -v in -o c.bb -f --codec none --jobs 1 2>&1 | head -1; sleep 0")[0] == 0
    assert (folder / "c.bb").read_bytes() == (folder / "a.bb").read_bytes()
    assert run(folder, "decompress c.bb -o all -f --jobs 1 <&- >&- 2>&-")[0] == 0
    assert {path.name: path.read_text() for path in (folder / "all").iterdir()} == {
        path.name: path.read_text() for path in (folder / "in").iterdir()
    }


@pytest.mark.parametrize(
    "line",
    [
        "compress in -o - --codec none --jobs 1 | wc; exit ${PIPESTATUS[0]}",
        "decompress a.bb 0.txt -o - --jobs 1 | cat; exit ${PIPESTATUS[0]}",
        "cat a.bb | bbcodec list -",
        "cat a.bb | bbcodec compress - --name a -o b.bb -f --codec none",
    ],
)
def test_no_room_for_temporary_files_is_told(folder, tmp_path, line):
    """As no byte can be written to any file."""
    before = sorted(path.name for path in folder.iterdir())
    code, _, told = run(folder, f"ulimit -f 0; {line if 'bbcodec' in line else f'bbcodec {line}'}", tmp_path)
    assert code == 5, told
    assert told.startswith("bbcodec: ")
    assert "bug" not in told
    assert sorted(path.name for path in folder.iterdir()) == before
    assert list(tmp_path.iterdir()) == []
