"""Names of entries and targets of links: which are safe."""

import pytest

from bbcodec.archive.format import names
from bbcodec.archive.format.names import check_names, link_stays_inside, printable
from bbcodec.errors import DamagedArchive, UnsafePath


def test_backslashes_and_drives_are_refused_on_windows(monkeypatch):
    monkeypatch.setattr(names.os, "name", "nt")
    for name in (b"a\\b", b"C:x"):
        with pytest.raises(UnsafePath):
            check_names([(name, False)])


def test_a_name_with_a_zero_cannot_be_written():
    with pytest.raises(UnsafePath):
        check_names([(b"a\0b", False)])


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([(b"b", False), (b"a", False)], "not in order at 'a'"),
        ([(b"a", False), (b"a", False)], "not in order at 'a'"),
        ([(b"a", False), (b"a/b", False)], "'a' both as a file and as a folder"),
    ],
)
def test_names_in_disorder_are_damage(entries, message):
    with pytest.raises(DamagedArchive, match=message):
        check_names(entries)


def test_folders_may_hold_names():
    check_names([(b"a", True), (b"a/b", False), (b"c/d", False)])


@pytest.mark.parametrize(
    ("name", "target", "inside"),
    [
        (b"a", b"b", True), (b"a/b", b"../c", True), (b"a/b/c", b"../../d/e", True), (b"a", b"b/c", True),
        (b"a", b"../b", False), (b"a/b", b"../../c", False), (b"a", b"/b", False), (b"a/b", b"c/../d", False),
        (b"a", b"", False), (b"a", b"b//c", False), (b"a", b"./b", True), (b"a", b"b\0c", False), (b"a", b".", True),
        (b"a/b", b"..", True), (b"a", b"..", False), (b"a", b"./..", False),
        (b"a/b", b"./../c/.", True), (b"a", b"b/./../c", False),
    ],
)  # fmt: skip
def test_links_that_stay_inside(name, target, inside):
    assert link_stays_inside(name, target) is inside


def test_names_are_printed_on_one_line():
    assert printable(b"a\nb\xff\x1b[31m") == r"'a\nb\\xff\x1b[31m'"
