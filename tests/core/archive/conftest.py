import pytest
from folders import quick_webp
from pins import without_predicted


@pytest.fixture(autouse=True, scope="module")
def _quick():
    """Quick WebP, for tests of anything but sizes."""
    with quick_webp():
        yield


@pytest.fixture(scope="module")
def unpredicted():
    """Archives without `predicted`, which takes longest: for tests of what is the same in every coding."""
    with without_predicted():
        yield
