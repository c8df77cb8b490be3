"""What tests of reading share: a folder with one of everything, and archives without predictions, but where asked."""

import pytest
from folders import make_folder

from bbcodec.archive.write import candidates
from bbcodec.images.codings import CODINGS


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "in")


@pytest.fixture(autouse=True, scope="module")
def _unpredicted(unpredicted):
    """For all tests of reading."""


@pytest.fixture
def every_coding(monkeypatch):
    """Archives with all that there is, for one test."""
    monkeypatch.setattr(candidates, "CODINGS", CODINGS)
