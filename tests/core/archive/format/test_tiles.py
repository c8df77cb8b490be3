"""Tiles, as docs/format.md says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbcodec.archive.format import tiles
from bbcodec.archive.format.tiles import tile_bounds, tile_grid


def test_golden_tiles():
    """By hand from docs/format.md: of 513 x 512, n = 2, R = floor(sqrt(2 * 512 // 513)) = 1, C = 2 and so on."""
    assert tile_bounds(1, 1) == [(0, 1, 0, 1)]
    assert tile_grid(512, 256) == (1, 1)
    assert tile_bounds(513, 256) == [(0, 256, 0, 256), (0, 256, 256, 513)]
    # R = floor(sqrt(3 * 1100 // 300))
    assert tile_bounds(300, 1100) == [(0, 366, 0, 300), (366, 733, 0, 300), (733, 1100, 0, 300)]
    assert tile_grid(4000, 3000) == (8, 12)  # n = 92, floor(sqrt(92 * 3000 // 4000)) = floor(sqrt(69))


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 200))
def test_tiles_cover_the_plane_once(width, height, most):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "TILE_PIXELS", most)
        bounds = tile_bounds(width, height)
        rows, columns = tile_grid(width, height)
    assert len(bounds) == rows * columns
    seen = np.zeros((height, width), int)
    for top, bottom, left, right in bounds:
        assert bottom > top
        assert right > left
        seen[top:bottom, left:right] += 1
    assert (seen == 1).all()
    assert bounds == sorted(bounds)
    assert (rows * columns == 1) == (width * height <= most)
