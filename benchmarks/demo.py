"""Compress the photos that come with scikit-image, restore them, and compare every pixel.

    make demo

Runs the real command line: bbcodec compress, list and decompress. Downloads nothing; leaves nothing behind.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from common import bbcodec, listed, png_bytes, webp_bytes
from PIL import Image
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

# All of them lie in the installed package itself. Photos in colour and grey, drawings, and a JPEG file.
COLOUR = ["astronaut.png", "chelsea.png", "coffee.png", "ihc.png", "color.png"]
GREY = ["camera.png", "coins.png", "moon.png", "page.png"]
FILES = [*COLOUR, *GREY, "phantom.png", "rocket.jpg"]


def bundled() -> Path:
    """The folder of images inside the installed scikit-image; it is not imported."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        sys.exit("the demo needs scikit-image: run `make demo`, or pip install scikit-image")
    return Path(spec.origin).parent / "data"


def same_picture(before: Path, after: Path) -> bool:
    """Whether mode, size, palette, transparency and every pixel are equal."""
    with Image.open(before) as a, Image.open(after) as b:
        if a.mode != b.mode or a.getpalette() != b.getpalette():
            return False
        if a.info.get("transparency") != b.info.get("transparency"):
            return False
        return np.array_equal(np.asarray(a), np.asarray(b))


def row(path: Path, entry: dict[str, object]) -> list[int]:
    """Dimensions, and the file's size as PNG, as WebP and in the archive."""
    with Image.open(path) as image:
        dims = image.width * image.height * len(image.getbands())
        png = path.stat().st_size if path.suffix == ".png" else png_bytes(image)
        return [dims, png, webp_bytes(image), int(str(entry["stored_bytes"]))]


def main() -> None:
    """Run the demo; exits with status 1 if a pixel differs."""
    screen = Console()
    with tempfile.TemporaryDirectory(prefix="bbcodec-demo-") as folder:
        photos, archive, restored = Path(folder, "photos"), Path(folder, "photos.bb"), Path(folder, "restored")
        photos.mkdir()
        for name in FILES:
            shutil.copy(bundled() / name, photos)
        screen.print(f"[bold]bbcodec compress photos/ -o photos.bb[/]   ({len(FILES)} files)")
        seconds_in = bbcodec("compress", photos, "-o", archive, quiet=False)[1]
        entries = {Path(entry["name"]).name: entry for entry in listed(archive)["files"]}
        screen.print("[bold]bbcodec decompress photos.bb -o restored/[/]")
        seconds_out = bbcodec("decompress", archive, "-o", restored, quiet=False)[1]
        back = {path.name: path for path in restored.rglob("*") if path.is_file()}

        table = Table(title="Bytes, lossless", box=SIMPLE_HEAD, padding=0)
        table.caption = "equal: mode, palette and every pixel are restored"
        table.add_column("file", no_wrap=True)
        for heading in ("PNG", "WebP", "bbcodec", "bits/dim"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("stored as", no_wrap=True)
        table.add_column("equal", no_wrap=True)
        start = time.perf_counter()
        with ThreadPoolExecutor() as pool:
            rows = list(pool.map(lambda name: row(photos / name, entries[name]), FILES))
        equal = [name in back and same_picture(photos / name, back[name]) for name in FILES]
        for name, same, (dims, png, webp, ours) in zip(FILES, equal, rows, strict=True):
            verdict = "[green]yes[/]" if same else "[red]NO[/]"
            cells = [f"{png:,}", f"{webp:,}", f"{ours:,}", f"{8 * ours / dims:.3f}"]
            table.add_row(name, *cells, str(entries[name]["how"]), verdict)
        seconds_peers = time.perf_counter() - start
        totals = [sum(column) for column in zip(*rows, strict=True)]
        table.add_section()
        whole = archive.stat().st_size
        table.add_row("all files", *(f"{total:,}" for total in totals[1:]), f"{8 * totals[3] / totals[0]:.3f}")
        table.add_row("the archive", "", "", f"{whole:,}", f"{8 * whole / totals[0]:.3f}")
        screen.print(table)
        screen.print(
            f"compress {seconds_in:.1f} s (result checked), decompress {seconds_out:.1f} s, "
            f"WebP and comparison {seconds_peers:.1f} s"
        )
        if not all(equal):
            sys.exit("demo: some restored images differ")


if __name__ == "__main__":
    main()
