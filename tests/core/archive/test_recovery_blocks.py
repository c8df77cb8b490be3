"""Recovery blocks: what is lost is computed again, bit for bit; or nothing is written."""

import random
import sys
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bbcodec
from bbcodec.archive import recovery_blocks
from bbcodec.archive.format import parity
from bbcodec.archive.recovery_blocks import Repaired, damaged_blocks, repair
from bbcodec.archive.write import byte_parts
from bbcodec.errors import DamagedArchive, InputError, MissingCodec, TargetExists

pytest.importorskip("zfec", reason="recovery data are optional")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    top = tmp_path_factory.mktemp("recovery")
    (top / "in").mkdir()
    for number in range(9):
        (top / "in" / f"{number}.bin").write_bytes(random.Random(number).randbytes(30_000 + number))
    bbcodec.compress(top / "in", top / "plain.bb", codec="none")
    bbcodec.compress(top / "in", top / "good.bb", codec="none", recovery=5)
    return top


@pytest.fixture(scope="module")
def good(folder):
    return (folder / "good.bb").read_bytes()


def test_recovery_blocks_follow_the_archive_and_cost_what_is_asked_for(folder, good):
    plain = (folder / "plain.bb").read_bytes()
    assert good.startswith(plain)
    assert 0.05 < len(good) / len(plain) - 1 < 0.08
    bbcodec.compress(folder / "in", folder / "again.bb", codec="none", recovery=5, force=True)
    assert (folder / "again.bb").read_bytes() == good
    summary = bbcodec.verify(folder / "good.bb")
    assert (summary.files, summary.archive_bytes) == (9, len(good))
    bbcodec.decompress(folder / "good.bb", folder / "out", force=True)
    assert (folder / "out" / "3.bin").read_bytes() == (folder / "in" / "3.bin").read_bytes()


def holed(data, start, size, fill=b"\0"):
    return data[:start] + (fill * size)[: len(data[start : start + size])] + data[start + size :]


@pytest.mark.parametrize("fill", [b"\0", b"\xff", b"junk"])
def test_a_hole_anywhere_is_made_whole(folder, good, fill, tmp_path):
    """Of a little less than 5 %: in header, chunks, index, footer, recovery blocks, trailer, and across their edges."""
    size, path = 10_000, tmp_path / "a.bb"
    end = len((folder / "plain.bb").read_bytes())
    starts = {0, 1, end - size, end - 20, end, len(good) - size, len(good) - 30, *range(0, len(good), 9_999)}
    for start in sorted(starts):
        bad = holed(good, start, size, fill)
        path.write_bytes(bad)
        done = repair(path)
        assert path.read_bytes() == good, start
        assert done.mended > 0 or bad == good
        assert done.blocks > 80


def test_scattered_losses_are_made_whole(folder, good, tmp_path):
    for seed in range(9):
        bad, rng = bytearray(good), random.Random(seed)
        for _ in range(5):
            bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        (tmp_path / "a.bb").write_bytes(bad)
        assert 1 <= repair(tmp_path / "a.bb").mended <= 5
        assert (tmp_path / "a.bb").read_bytes() == good


@pytest.mark.parametrize("cut", [1, 19, 20, 21, 3_000])
def test_a_cut_that_leaves_a_recovery_block_is_made_whole(good, tmp_path, cut):
    (tmp_path / "a.bb").write_bytes(good[:-cut])
    repair(tmp_path / "a.bb")
    assert (tmp_path / "a.bb").read_bytes() == good
    (tmp_path / "a.bb").write_bytes(good + bytes(cut))
    repair(tmp_path / "a.bb")
    assert (tmp_path / "a.bb").read_bytes() == good


@given(st.integers(40, 2**40), st.integers(1, 100))
def test_a_cut_of_a_block_leaves_a_recovery_block_of_each_group(size, percent):
    """The first of each come before all others, and there are two or more."""
    layout = parity.Layout.of(size, percent)
    assert layout.file_bytes - layout.block_bytes >= layout.parity_start(0, 1)


