"""What a codec costs before it codes anything, counted from its file: a stranger's is refused before it is built.

The known-answer test encodes and decodes fixed images. A network costs as many multiply-adds there as it has weights
times places where they are applied, at most the pixels; attention as many as it has channels times pairs of pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from bbcodec.codec.known_answers import KNOWN_ANSWERS
from bbcodec.codec.stored import StoredCodec
from bbcodec.errors import LimitExceeded
from bbcodec.options import LIMIT_ENDING, Limits

RUNS: Final = 4  # of every layer: encoding and decoding, on a stack of one head and on one of several
WEIGHT_BYTES: Final = 48  # in memory: float32 as parameter and as frozen, and what checks take for a while
ROOM_BYTES: Final = 2**28  # for activations, and the file
WAVES: Final = 200  # of the test's images, in each of which every layer is called
CALL: Final = 2**19  # multiply-adds in the time that calling a layer takes


@dataclass(frozen=True)
class Cost:
    """Multiply-adds of the known-answer test, and bytes of memory that it takes; both rounded up freely."""

    multiply_adds: int
    memory: int


def cost_of(stored: StoredCodec) -> Cost:
    """The cost of a codec's known-answer test, from the shapes of its tensors and the image size of its config."""
    fixed = _image_size(stored.config)
    shapes = [(count, *(fixed or sides)) for count, *sides in KNOWN_ANSWERS]
    images, pixels = sum(shape[0] for shape in shapes), sum(math.prod(shape) for shape in shapes)
    pairs = sum(count * (height * width) ** 2 for count, height, width in shapes)
    total = weights = 0
    for name, tensor in stored.tensors.items():
        weights += tensor.size
        places = images if fixed and tensor.ndim == 2 else pixels  # dense layers see whole images
        total += tensor.size * places + WAVES * CALL * (tensor.ndim > 1)
        if name.endswith("query.weight"):
            total += 2 * len(tensor) * pairs
    return Cost(RUNS * total, ROOM_BYTES + WEIGHT_BYTES * weights)


def check_cost(stored: StoredCodec, stored_bytes: int, limits: Limits) -> None:
    """Raise LimitExceeded for a codec in an archive whose test costs more than the limits allow.

    stored_bytes: what it takes in the archive. A bomb takes little there, as its weights are all alike.
    """
    if stored.base is not None:  # whose weights are no bomb
        stored_bytes += len(stored.base.content)
    cost, allowed = cost_of(stored), limits.work_for(stored_bytes)
    if cost.multiply_adds > allowed:
        raise LimitExceeded(
            f"the codec {stored.name!r} in the archive would take {cost.multiply_adds / 1e9:,.0f} billion "
            f"multiply-adds to be tested, at most {allowed / 1e9:,.0f} are allowed: "
            f"raise --max-work {LIMIT_ENDING}"
        )
    limits.check_memory(cost.memory, f"the codec {stored.name!r} in the archive")


def _image_size(config: Mapping[str, Any]) -> tuple[int, int] | None:
    """The height and width of the only images that a model takes, if its config has them; refused later if wrong."""
    size = config.get("height"), config.get("width")
    return size if all(type(side) is int and side > 0 for side in size) else None  # type: ignore[return-value]
