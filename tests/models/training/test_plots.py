"""Curves and sheets of samples: whole PNG files that show what they are given."""

import math

import numpy as np
import pytest
from PIL import Image

from bbcodec.errors import OutputError
from bbcodec.models.training.plots import GAP, GREY, best_of, draw_curves, draw_samples, sheet_of, sum_of_sites

BLUE = (11, 95, 165)  # the held-out curve
GREYISH = (122, 134, 154)  # what is of training images


def log(steps: int) -> list[dict]:
    lines = []
    for step in range(1, steps + 1):
        bits = 3 + 5 / step
        exact = step > 0.6 * steps
        lines.append({"kind": "train", "step": step, "train_z": 0.1, "train_x": bits, "rate": 0.5, "exact": exact})
        if step % 4 == 0:
            held_out = {"valid_bits_per_dim": bits + 0.1, "rate_bits_per_dim": 0.1, "best": True}
            lines.append({"kind": "valid", "step": step, "exact": exact, **held_out})
    return lines


def pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


def near(image: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (abs(image - np.array(colour)) < 12).all(2)


@pytest.mark.parametrize("lines", [[], log(1), log(40), [*log(40), {"kind": "rolled_back", "step": 20, "why": "lost"}]])
def test_curves_are_drawn_from_the_first_line_on(lines, tmp_path):
    draw_curves(lines, tmp_path / "curves.png")
    image = pixels(tmp_path / "curves.png")
    assert image.shape == (800, 900, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]
    held_out = near(image[:400], BLUE).sum()
    assert (held_out > 300) == (len(lines) > 2)
    rolled_back = any(line["kind"] == "rolled_back" for line in lines)
    assert (near(image, (255, 0, 0)).sum() > 20) == rolled_back


def test_a_committed_rate_is_drawn_beside_the_rate(tmp_path):
    draw_curves(log(40), tmp_path / "without.png")
    draw_curves([{**line, "committed_bits_per_dim": 0.08} for line in log(40)], tmp_path / "with.png")
    without, drawn = (near(pixels(tmp_path / name)[400:650], GREYISH).sum() for name in ("without.png", "with.png"))
    assert drawn > without + 500


def test_rounding_is_marked_where_it_begins(tmp_path):
    """A dashed black line through all three panels, which is not there without rounding."""
    marks = []
    for exact in (False, True):
        lines = [{**line, "exact": exact and line["step"] >= 20} for line in log(40)]
        draw_curves(lines, tmp_path / "curves.png")
        marks.append(near(pixels(tmp_path / "curves.png")[650:740, 90:860], (0, 0, 0)).sum(0).max())
    assert marks[0] < 20 < 40 < marks[1]


def test_the_first_steps_do_not_flatten_the_curve(tmp_path):
    lines = log(100)
    lines[0]["train_x"] = 1e6
    draw_curves(lines, tmp_path / "curves.png")
    rows = near(pixels(tmp_path / "curves.png")[60:400, :500], BLUE).any(1).nonzero()[0]  # without the legend
    assert rows.max() - rows.min() > 150


def test_a_lost_loss_can_be_drawn(tmp_path):
    lines = [{**line, "train_x": math.nan} if line["kind"] == "train" else line for line in log(20)]
    draw_curves(lines, tmp_path / "curves.png")
    assert near(pixels(tmp_path / "curves.png")[60:400, :500], BLUE).sum() > 100


def test_numbers_of_the_log():
    assert sum_of_sites(log(1)[0]) == pytest.approx(8.1)
    assert best_of([line for line in log(40) if line["kind"] == "valid"]) == pytest.approx(3.225)
    assert math.isnan(best_of([]))


@pytest.mark.parametrize(
    ("shape", "scale", "columns"),
    [((16, 28, 28, 1), 3, 4), ((5, 28, 20, 3), 3, 3), ((1, 256, 200, 3), 1, 1), ((2, 1, 1, 1), 96, 2)],
)
def test_a_sheet_shows_every_image_enlarged(shape, scale, columns, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    sheet = sheet_of(images)
    down, across = scale * shape[1] + GAP, scale * shape[2] + GAP
    rows = -(-shape[0] // columns)
    assert sheet.shape == (rows * down + GAP, columns * across + GAP, shape[3])
    for number, image in enumerate(images):
        i, j = divmod(number, columns)
        tile = sheet[i * down + GAP :, j * across + GAP :][: down - GAP, : across - GAP]
        assert np.array_equal(tile[::scale, ::scale], image)
        assert np.array_equal(tile[scale - 1 :: scale, scale - 1 :: scale], image)
    assert (sheet[:GAP] == GREY).all()
    draw_samples(images, tmp_path / "samples.png")
    with Image.open(tmp_path / "samples.png") as shown:
        assert shown.mode == ("L" if shape[3] == 1 else "RGB")
        assert np.array_equal(np.asarray(shown).reshape(sheet.shape), sheet)


def test_pictures_are_replaced_whole(tmp_path):
    """And where they cannot be written, what was there stays."""
    path = tmp_path / "samples.png"
    draw_samples(np.zeros((1, 4, 4, 1), np.uint8), path)
    draw_samples(np.ones((4, 4, 4, 1), np.uint8), path)
    assert [one.name for one in tmp_path.iterdir()] == ["samples.png"]
    with pytest.raises(OutputError):
        draw_curves(log(4), tmp_path / "none" / "curves.png")
