import pytest


@pytest.fixture(autouse=True, scope="module")
def _quick():
    """Here sizes decide: WebP is as it is."""
