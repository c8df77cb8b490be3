"""Images and files made of whole numbers and fixed seeds: nothing depends on the time, the folder or the umask."""

import io
import os
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def random(*shape: int, top: int = 256, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, top, shape, np.uint8)


def natural(*shape: int, seed: int = 0) -> np.ndarray:
    """Slopes with some noise, uint8 (N, H, W, C): codecs of photographs beat WebP on such."""
    n, height, width, channels = shape
    rng = np.random.default_rng(seed)
    i, j = np.mgrid[:height, :width][:, None, :, :, None]
    slopes = rng.integers(-32, 33, (2, n, 1, 1, channels))
    noise = rng.integers(-2, 3, (4, n, height, width, 1)).sum(0) + rng.integers(-1, 2, shape)
    x = 128 + (slopes[0] * (i - height // 2) + slopes[1] * (j - width // 2)) // 16 + noise
    return x.clip(0, 255).astype(np.uint8)


def strokes(count: int, seed: int = 0) -> np.ndarray:
    """Thick random walks, uint8 (N, 28, 28, 1) of 0 and 1, somewhat like digits."""
    rng, x = np.random.default_rng(seed), np.zeros((count, 28, 28, 1), np.uint8)
    for image in x:
        i, j, turn = 7, 7, 0
        for _ in range(24):
            turn = (turn + int(rng.integers(-1, 2))) % 8
            i += (0, 1, 1, 1, 0, -1, -1, -1)[turn]
            j += (1, 1, 0, -1, -1, -1, 0, 1)[turn]
            i, j = min(max(i, 4), 21), min(max(j, 4), 21)
            image[i : i + 3, j : j + 2] = 1
    return x


def echoes(count: int, side: int, seed: int = 0) -> np.ndarray:
    """Each pixel is that two rows up and one to the left, but for one in 8: hard to see but for `echo_codec`."""
    x = (random(count, side, side, 1, top=8, seed=seed) == 0).astype(np.uint8)
    start = random(count, side, side, 1, top=2, seed=seed + 1)
    x[:, :2], x[:, :, :1] = start[:, :2], start[:, :, :1]
    for i in range(2, side):
        x[:, i, 1:] ^= x[:, i - 2, :-1]
    return x


def grey_echoes(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(H, W, 1) uint8: each pixel is that two rows up and one to the left, or a level from it."""
    steps = random(height, width, top=3, seed=seed).astype(int) - 1
    x = random(height, width, top=128, seed=seed + 1).astype(int) + 64
    for i in range(2, height):
        x[i, 1:] = x[i - 2, :-1] + steps[i, 1:]
    return x.astype(np.uint8)[..., None]


def save(path: Path, pixels: np.ndarray, **options: Any) -> None:
    """Pixels (H, W, C), or (H, W), as an image file; `bool` as one of two levels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels).save(path, **options)


def save_indexed(path: Path, indices: np.ndarray, colours: np.ndarray, **options: Any) -> None:
    """Indices (H, W) into colours (n, 3)."""
    image = Image.frombytes("P", indices.shape[::-1], indices.tobytes())
    image.putpalette(colours.astype(np.uint8).tobytes())
    image.save(path, **options)


def interlaced(pixels: np.ndarray) -> bytes:
    """An Adam7 PNG of grey pixels (H, W), which Pillow does not write."""
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = b"".join(b"\0" + row.tobytes() for j, i, across, down in passes for row in pixels[i::down, j::across])
    parts = (b"IHDR", struct.pack(">IIBBBBB", *pixels.shape[::-1], 8, 0, 0, 0, 1)), (b"IDAT", zlib.compress(rows))
    chunks = (struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
              for name, data in (*parts, (b"IEND", b"")))  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def zipped(path: Path, members: dict[str, bytes | np.ndarray], method: int = zipfile.ZIP_STORED) -> None:
    """A zip, as `.npz` files are, of arrays and other bytes; `numpy.savez` would write the time."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            stream = io.BytesIO()
            np.save(stream, content) if isinstance(content, np.ndarray) else stream.write(content)
            info = zipfile.ZipInfo(name, (2020, 2, 29, 12, 34, 56))
            info.compress_type = method
            with archive.open(info, "w", force_zip64=True) as member:  # as NumPy does
                member.write(stream.getvalue())


def settle(top: Path) -> None:
    """Give all in a folder times and permissions of their own: archives hold them."""
    for number, path in enumerate(sorted(top.rglob("*"), reverse=True)):  # folders after what is in them
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else (0o644, 0o600, 0o444)[number % 3])
        os.utime(path, ns=(0, 1_600_000_000_123_456_789 + number * 10**9 * 86_407), follow_symlinks=False)
