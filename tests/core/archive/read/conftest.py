"""What tests of reading share: quick WebP, and a folder with one of everything."""

import pytest
from folders import make_folder, quick_webp


@pytest.fixture(autouse=True, scope="module")
def _quick():
    with quick_webp():
        yield


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "in")
