"""The examples of docs/python.md, docs/clusters.md and the README run, in a folder with the images they speak of."""

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
    monkeypatch.chdir(tmp_path)


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # torch's own use
@pytest.mark.usefixtures("images")
def test_python_page():
    result = doctest.testfile(str(ROOT / "docs" / "python.md"), module_relative=False)
    assert result.failed == 0
    assert result.attempted > 20


@pytest.mark.usefixtures("images")
def test_clusters_page():
    result = doctest.testfile(str(ROOT / "docs" / "clusters.md"), module_relative=False)
    assert result.failed == 0
    assert result.attempted > 3


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
