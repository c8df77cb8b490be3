"""What all tests share. pytest puts the folder of a conftest.py on the path: other helpers can be imported too."""

import os

import pytest
from hypothesis import settings

# Before torch is imported, also by processes that tests start: workers share the cores, and threads of torch, which
# wait for each other, would slow them down. Tests of many threads ask for them.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Machines are busy at times: a slow example is no failure.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture
def careful_webp(monkeypatch):
    """WebP as it is, within `folders.quick_webp`: where sizes matter, or in processes of one's own."""
    from folders import encode_webp  # imported before it was replaced

    from bbcodec.images.formats import webp

    monkeypatch.setattr(webp, "encode_webp", encode_webp)