def test_a_cut_of_a_block_is_made_whole(folder, good, tmp_path):
    """Whatever its length: nothing of the archive itself is lost."""
    layout = parity.Layout.of((folder / "plain.bb").stat().st_size, 5)
    for cut in (*range(1, layout.block_bytes, layout.block_bytes // 7), layout.block_bytes):
        (tmp_path / "a.bb").write_bytes(good[:-cut])
        assert repair(tmp_path / "a.bb").mended in (0, 1, 2)
        assert (tmp_path / "a.bb").read_bytes() == good


def test_where_too_much_is_lost_nothing_is_written(good, tmp_path):
    bad = holed(good, 50_000, 60_000)
    (tmp_path / "a.bb").write_bytes(bad)
    with pytest.raises(DamagedArchive, match=r"a\.bb is beyond repair: .* decompress restores"):
        repair(tmp_path / "a.bb", tmp_path / "b.bb")
    with pytest.raises(DamagedArchive):
        repair(tmp_path / "a.bb")
    assert [path.name for path in tmp_path.iterdir()] == ["a.bb"]
    assert (tmp_path / "a.bb").read_bytes() == bad


def test_what_has_no_recovery_blocks_cannot_be_repaired(folder, tmp_path):
    with pytest.raises(DamagedArchive, match="has no recovery blocks"):
        repair(folder / "plain.bb", tmp_path / "b.bb")
    (tmp_path / "empty").touch()
    with pytest.raises(DamagedArchive, match="has no recovery blocks"):
        repair(tmp_path / "empty")
    with pytest.raises(InputError, match="cannot be read"):
        repair(tmp_path / "nope.bb")
    assert not (tmp_path / "b.bb").exists()


def test_a_whole_archive_stays_as_it_is(folder, good, tmp_path):
    (tmp_path / "a.bb").write_bytes(good)
    before = (tmp_path / "a.bb").stat()
    assert repair(tmp_path / "a.bb") == Repaired(repair(tmp_path / "a.bb").blocks, 0)
    assert (tmp_path / "a.bb").stat().st_ino == before.st_ino
    repair(tmp_path / "a.bb", tmp_path / "b.bb")
    assert (tmp_path / "b.bb").read_bytes() == good
    with pytest.raises(TargetExists):
        repair(tmp_path / "a.bb", tmp_path / "b.bb")
    repair(tmp_path / "a.bb", tmp_path / "b.bb", force=True)


def test_verify_finds_damaged_recovery_blocks(folder, good, tmp_path):
    start = len((folder / "plain.bb").read_bytes())
    for place in (start + 100, len(good) - 100):
        (tmp_path / "a.bb").write_bytes(holed(good, place, 1, bytes([good[place] ^ 1])))
        assert damaged_blocks(tmp_path / "a.bb") == 1
        with pytest.raises(DamagedArchive, match="1 of its recovery blocks are damaged; bbcodec repair"):
            bbcodec.verify(tmp_path / "a.bb")
        bbcodec.decompress(tmp_path / "a.bb", tmp_path / "out", force=True)  # of which nothing is damaged
    assert damaged_blocks(folder / "good.bb") == damaged_blocks(folder / "plain.bb") == 0


def test_recovery_blocks_of_an_archive_in_the_archive_are_not_its_own(folder, good, tmp_path, monkeypatch):
    monkeypatch.setattr(byte_parts, "pack_bytes", partial(byte_parts.pack_bytes, compress=False))
    bbcodec.compress(folder / "good.bb", tmp_path / "outer.bb", codec="none", recovery=5)
    outer = (tmp_path / "outer.bb").read_bytes()
    assert good in outer
    for start in (0, outer.index(good), outer.index(good) + len(good) - 3_000, len(outer) - 3_000):
        (tmp_path / "a.bb").write_bytes(holed(outer, start, 3_000))
        repair(tmp_path / "a.bb")
        assert (tmp_path / "a.bb").read_bytes() == outer
    bbcodec.compress(folder / "good.bb", tmp_path / "bare.bb", codec="none")
    with pytest.raises(DamagedArchive, match="has no recovery blocks"):
        repair(tmp_path / "bare.bb")


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 30_000), st.integers(1, 100), st.integers(1, 40), st.data())
def test_as_many_blocks_as_there_are_parity_blocks_may_be_lost(tmp_path_factory, size, percent, most, data):
    """Of each group: with archives of many groups, for which blocks are small here."""
    path = tmp_path_factory.mktemp("groups") / "a.bb"
    content = random.Random(size).randbytes(size + 60)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "MAX_BLOCK_BYTES", 4 * most)
        patch.setattr(parity, "MIN_BLOCK_BYTES", 1)
        path.write_bytes(content)
        with open(path, "r+b") as stream:
            recovery_blocks.add_recovery(stream, percent)
        whole = path.read_bytes()
        layout = parity.Layout.of(len(content), percent)
        assert len(whole) == layout.file_bytes
        bad = bytearray(whole)
        for group in range(layout.n_groups):
            places = range(layout.n_data(group) + layout.n_parity)
            lost = data.draw(st.sets(st.sampled_from(places), max_size=layout.n_parity)) if group < 3 else set()
            if len([place for place in lost if place >= layout.n_data(group)]) == layout.n_parity:
                lost.pop()
            for place in lost:
                if place < layout.n_data(group):
                    at = (group + place * layout.n_groups) * layout.block_bytes
                else:
                    at = layout.parity_start(group, place - layout.n_data(group)) + 20
                bad[at] ^= 1
        path.write_bytes(bad)
        repair(path)
        assert path.read_bytes() == whole


