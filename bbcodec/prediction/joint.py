# mypy: allow-untyped-defs, allow-untyped-calls
"""Contexts of a channel that see exactly what the channels before it are in the same pixel.

What made an image, as a scanner or a conversion between spaces of colours, may leave but few of the triples of values
that there could be. No prediction knows; these contexts learn which there are.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from bbcodec.coder.compilation import inlined
from bbcodec.prediction.lines import LINE_BITS, hashed, line_of
from bbcodec.prediction.mixing import CONTEXT_ROWS, CONTEXTS

JOINT: Final = 2
MOST_LINES: Final = 17  # bits of their number, for each context


class Joint(NamedTuple):
    """What finds their counters. contexts (JOINT,): which of a mixer they are; lines (2,): where their lines begin, and
    bits of the number of these; hashes (JOINT,): of what they see.
    """

    contexts: npt.NDArray[np.int64]
    lines: npt.NDArray[np.int64]
    hashes: npt.NDArray[np.int64]

    @classmethod
    def of(cls, contexts: tuple[int, int], decisions: int, bits: int) -> Self:
        """For a mixer of so many decisions, with contexts that have rows; bits: of the number of lines."""
        lines = np.array([CONTEXTS * CONTEXT_ROWS * decisions, bits])
        return cls(np.array(contexts), lines, np.zeros(JOINT, np.int64))

    @property
    def counters(self) -> int:
        """How many counters a mixer needs for each channel, those with rows among them."""
        first, bits = self.lines.tolist()
        return int(first) + (JOINT << int(bits) + LINE_BITS)


@inlined
def find_joint(joint, mixer, channel, first, last, whole):
    """The counters of a sample, predicted to be `whole`, of which the first and the last channel before are known."""
    joint.hashes[0] = hashed(hashed(np.int64(0), last), whole)
    joint.hashes[1] = hashed(joint.hashes[0], first)
    find_joint_lines(joint, mixer, channel, np.int64(0), np.int64(0))


@inlined
def find_joint_lines(joint, mixer, channel, count, decision):
    """Those of the bits below the highest of `count`, of which the first decision is known; 0, 0: of all before."""
    counters, first, bits = mixer.counters[channel], joint.lines[0], joint.lines[1]
    for k in range(JOINT):
        start = first + (k << bits + LINE_BITS)
        mixer.places[joint.contexts[k]] = line_of(counters, start, bits, hashed(joint.hashes[k], count)) - decision
