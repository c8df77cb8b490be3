import pytest
from folders import quick_webp


@pytest.fixture(autouse=True, scope="module")
def _quick():
    """Quick WebP, for tests of anything but sizes."""
    with quick_webp():
        yield
