"""What all tests share. pytest puts the folder of a conftest.py on the path: other helpers can be imported too."""

import pytest
from hypothesis import settings

# Machines are busy at times: a slow example is no failure.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture
def careful_webp(monkeypatch):
    """WebP as it is, within `folders.quick_webp`: where sizes matter, or in processes of one's own."""
    from folders import encode_webp  # imported before it was replaced

    from bbcodec.images.formats import webp

    monkeypatch.setattr(webp, "encode_webp", encode_webp)
