"""What tests of reading share: a folder with one of everything."""

import pytest
from folders import make_folder


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "in")
