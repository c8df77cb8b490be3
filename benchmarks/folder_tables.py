"""Tables of whole folders: strange images and sprites, many small images, a large one, and codecs that learn first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

Result = dict[str, Any]

SETS: Final = {
    "kodak": "Kodak, 24 photos",
    "microscopy": "microscopy, 274 images, on 254 of which `grey-3` was trained",
    "sprites": "4,265 sprites",
    "strange": "strange images",
}


def adapted_set(name: str) -> str:
    """What a row of codecs that learn first is of."""
    images, mixed, _ = name.partition(", mixed")
    return SETS[images] + (", both with `--mix`" if mixed else "")


def adapting(result: Result) -> Iterator[str]:
    """Folders with the shipped codecs, and with codecs that learned from them first."""
    yield "| folder, all in the archive | shipped codecs | bits/dim | after learning | bits/dim | less | minutes |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for name, row in result["sets"].items():
        before, after = row["shipped"], row["adapted"]
        cells = [f"{one['bytes']:,} | {one['bits_per_dim']:.3f}" for one in (before, after)]
        cells[1] = f"**{cells[1].replace(' | ', '** | **')}**"
        less = f"{100 * (1 - after['bytes'] / before['bytes']):.1f} %"
        yield f"| {adapted_set(name)} | {cells[0]} | {cells[1]} | {less} | {row['minutes']} |"
    yield ""
    for name, row in result["sets"].items():
        after = row["adapted"]
        lines = "; ".join(after["learned"]) or "no codec could learn from it"
        yield f"- {adapted_set(name)}: {lines}. {after['seconds']:,.0f} s, {after['seconds_decompress']:,.0f} s back."
        yield f"  `{row['command']}`"


def mixing(result: Result) -> Iterator[str]:
    """Messages of codecs alone and mixed, and archives by default and with `--mix`."""
    yield "| images, one by one | codec | alone, bits/dim | mixed | less | MB/s in / out, alone | mixed |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
    for row in result["sets"].values():
        ways = [row["messages"][key] for key in ("alone", "mixed")]
        sizes = " | ".join(f"{way['bits_per_dim']:.3f}" for way in ways)
        less = f"{100 * (1 - ways[1]['bytes'] / ways[0]['bytes']):.1f} %"
        rates = [f"{way['mb_per_second_encode']:.2f} / {way['mb_per_second_decode']:.2f}" for way in ways]
        yield f"| {row['data']} | `{row['codec']}` | {sizes} | {less} | {' | '.join(rates)} |"
    yield ""
    yield "| archive | with | bytes | bits/dim | s in, checked | s out | stored as |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | --- |"
    for row in result["sets"].values():
        for key, one in row["archives"].items():
            how = ", ".join(f"{count} {name}" for name, count in one["stored_as"].items())
            times = f"{one['seconds_compress_checked']} | {one['seconds_decompress']}"
            yield f"| {row['data']} | {key} | {one['bytes']:,} | {one['bits_per_dim']:.3f} | {times} | {how} |"
    yield ""
    yield f"MB/s of raw pixels with {result['threads']} threads."


def folders(result: Result) -> Iterator[str]:
    """Folders restored, and the sprites beside their peers."""
    odd, sprites = result["strange_images"], result["sprites"]
    made = ", ".join(f"{count:,} files {how}" for how, count in result["strange_images_made"].items())
    for what, one in (("strange images", odd), ("sprites", sprites)):
        yield (
            f"{one['files_the_same']:,} of {one['files']:,} {what} are restored "
            f"({one['of_which_byte_for_byte']:,} of them byte for byte)."
        )
    parts = odd["files"] - sum(result["strange_images_made"].values())
    yield f"Strange images: {made}{f', and {parts} more where one call wrote several' if parts else ''}."
    yield ""
    yield "| 4,265 sprites, as PNG files | bytes |"
    yield "| --- | ---: |"
    for name, size in result["sprites_peers_bytes"].items():
        yield f"| {name} | {size:,} |"
    yield f"| **bbcodec**, one archive | **{sprites['archive_bytes']:,}** |"
    yield ""
    yield "WebP figures count colours alone; the archive also holds palettes, names, times and metadata."


def jpegs(result: Result) -> Iterator[str]:
    """JPEG files by kind, beside zip and JPEG XL."""
    total, archive, peer = result["file_bytes"], result["archive_bytes"], result["jpegxl_bytes"]
    how = ", ".join(f"{count} as {name}" for name, count in result["how"].items())
    yield f"{result['byte_for_byte']} of {result['files']} JPEG files come back byte for byte ({how})."
    yield ""
    yield "| three files each | bytes | in the archive | less | JPEG XL |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for row in result["kinds"]:
        size, stored = row["file_bytes"], row["stored"]
        yield f"| {row['kind']} | {size:,} | {stored:,} | {less(stored, size)} | {row['jpegxl']:,} |"
    yield f"| **all, one archive** | {total:,} | **{archive:,}** | **{less(archive, total)}** | {peer:,} |"
    yield ""
    yield (
        f"A zip of them has {result['zip_bytes']:,} bytes. JPEG XL: by libjxl, with what it takes to rebuild the file; "
        "the file itself where libjxl does not take it."
    )


def pngs(result: Result) -> Iterator[str]:
    """PNG files with every byte kept, by writer."""
    yield "| PNG files by | files | made again from pixels | bytes for that | pixels as WebP | more | by default, too |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for row in result["rows"]:
        making, webp = row["making_bytes"], row["webp_bytes"]
        more = f"{100 * making / webp:.2f} %" if webp else ""
        counts = f"{row['files']} | {row['by_pixels']}"
        yield f"| {row['writer']} | {counts} | {making:,} | {webp:,} | {more} | {row['by_default']} |"
    yield ""
    yield "With `--exact-files`, which keeps files as they are where that is shorter, and by default."


def tiffs(result: Result) -> Iterator[str]:
    """TIFF and DICOM files, by writer."""
    yield "| files of | files | by their pixels | bytes | `zip -9` | in the archive | less than zip |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for row in result["rows"]:
        sizes = [f"{row[key]:,}" for key in ("file_bytes", "zip_bytes", "archive_bytes")]
        counts = f"{row['files']} | {row['by_pixels']}"
        gain = less(row["archive_bytes"], row["zip_bytes"])
        yield f"| {row['writer']} | {counts} | {' | '.join(sizes)} | {gain} |"
    same, files = (sum(row[key] for row in result["rows"]) for key in ("same_bytes", "files"))
    yield ""
    yield f"{same} of {files} files come back byte for byte. Without learned codecs."


def less(size: int, before: int) -> str:
    """By how much a size is less than another, in percent."""
    return f"{100 * (1 - size / before):.1f} %"


def many(result: Result) -> Iterator[str]:
    """A great many small images."""
    index, one, memory = result["index_bytes_a_file"], result["seconds_to_read_one"], result["memory_mb"]
    yield (
        f"{result['files']:,} small images, {result['file_bytes']:,} bytes as PNG files, become "
        f"{result['archive_bytes']:,} bytes. Memory of all processes ({result['jobs']} workers): "
        f"{memory['compress']:,} MB to compress, {memory['decompress']:,} MB to restore. The index takes "
        f"{index['index']} bytes a file, names included; the directories that replace a lost index take "
        f"{index['directory_chunks']}. After {one['start_up']} s of start-up, reading one image takes "
        f"{one['median'] or 'less than 0.001'} s (median of 40; at most {one['most']} s)."
    )


def remote(result: Result) -> Iterator[str]:
    """An archive at a URL."""
    moved = result["transferred"]
    cells = {
        "`list`": moved["list"],
        "one image after that, the most of 40": moved["one_image_at_most"],
        "all images, one after another": moved["all"],
    }
    yield f"The same images without a learned codec: {result['archive_bytes']:,} bytes, read by ranges."
    yield ""
    yield "| at a URL | requests | bytes transferred |"
    yield "| --- | ---: | ---: |"
    for name, one in cells.items():
        yield f"| {name} | {one['requests']:,} | {one['bytes']:,} |"


def zarr_arrays(result: Result) -> Iterator[str]:
    """Zarr arrays by codec."""
    count, height, width = result["shape"]
    cells = f"{count} micrographs, {height} x {width}"
    sets = {"cells": cells, "cells_16": cells, "pyramid": "a pyramid of three levels of them"}
    sets["deep"] = "the images of 9 to 16 bits above"
    yield "Bytes of all that is stored, metadata included; the codec is shipped, and is not among them."
    yield ""
    names = {"zstd": "zstd, level 9", "blosc": "blosc (zstd 9, shuffled)", "jpegxl": "JPEG XL, e7"}
    names["bbcodec"] = f"**bbcodec, `{result['codec']}`**"
    yield f"| images | at most in a chunk | raw | {' | '.join(names.values())} |"
    yield f"| --- | ---: | ---: |{' ---: |' * len(names)}"
    for key, row in result["rows"].items():
        sizes = " | ".join(format(row["bytes"][name], ",") for name in names)
        yield f"| {sets[key]} | {row['images_a_chunk']} | {row['raw_bytes']:,} | {sizes} |"


def loaders(result: Result) -> Iterator[str]:
    """Images a second in training loops, by how the images are kept."""
    names = {"learned": "**bbcodec, `{codec}`**", "plain": "bbcodec without a codec"}
    names |= {"png": "WebDataset, PNG", "webp": "WebDataset, WebP (lossless)"}
    titles = {"cifar10": "CIFAR-10", "photos": "Kodak photos"}
    yield (
        "Epochs of a shuffled training loop in one process and thread, without workers, in turns; each of an archive "
        "loads its codec anew, and has nothing decoded from the one before. Kernels "
        f"{result['kernels']}, on a machine at work (load {result['load_average']}): compare within the table."
    )
    yield ""
    yield "| images | kept as | bytes | read an epoch | images/s | of WebDataset, PNG |"
    yield "| --- | --- | ---: | ---: | ---: | ---: |"
    for key, one in result["sets"].items():
        base = one["rows"]["png"]["images_per_s"]
        for name, row in one["rows"].items():
            yield (
                f"| {titles[key]}, {one['images']:,} | {names[name].format(codec=one['codec'])} | {row['bytes']:,} | "
                f"{row['bytes_read']:,} | {row['images_per_s']:,} | {row['images_per_s'] / base:.3f} |"
            )


def sixteen_bits(result: Result) -> Iterator[str]:
    """Grey images of 9 to 16 bits."""
    names = {"png": "PNG", "webp_of_bytes": "high and low bytes as WebP", "jpegxl_7": "JPEG XL, e7"}
    names["predicted"] = "**bbcodec, without a codec**"
    rows = result["images"]
    yield (
        f"Shorter than JPEG XL for {result['shorter_than_jpegxl_7']} of {len(rows)}; the mean ratio is "
        f"{result['mean_ratio_to_jpegxl_7']} (geometric). Bytes of the images alone, without their files."
    )
    yield ""
    yield f"| images | number and size | highest value | {' | '.join(names.values())} |"
    yield f"| --- | --- | ---: |{' ---: |' * len(names)}"
    for name, row in rows.items():
        count, height, width = row["shape"]
        sizes = " | ".join(f"{row[kind]:,}" for kind in names)
        yield f"| {name} | {count} of {width} x {height} | {row['highest']:,} | {sizes} |"
    yield f"| **all** | | | {' | '.join(format(result['bytes'][kind], ',') for kind in names)} |"


def large(result: Result) -> Iterator[str]:
    """One very large image."""
    memory = result["memory_mb"]
    yield (
        f"An image of {result['megapixels']:g} megapixels, {result['png_bytes']:,} bytes as PNG, becomes "
        f"{result['archive_bytes']:,} bytes. Memory of all processes ({result['jobs']} workers): "
        f"{memory['compress']:,} MB to compress, {memory['decompress']:,} MB to restore."
    )
