"""A report as plain text, and the tables and sentences that text and page share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bbcodec.report.coding_costs import UNITS_PER_BIT, UNITS_PER_BYTE
from bbcodec.report.report import LayerCosts, Report


@dataclass(frozen=True)
class Table:
    """A header and rows of cells. The first column is aligned left, the others right."""

    header: list[str]
    rows: list[list[str]]


def render_text(report: Report) -> str:
    """The report as plain text."""
    parts = [
        [report.title, *summary_lines(report)],
        *(_table_lines(table) for table in tables(report)),
        _image_lines(report),
        [break_even_sentence(report)] if report.baselines else [],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def tables(report: Report) -> list[Table]:
    """The tables that have rows."""
    every = [_breakdown_table(report), _layer_table(report), _purpose_table(report), _comparison_table(report)]
    return [table for table in every if table.rows]


def summary_lines(report: Report) -> list[str]:
    """Lines on what was measured: images, files and codecs."""
    how = ", ".join(f"{count:,} {how}" for how, count in report.how.items())
    where = f" in {counted(report.chunks, 'chunk')} and {counted(report.batches, 'batch')}" if report.chunks else ""
    lines = [
        f"{counted(report.images, 'image')} of {report.dims:,} values, {report.learned_images:,} learned{where}",
        f"{counted(report.files, 'file')} of {report.input_bytes:,} bytes" + (f" ({how})" if how else ""),
    ]
    if not report.learned_images and report.images:
        lines.append("no image is learned: all are shorter classically, or not of a codec's pixel format and size")
    if report.copies:
        lines.append(f"{counted(report.copies, 'file')} equal to others, not counted as images")
    for codec in report.codecs:
        place = ", in the archive" if codec.embedded else ""
        lines.append(f"codec {codec.name} ({codec.family}, {codec.bytes:,} bytes{place}), digest {codec.digest}")
    if report.rebuilt:
        lines.append(f"the archive is damaged: {report.rebuilt}")
    return lines


def layer_label(layer: LayerCosts) -> str:
    """What a layer contributes to the negative ELBO."""
    return f"rate of {layer.name}" if layer.latent else f"distortion of {layer.name}"


def counted(number: int, noun: str) -> str:
    """A number and its noun.

    >>> counted(1, "image"), counted(2000, "batch")
    ('1 image', '2,000 batches')
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "es" if noun.endswith("ch") else "s")


def signed_bytes(units: int) -> str:
    """An amount in units as bytes, with its sign.

    >>> signed_bytes(-20 * UNITS_PER_BIT), signed_bytes(-1)
    ('-2.5', '+0.0')
    """
    return f"{round(units / UNITS_PER_BYTE, 1) + 0.0:+,.1f}"


def break_even_sentence(report: Report) -> str:
    """After how many images the codec has paid for itself."""
    best = report.best_baseline
    if best is None:
        return ""
    if report.break_even_images is None:
        return f"The codec does not pay for itself on images like these: {best.label} takes no more bytes."
    return (
        f"In an archive the codec takes {report.codec_chunk_bytes:,} bytes: it has paid for itself after "
        f"{report.break_even_images:,} images like these ({best.label} is the best of the others)."
    )


@dataclass(frozen=True)
class Contender:
    """A way to store all images: a baseline or, if `ours`, bbcodec. bytes: None if it was not measured."""

    label: str
    bytes: int | None
    note: str = ""
    ours: bool = False


def contenders(report: Report) -> list[Contender]:
    """All ways to store the images that are compared, from the most bytes to the fewest."""
    ways = [Contender(one.label, one.bytes, one.note) for one in report.baselines]
    ways.append(Contender("bbcodec, codec installed", report.archive_bytes, ours=True))
    if report.codec_chunk_bytes:
        with_codec = report.archive_bytes + report.codec_chunk_bytes
        ways.append(Contender("bbcodec, codec in the archive", with_codec, ours=True))
    return sorted(ways, key=lambda way: -(way.bytes or 0))


# --- tables and lines ------------------------------------------------------------------------------------------------


def _table_lines(table: Table) -> list[str]:
    every = [table.header, *table.rows]
    widths = [max(map(len, column)) for column in zip(*every, strict=True)]
    lines = []
    for first, *others in every:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return lines


def _breakdown_table(report: Report) -> Table:
    rows = []
    for number, row in enumerate(report.breakdown):
        step = signed_bytes(row.step_units) if number else ""
        before = row.units - row.step_units
        share = f"{round(100 * row.step_units / before, 2) + 0.0:+.2f} %" if number and report.learned_dims else ""
        learned_only = row.key not in ("classical", "other", "codecs") and report.learned_dims
        rates = _rates(report, row.units) if learned_only else ["", ""]
        label = row.label + (" (estimated)" if row.estimated else "")
        rows.append([label, f"{row.units / UNITS_PER_BYTE:,.1f}", step, share, *rates])
    measured = f"{8 * report.archive_bytes / report.dims:.5f}" if report.dims else ""
    rows.append(["file", f"{report.archive_bytes:,}", "", "", measured, ""])
    return Table(["from the bounds to the file", "bytes", "step", "", "bits/dim", "nats/image"], rows)


def _rates(report: Report, units: int) -> list[str]:
    return [f"{report.bits_per_dim(units):.5f}", f"{report.nats_per_image(units):,.3f}"]


def _layer_table(report: Report) -> Table:
    total = max(1, sum(layer.elbo_units for layer in report.layers))
    rows = []
    for layer in report.layers:
        share = f"{100 * layer.elbo_units / total:.1f} %"
        popped = f"{layer.popped_units / UNITS_PER_BIT / max(1, report.learned_images):,.1f}" if layer.latent else ""
        active = f"{layer.active_latents:,} of {layer.latents:,}" if layer.latents else ""
        rows.append([layer_label(layer), *_rates(report, layer.elbo_units), share, popped, active])
    header = ["of the negative ELBO", "bits/dim", "nats/image", "share", "popped bits/image", "active units"]
    return Table(header, rows)


def _purpose_table(report: Report) -> Table:
    total = max(1, report.archive_bytes)
    rows = [
        [str(purpose), f"{size:,}", f"{100 * size / total:.2f} %"]
        for purpose, size in report.bytes_by_purpose.items()
        if size
    ]
    return Table(["bytes of the archive", "bytes", "share"], rows)


def _comparison_table(report: Report) -> Table:
    rows: list[list[str]] = []
    for way in contenders(report) if report.baselines else ():
        if way.bytes is None:
            rows.append([way.label, "", "", "", way.note])
            continue
        rate = f"{8 * way.bytes / report.dims:.4f}" if report.dims else ""
        ratio = f"{way.bytes / max(1, report.archive_bytes):.3f}"
        rows.append([way.label, f"{way.bytes:,}", rate, ratio, way.note])
    return Table(["beside other codecs", "bytes", "bits/dim", "of ours", ""], rows)


def _image_lines(report: Report) -> list[str]:
    """The distribution of bits/dim over the images, and the most expensive images."""
    if len(report.image_costs) < 2:
        return []
    rates = [cost.bits_per_dim for cost in report.image_costs]
    quantiles = "  ".join(f"{share} %: {np.quantile(rates, share / 100):.4f}" for share in (0, 5, 25, 50, 75, 95, 100))
    expensive = ", ".join(cost.name for cost in report.ranked_costs[::-1][:3])
    return [f"bits/dim of images  {quantiles}", f"most expensive: {expensive}"]
