# mypy: allow-untyped-defs, allow-untyped-calls
"""PackBits (TIFF 6.0, section 9): runs of a byte and literal bytes, row by row, as libtiff chooses them."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from bbcodec.coder.compilation import compiled
from bbcodec.errors import DamagedArchive

Bytes = NDArray[np.uint8]

BAD: Final = -1
MOST: Final = 128  # bytes of a run, or literal bytes together
# What was written last: nothing that goes on, literal bytes, a run, a run behind literal bytes.
NOTHING, LITERAL, RUN, LITERAL_RUN = range(4)


@compiled
def encode(content, row_bytes, out):
    """Write a content, each row for itself; returns how many bytes that takes, or `BAD` where `out` is too short."""
    written = 0
    for top in range(0, len(content), row_bytes):
        end = min(len(content), top + row_bytes)
        last, literal, at = NOTHING, 0, top
        while at < end:
            byte, run = content[at], 1
            while at + run < end and content[at + run] == byte:
                run += 1
            at += run
            while run:
                if written + 2 > len(out):
                    return BAD
                if last == LITERAL_RUN:
                    # Two equal bytes between literal ones are literal, too, if these have room.
                    if run == 1 and out[written - 2] == 255 and out[literal] < 126:
                        out[literal] += 2
                        out[written - 2] = out[written - 1]
                        last = NOTHING if out[literal] == 127 else LITERAL
                    else:
                        last = RUN
                elif run > 1:
                    many = min(run, MOST)
                    out[written], out[written + 1] = 257 - many, byte
                    written += 2
                    last = LITERAL_RUN if last == LITERAL else RUN
                    run -= many
                elif last == LITERAL:
                    out[literal] += 1
                    if out[literal] == 127:
                        last = NOTHING
                    out[written] = byte
                    written += 1
                    run = 0
                else:
                    literal = written
                    out[written], out[written + 1] = 0, byte
                    written += 2
                    last = LITERAL
                    run = 0
    return written


@compiled
def decode(stream, content):
    """Read a content; returns how many bytes of the stream that takes, or `BAD` where it holds another."""
    at = done = 0
    while done < len(content):
        if at + 1 >= len(stream):
            return BAD
        count = stream[at]
        at += 1
        if count == 128:
            continue
        if count > 128:
            times = 257 - count
            if done + times > len(content):
                return BAD
            for _ in range(times):
                content[done] = stream[at]
                done += 1
            at += 1
        else:
            if done + count + 1 > len(content) or at + count + 1 > len(stream):
                return BAD
            for _ in range(count + 1):
                content[done] = stream[at]
                done += 1
                at += 1
    return at


def taken_apart(stream: bytes, size: int) -> tuple[Bytes, int] | None:
    """The content of a stream of `size` bytes, and the bytes that it takes; None where there is none."""
    content: Bytes = np.zeros(size, np.uint8)
    length = decode(np.frombuffer(stream, np.uint8), content)
    return None if length == BAD else (content, int(length))


def made_again(content: Bytes, row_bytes: int, most: int) -> bytes:
    """The stream of a content, at most `most` bytes. Raises DamagedArchive where it is longer."""
    out: Bytes = np.zeros(most + 2, np.uint8)  # two at a time
    length = encode(content, row_bytes, out)
    if length == BAD or length > most:
        raise DamagedArchive("a segment of the archive is longer than is said")
    return out[:length].tobytes()
