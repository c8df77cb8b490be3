"""A report made by hand."""

from dataclasses import replace

from bbcodec.report.byte_counts import Purpose
from bbcodec.report.coding_costs import UNITS_PER_BYTE
from bbcodec.report.report import Baseline, BreakdownRow, CodecUse, ImageCost, LayerCosts, Report

COLUMNS = ("negative_elbo", "discretised", "account", "words", "initial", "container")


def make_report(**changes):
    """Two images of 100 values, 1,000 bytes."""
    units = dict(zip(COLUMNS, (900, 901, 902, 903, 930, 1000), strict=True))
    rows, before = [], 0
    for key, n_bytes in units.items():
        rows.append(BreakdownRow(key, f"the {key}", n_bytes * UNITS_PER_BYTE, (n_bytes - before) * UNITS_PER_BYTE))
        before = n_bytes
    report = Report(
        title="codec on data",
        images=2,
        dims=200,
        learned_images=2,
        learned_dims=200,
        classical_images=0,
        archive_bytes=1000,
        input_bytes=5000,
        files=1,
        copies=0,
        rebuilt="",
        bytes_by_purpose={**dict.fromkeys(Purpose, 0), Purpose.MESSAGES: 930, Purpose.DIRECTORIES: 70},
        chunks=1,
        batches=2,
        breakdown=rows,
        layers=[
            LayerCosts("z", True, *(n * UNITS_PER_BYTE for n in (100, 101, 101, 300)), 3, 4),
            LayerCosts("x", False, *(n * UNITS_PER_BYTE for n in (800, 800, 801, 0))),
        ],
        image_costs=[ImageCost("a[0]", 300 * UNITS_PER_BYTE, 100), ImageCost("a[1]", 602 * UNITS_PER_BYTE, 100)],
        how={"learned": 1},
        codecs=[CodecUse("codec", "00ff", "vlae", 12_345, False)],
        codec_chunk_bytes=10_000,
        baselines=[
            Baseline("inputs", "files", 5000),
            Baseline("png", "PNG", 1500),
            Baseline("jpegxl", "JPEG XL", None, note="absent"),
        ],
    )
    return replace(report, **changes)


def empty_report():
    """A damaged archive without images."""
    row = BreakdownRow("container", "container", 1000 * UNITS_PER_BYTE, 1000 * UNITS_PER_BYTE)
    return make_report(
        learned_images=0, learned_dims=0, images=0, dims=0, layers=[], image_costs=[], baselines=[], codecs=[], how={},
        rebuilt="it was cut", copies=2, breakdown=[row],
    )  # fmt: skip
