"""Tiles, as docs/format.md says."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bbcodec.archive.format.tiles import tile_bounds, tile_count, tile_grid


def test_golden_tiles():
    """By hand from docs/format.md: R is the greatest divisor of n with R * R * W <= n * H, or 1."""
    assert tile_bounds(1, 1, 1) == [(0, 1, 0, 1)]
    assert tile_grid(512, 256, 1) == (1, 1)
    assert tile_bounds(513, 256, 2) == [(0, 256, 0, 256), (0, 256, 256, 513)]  # 4 * 513 > 2 * 256
    # 9 * 300 <= 3 * 1100
    assert tile_bounds(300, 1100, 3) == [(0, 366, 0, 300), (366, 733, 0, 300), (733, 1100, 0, 300)]
    assert tile_grid(4000, 3000, 96) == (8, 12)  # 64 * 4000 <= 96 * 3000, but not 144 * 4000
    assert tile_grid(4000, 3000, 7) == (1, 7)
    assert tile_grid(3, 5000, 7) == (7, 1)


def test_golden_counts():
    assert [tile_count(768, 512, 2**n) for n in (17, 18, 19, 22)] == [3, 2, 1, 1]
    assert tile_count(4000, 3000, 2**22) == 3
    assert tile_count(4000, 3000, 2**17) == 96  # 92 would be 2 x 46
    assert tile_count(1, 2**23, 2**22) == tile_count(2**23, 1, 2**22) == 2


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 200))
def test_tiles_cover_the_plane_once(width, height, most):
    count = tile_count(width, height, most)
    bounds = tile_bounds(width, height, count)
    assert len(bounds) == count
    seen = np.zeros((height, width), int)
    for top, bottom, left, right in bounds:
        assert bottom > top
        assert right > left
        seen[top:bottom, left:right] += 1
    assert (seen == 1).all()
    assert bounds == sorted(bounds)
    assert (count == 1) == (width * height <= most)


@given(st.integers(1, 2**15), st.integers(1, 2**15), st.sampled_from([2**10, 2**17, 2**22]))
def test_tiles_are_of_about_the_size_asked_for(width, height, most):
    count = tile_count(width, height, most)
    rows, columns = tile_grid(width, height, count)
    assert rows * columns == count <= max(1, 3 * width * height // most)
    high, wide = -(-height // rows), -(-width // columns)
    assert (high - 1) * (wide - 1) <= most
    assert rows in (1, count) or columns in (1, count) or 1 / 4 < high / wide < 4
