import pytest
from small_answers import small_answers


@pytest.fixture(autouse=True, scope="module")
def _small_answers():
    """Codecs are saved and loaded quickly."""
    with small_answers():
        yield
