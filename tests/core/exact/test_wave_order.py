"""The wave order visits every pixel once; the ring of activations reads zero where there are none."""

import oracle
import torch
from hypothesis import given
from hypothesis import strategies as st

from bbcodec.exact.wave_order import Ring, Wave, WaveOrder

SIDE = st.integers(1, 9)
SKEWS = st.integers(1, 4)


def pixels_of(wave: Wave) -> list[tuple[int, int]]:
    i, j = wave.pixels()
    return list(zip(i.tolist(), j.tolist(), strict=True))


@given(SIDE, SIDE, SKEWS)
def test_waves_visit_every_pixel_once_in_order(height, width, skew):
    order = WaveOrder(height, width, skew)
    assert [pixels_of(wave) for wave in order] == list(oracle.wave_order(height, width, skew))
    assert list(reversed(order)) == list(order)[::-1]
    assert [len(wave) for wave in order] == [len(pixels_of(wave)) for wave in order]


@given(SIDE, SIDE, SKEWS)
def test_the_permutation_lists_the_pixels_of_all_waves(height, width, skew):
    order = WaveOrder(height, width, skew)
    every = [i * width + j for wave in order for i, j in pixels_of(wave)]
    assert order.permutation().tolist() == every


@given(st.integers(-3, 0), st.integers(-3, 3), SKEWS)
def test_a_shifted_wave_holds_the_pixels_shifted(di, dj, skew):
    for wave in WaveOrder(5, 4, skew):
        assert pixels_of(wave.shifted(di, dj)) == [(i + di, j + dj) for i, j in pixels_of(wave)]


def test_the_ring_reads_zero_outside_the_image_and_forgets_old_waves():
    ring = Ring(3, 4, 1, 2, torch.device("cpu"), 1)
    ones = torch.ones(2, 1, 2)
    ring.put(Wave(0, 0, 2, 2), ones)
    assert ring.at(Wave(0, -1, 1, 2)).sum() == 2  # the row above the image is zero
    assert ring.at(Wave(0, 0, 4, 2)).sum() == 4  # rows that the wave did not have are zero
    assert ring.at(Wave(-1, 0, 4, 2)).sum() == 0  # before the image
    assert ring.at(Wave(2, 0, 4, 2)).sum() == 0  # a wave that was skipped
    assert ring.at(Wave(3, 0, 4, 2)).sum() == 0  # not what wave 0 left in the same slot
    ring.put(Wave(3, 3, 4, 2), 5 * torch.ones(1, 1, 2))  # takes the slot of wave 0
    assert ring.at(Wave(3, 0, 4, 2)).flatten().tolist() == [0, 0, 0, 0, 0, 0, 5, 5]


@given(st.integers(1, 40), st.integers(1, 3), st.integers(1, 4), st.data())
def test_the_ring_holds_what_was_put_there(height, width, kept, data):
    """Of tall images, too, of which a wave has few rows."""
    ring, held = Ring(kept, height, 1, 1, torch.device("cpu"), 2), {}
    for wave in WaveOrder(height, width):
        if data.draw(st.booleans()):
            ring.put(wave, torch.full((len(wave), 1, 1), float(wave.t + 1)))
            held[wave.t] = wave
        first = data.draw(st.integers(-2, height - 1))
        for back in range(kept):
            asked = Wave(wave.t - back, first, min(first + 4, height), 2)
            known = held.get(asked.t)
            rows = range(known.first, known.last) if known else ()
            assert ring.at(asked).flatten().tolist() == [
                asked.t + 1 if row in rows else 0 for row in range(asked.first, asked.last)
            ]
