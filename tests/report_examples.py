"""A report made by hand."""

from dataclasses import replace

from bbcodec.report.byte_counts import PURPOSES
from bbcodec.report.report import BYTE, CodecUse, ImageCost, Layer, Peer, Report, Row

COLUMNS = ("negative_elbo", "discretised", "account", "words", "initial", "container")


def make_report(**changes):
    """Two images of 100 values, 1,000 bytes."""
    units = dict(zip(COLUMNS, (900, 901, 902, 903, 930, 1000), strict=True))
    rows, before = [], 0
    for key, n_bytes in units.items():
        rows.append(Row(key, f"the {key}", n_bytes * BYTE, (n_bytes - before) * BYTE))
        before = n_bytes
    report = Report(
        title="codec on data",
        images=2,
        dims=200,
        learned_images=2,
        learned_dims=200,
        classical_images=0,
        file_bytes=1000,
        input_bytes=5000,
        input_image_bytes=5000,
        files=1,
        copies=0,
        rebuilt="",
        bytes={**dict.fromkeys(PURPOSES, 0), "learned messages": 930, "directories and index": 70},
        chunks=1,
        batches=2,
        chain=rows,
        layers=[
            Layer("z", True, 100 * BYTE, 101 * BYTE, 101 * BYTE, 300 * BYTE, 3, 4),
            Layer("x", False, 800 * BYTE, 800 * BYTE, 801 * BYTE, 0),
        ],
        costs=[ImageCost("a[0]", 300 * BYTE, 100), ImageCost("a[1]", 602 * BYTE, 100)],
        how={"learned": 1},
        codecs=[CodecUse("codec", "00ff", "vlae", 12_345, False)],
        codec_chunk_bytes=10_000,
        peers=[Peer("inputs", "files", 5000), Peer("png", "PNG", 1500), Peer("jpegxl", "JPEG XL", None, note="absent")],
    )
    return replace(report, **changes)
