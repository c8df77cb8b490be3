"""The limits of `docs/security.md` are those of the code, and have the tests that the table names."""

import re
from pathlib import Path

from bbcodec.binary import MAX_BODY_BYTES, MAX_CODEC_BYTES, MAX_CONTENT_BYTES, MAX_VALUES
from bbcodec.codec.catalogue import MAX_HEADER_BYTES
from bbcodec.codec.cost import WEIGHT_BYTES
from bbcodec.codec.torch_backend import ALLOWED_WEIGHTS
from bbcodec.codec.weights import VALUES_A_BYTE
from bbcodec.images.formats.base import MAX_SKELETON_BYTES
from bbcodec.images.formats.segment_layouts import MOST_SEGMENTS, MOST_SKELETON_BYTES
from bbcodec.images.npy import MAX_ARRAY_SKELETON_BYTES
from bbcodec.options import Limits

ROOT = Path(__file__).parents[1]
LINES = (ROOT / "docs" / "security.md").read_text().splitlines()
ROWS = [[cell.strip() for cell in line.split("|")[1:5]] for line in LINES if line.startswith("| ")][2:]


def test_every_limit_has_its_tests():
    assert len(ROWS) >= 9
    for what, _, _, tests in ROWS:
        files = re.findall(r"`(tests/[\w/.]+)`", tests)
        named = re.findall(r"`(test_\w+)`", tests)
        assert files, what
        for name in named:
            assert any(f"def {name}(" in (ROOT / file).read_text() for file in files), name
        assert all((ROOT / file).is_file() for file in files)


def test_the_numbers_are_those_of_the_code():
    limits = {what: limit for what, limit, _, _ in ROWS}
    assert "2 GiB" in limits["one chunk or codec in memory, for each worker"]
    assert f"{WEIGHT_BYTES} bytes" in limits["one chunk or codec in memory, for each worker"]
    assert (Limits().memory, Limits().work_for(0), Limits().work_for(1)) == (2**31, 5 * 10**10, 5 * 10**10 + 80_000)
    assert (ALLOWED_WEIGHTS, MAX_CODEC_BYTES, MAX_HEADER_BYTES) == (2**22, 2**26, 2**22)
    assert f"{VALUES_A_BYTE} for each byte" in limits["weights in a codec file"]
    assert (MAX_BODY_BYTES, MAX_VALUES, MAX_CONTENT_BYTES) == (2**30, 2**28, 2**29)
    assert (MAX_SKELETON_BYTES, MAX_ARRAY_SKELETON_BYTES) == (2**18, 2**22)
    assert (MOST_SKELETON_BYTES, MOST_SEGMENTS) == (2**22, 2**18)
