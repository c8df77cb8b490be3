"""The examples of the pages in docs/ and of the README run, in a folder with what they speak of."""

import doctest
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def images(tmp_path, monkeypatch):
    """The folder that the examples run in."""
    (tmp_path / "images" / "cats").mkdir(parents=True)
    steps = np.random.default_rng(0).integers(-2, 3, (2, 48, 64, 3)).cumsum(axis=1).cumsum(axis=2)
    for number, pixels in enumerate((128 + steps).clip(0, 255).astype(np.uint8), 1):
        Image.fromarray(pixels).save(tmp_path / "images" / "cats" / f"{number:02}.png")
    np.save(tmp_path / "images" / "digits.npy", np.zeros((100, 28, 28), np.uint8))
    (tmp_path / "images" / "notes.txt").write_text("hello")
    (tmp_path / "labels.csv").write_text("name,label\n01.png,cat\n02.png,cat\n")
    np.save(tmp_path / "cells.npy", cells())
    monkeypatch.chdir(tmp_path)


def cells() -> np.ndarray:
    """Two channels of blurred dots, of 12 bits in 16."""
    random = np.random.default_rng(0)
    i, j = np.mgrid[:256, :256]
    centres = random.integers(0, 256, (2, 20, 2))
    dots = [sum(900 * np.exp(-((i - y) ** 2 + (j - x) ** 2) / 90) for y, x in several) for several in centres]
    return (np.array(dots) + random.normal(120, 6, (2, 256, 256))).clip(0, 4095).astype(np.uint16)


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # torch's own use
@pytest.mark.usefixtures("images")
@pytest.mark.parametrize(("page", "least"), [("python.md", 20), ("integrations.md", 20), ("clusters.md", 6)])
def test_pages(page, least):
    result = doctest.testfile(str(ROOT / "docs" / page), module_relative=False)
    assert result.failed == 0
    assert result.attempted > least


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # torch's own use
@pytest.mark.usefixtures("images")
def test_readme():
    """Its Python code, with a small batch for the codec that it loads."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    names = {"batch": np.zeros((1, 16, 16, 3), np.uint8)}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert names["batch"].shape == (1, 16, 16, 3)