def test_percentages_are_checked(folder, tmp_path):
    for wrong in (-1, 101, 2.5):
        with pytest.raises(InputError, match="from 0 to 100"):
            bbcodec.compress(folder / "in", tmp_path / "a.bb", codec="none", recovery=wrong)


def test_without_zfec_it_is_told_what_to_do(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "zfec", None)
    with pytest.raises(MissingCodec, match="pip install zfec"):
        bbcodec.compress(folder / "in", tmp_path / "a.bb", codec="none", recovery=5)
    assert bbcodec.verify(folder / "good.bb").files == 9


# --- the code itself, from docs/format.md


def times(a: int, b: int) -> int:
    """The product in the field of 256 elements."""
    product = 0
    for bit in range(8):
        product ^= (b >> bit & 1) * a << bit
    for bit in range(14, 7, -1):
        product ^= (product >> bit & 1) * 0x11D << bit - 8
    return product


def power(exponent: int) -> int:
    return 1 if exponent == 0 else times(power(exponent - 1), 2)


def parity_of(data: list[int], n_parity: int) -> list[int]:
    """The parity bytes of one byte of each data block: values at further points of the polynomial through them.

    Its coefficients are found by elimination.
    """
    n = len(data)
    rows = [[int(c == 0) if r == 0 else power((r - 1) * c % 255) for c in range(n)] for r in range(n + n_parity)]
    system = [[*row, value] for row, value in zip(rows[:n], data, strict=True)]
    for column in range(n):
        pivot = next(r for r in range(column, n) if system[r][column])
        system[column], system[pivot] = system[pivot], system[column]
        inverse = next(x for x in range(256) if times(x, system[column][column]) == 1)
        system[column] = [times(inverse, x) for x in system[column]]
        for r in range(n):
            if r != column:
                factor = system[r][column]
                system[r] = [x ^ times(factor, y) for x, y in zip(system[r], system[column], strict=True)]
    coefficients = [row[-1] for row in system]
    out = []
    for row in rows[n:]:
        value = 0
        for a, b in zip(row, coefficients, strict=True):
            value ^= times(a, b)
        out.append(value)
    return out


@pytest.mark.parametrize(("n", "n_parity"), [(1, 1), (1, 3), (2, 2), (5, 3), (9, 7)])
def test_parity_is_that_of_the_page(n, n_parity):
    rng = random.Random(n)
    data = [rng.randbytes(3) for _ in range(n)]
    encoder = recovery_blocks.require_zfec().Encoder(n, n + n_parity)
    found = encoder.encode(data, tuple(range(n, n + n_parity)))
    for place in range(3):
        assert [block[place] for block in found] == parity_of([block[place] for block in data], n_parity)
