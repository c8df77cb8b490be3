"""TIFF files put together by hand, page by page."""

import struct

import numpy as np

ITEMS = {3: "H", 4: "I", 16: "Q"}
STRIPS, TILES = (273, 279), (324, 325)  # tags of the starts and lengths of segments


def tiff(pages, order="<", big=False, gap=0, shuffled=False):
    """A TIFF of pages (tags, segments): tags are by number (type, values), segments the bytes of strips or tiles.

    gap: zeros before each segment. shuffled: segments lie in the file from last to first.
    """
    word = "Q" if big else "I"
    body = bytearray(16 if big else 8)
    directories = []
    for tags, segments in pages:
        starts = [0] * len(segments)
        for number in sorted(range(len(segments)), reverse=shuffled):
            body += bytes(gap)
            starts[number] = len(body)
            body += segments[number]
        offsets, lengths = TILES if 322 in tags else STRIPS
        kind = 16 if big else 4
        directories.append({**tags, offsets: (kind, starts), lengths: (kind, [len(one) for one in segments])})
    body += bytes(len(body) % 2)
    link = struct.calcsize(order + word)
    where = 8 if big else 4  # of the number that leads to the next directory
    for tags in directories:
        values = {}
        for tag, (kind, numbers) in tags.items():
            packed = struct.pack(f"{order}{len(numbers)}{ITEMS[kind]}", *numbers)
            if len(packed) > link:
                values[tag] = struct.pack(order + word, len(body))
                body += packed + bytes(len(packed) % 2)
            else:
                values[tag] = packed.ljust(link, b"\0")
        body[where : where + link] = struct.pack(order + word, len(body))
        body += struct.pack(order + ("Q" if big else "H"), len(tags))
        for tag in sorted(tags):
            kind, numbers = tags[tag]
            body += struct.pack(order + "HH" + word, tag, kind, len(numbers)) + values[tag]
        where = len(body)
        body += bytes(link)
    start = struct.pack(order + "2sHHH", b"II" if order == "<" else b"MM", 43, 8, 0)
    body[: 8 if big else 4] = start if big else struct.pack(order + "2sH", b"II" if order == "<" else b"MM", 42)
    return bytes(body)


def page(samples, order="<", rows=None, tile=None, planar=False, fill="zeros", encode=bytes, predictor=False, **more):
    """Tags and segments of a page of samples (H, W, C), uint8 or uint16.

    rows: of a strip. tile: height and width. fill: what is beyond the edges: zeros, edge or noise. encode: makes the
    bytes of a segment of those of its samples. more: values of tags called `t` and their number.
    """
    height, width, channels = samples.shape
    bits = 8 * samples.itemsize
    step = (rows or height, width) if tile is None else tile
    planes = [samples[..., one : one + 1] for one in range(channels)] if planar else [samples]
    segments = []
    for plane in planes:
        for top in range(0, height, step[0]):
            for left in range(0, width, step[1]):
                part = plane[top : top + step[0], left : left + step[1]]
                part = beyond(part, step, fill, top + left) if tile else part
                if predictor:
                    part = np.concatenate([part[:, :1], part[:, 1:] - part[:, :-1]], axis=1)
                segments.append(encode(part.astype(part.dtype.newbyteorder(order)).tobytes()))
    tags = {
        256: (3, [width]), 257: (3, [height]), 258: (3, [bits] * channels), 259: (3, [1]),
        262: (3, [2 if channels > 2 else 1]), 277: (3, [channels]), 284: (3, [2 if planar else 1]),
    }  # fmt: skip
    tags |= {322: (3, [tile[1]]), 323: (3, [tile[0]])} if tile else {278: (3, [step[0]])}
    tags |= {317: (3, [2])} if predictor else {}
    tags |= {338: (3, [0] * (channels - 3))} if channels > 3 else {338: (3, [0])} if channels == 2 else {}
    return tags | {int(tag[1:]): (3, [value]) for tag, value in more.items()}, segments


def beyond(part, shape, fill, seed):
    """A tile with what lies beyond the edges."""
    more = [(0, size - have) for size, have in zip(shape, part.shape, strict=False)] + [(0, 0)]
    if fill == "edge":
        return np.pad(part, more, mode="edge")
    padded = np.pad(part, more)
    if fill == "noise":
        noise = np.random.default_rng(seed).integers(0, 200, padded.shape).astype(part.dtype)
        noise[: part.shape[0], : part.shape[1]] = part
        return noise
    return padded
