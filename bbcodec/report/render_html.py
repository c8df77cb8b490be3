"""A report as one self-contained page: plots are inline SVG, pictures inline PNG.

Bars stretch with the page and text stands beside them, so that a page is readable on a phone. Colours follow the
reader's light or dark theme.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import Final

import numpy as np
from PIL import Image

from bbcodec.archive.format.names import escaped
from bbcodec.report.coding_costs import EXTREME_IMAGES, UNITS_PER_BYTE, Images
from bbcodec.report.render_text import (
    Table,
    break_even_sentence,
    contenders,
    counted,
    layer_label,
    signed_bytes,
    summary_lines,
    tables,
)
from bbcodec.report.report import ImageCost, Report
from bbcodec.report.thumbnails import Thumbnail

HISTOGRAM_BINS: Final = 40
HISTOGRAM_IMAGES: Final = 12  # with fewer images, each has a bar of its own
PICTURE_SIDE: Final = 320  # pixels; larger pictures are scaled down
THUMBNAIL_BYTES: Final = 8192  # of a small picture, above which it need not be lossless

STYLE: Final = """
:root { color-scheme: light dark; --ink: #1d2530; --soft: #5c6773; --paper: #ffffff; --card: #f3f5f8; --line: #d8dde4;
  --main: #2f6fb3; --more: #c8553d; --less: #3d8a5f; --ours: #2f6fb3; --baseline: #9aa5b1; }
@media (prefers-color-scheme: dark) { :root { --ink: #e3e8ee; --soft: #97a3b0; --paper: #14181d; --card: #1d232a;
  --line: #323b45; --main: #6aa6e6; --more: #e5826b; --less: #6fc497; --ours: #6aa6e6; --baseline: #66717d; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 960px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 24px; line-height: 1.25; margin: 0 0 6px; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 40px 0 4px; }
p { margin: 4px 0 12px; color: var(--soft); overflow-wrap: anywhere; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(136px, 1fr)); gap: 12px; margin: 20px 0; }
.figure { background: var(--card); border-radius: 8px; padding: 12px 14px; }
.figure b { display: block; font-size: 21px; font-variant-numeric: tabular-nums; }
.figure span { color: var(--soft); font-size: 13px; }
.row { display: grid; grid-template: "label bar value" / 250px 1fr 190px; gap: 2px 14px; align-items: center;
  margin: 7px 0; }
.row .label { grid-area: label; line-height: 1.3; } .row .label small { display: block; font-size: 12px; }
.row small { color: var(--soft); }
.row .value { grid-area: value; text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.row .value small { display: inline-block; min-width: 58px; }
.row svg { grid-area: bar; display: block; width: 100%; height: 18px; background: var(--card); border-radius: 3px; }
.scale { grid-area: bar; display: flex; justify-content: space-between; color: var(--soft); font-size: 12px; }
svg.plot { display: block; width: 100%; height: 180px; background: var(--card); border-radius: 6px; }
.axis { display: flex; justify-content: space-between; color: var(--soft); font-size: 12px; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(130px, 1fr)); gap: 14px; margin: 8px 0; }
figure { margin: 0; }
figure img { display: block; width: 100%; aspect-ratio: 1; object-fit: contain; background: var(--card);
  border: 1px solid var(--line); border-radius: 6px; }
figure img.small { image-rendering: pixelated; }
.blank { display: grid; place-content: center; aspect-ratio: 1; background: var(--card); color: var(--soft);
  border: 1px dashed var(--more); border-radius: 6px; font-size: 12px; }
figcaption { font-size: 12px; color: var(--soft); overflow-wrap: anywhere; }
figcaption b { color: var(--ink); }
figcaption.short { color: var(--ink); line-height: 1.35; margin-top: 4px; }
figcaption.short span { display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 2; overflow: hidden; }
figcaption.short small { color: var(--soft); }
.table { overflow-x: auto; margin: 8px 0 20px; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 4px 10px; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
th { color: var(--soft); font-weight: 600; }
.main { fill: var(--main); } .more { fill: var(--more); } .less { fill: var(--less); }
.ours { fill: var(--ours); } .baseline { fill: var(--baseline); }
@media (max-width: 700px) { .row { grid-template: "label value" "bar bar" / 1fr auto; }
  main { padding: 20px 14px 40px; } }
"""


def render_html(report: Report) -> str:
    """The report as an HTML page, which loads nothing."""
    parts = [
        f"<h1>{_text(report.title)}</h1>",
        *(f"<p>{_text(line)}</p>" for line in summary_lines(report)),
        _figures(report),
        _thumbnails(report),
        _waterfall(report),
        _layers(report),
        _histogram(report),
        _pictures(report),
        _reconstructions(report),
        _comparison(report),
        "<h2>In numbers</h2>",
        *(_table(table) for table in tables(report)),
    ]
    body = "\n".join(part for part in parts if part)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(report.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n"
        "</body>\n</html>\n"
    )


def _text(text: str) -> str:
    """Text in a page, whatever letters it is of: names of files are anything."""
    return escape(escaped(text))


def _figures(report: Report) -> str:
    """The most important figures."""
    bound = report.row("negative_elbo")
    figures = [(f"{report.archive_bytes:,}", "bytes of the file")]
    if report.dims:
        figures.append((f"{8 * report.archive_bytes / report.dims:.4f}", "bits/dim of the file"))
    if bound and report.learned_dims:
        figures.append((f"{report.bits_per_dim(bound.units):.4f}", "bits/dim, negative ELBO"))
        if report.learned_dims == report.dims:
            overhead = report.archive_bytes * UNITS_PER_BYTE / bound.units - 1
            figures.append((f"{100 * overhead:+.2f} %", "file over negative ELBO"))
        nats = report.nats_per_image(bound.units)
        figures.append((f"{nats:,.2f}" if nats < 1e4 else f"{nats:,.0f}", "nats an image, negative ELBO"))
    baseline = report.best_baseline
    if baseline and baseline.bytes:
        ratio = 100 * (report.archive_bytes / baseline.bytes - 1)
        figures.append((f"{ratio:+.1f} %", f"against {baseline.label}"))
    cells = "".join(f'<div class="figure"><b>{value}</b><span>{_text(name)}</span></div>' for value, name in figures)
    return f'<div class="figures">{cells}</div>'


@dataclass(frozen=True)
class Bar:
    """A row of a bar chart: a bar from `start` to `end` (0 to 1) beside its label, a note, and its value (HTML)."""

    label: str
    value: str
    end: float
    start: float = 0.0
    note: str = ""
    style: str = "main"  # class of the style sheet

    def as_html(self) -> str:
        """The row."""
        x, width = 1000 * min(self.start, self.end), max(1000 * abs(self.end - self.start), 2)
        note = f"<small>{_text(self.note)}</small>" if self.note else ""
        return (
            f'<div class="row"><div class="label">{_text(self.label)}{note}</div>'
            f'<svg viewBox="0 0 1000 18" preserveAspectRatio="none" aria-hidden="true">'
            f'<rect class="{self.style}" x="{x:.2f}" width="{width:.2f}" height="18"/></svg>'
            f'<div class="value">{self.value}</div></div>'
        )


def _bar_chart(bars: Iterable[Bar], scale: tuple[str, str] | None = None) -> str:
    """Bars, and below them the ends of their scale."""
    cells = [bar.as_html() for bar in bars]
    if scale:
        cells.append(f'<div class="row"><div class="scale"><span>{scale[0]}</span><span>{scale[1]}</span></div></div>')
    return "".join(cells)


def _waterfall(report: Report) -> str:
    """The breakdown: each bar starts where the one before it ended."""
    totals = [row.units for row in report.breakdown]
    lowest, highest = min(totals), max(totals)
    low = max(0.0, lowest - 0.15 * (highest - lowest)) if lowest < highest else 0.0

    def position(units: float) -> float:
        return (units - low) / max(1.0, highest - low)

    bars = []
    for number, row in enumerate(report.breakdown):
        label = row.label + (" (estimated)" if row.estimated else "")
        step = signed_bytes(row.step_units) if number else ""
        value = f"{row.units / UNITS_PER_BYTE:,.1f} <small>{step}</small>"
        start = position(report.breakdown[number - 1].units) if number else 0.0
        style = "main" if not number else "more" if row.step_units > 0 else "less"
        bars.append(Bar(label, value, position(row.units), start, row.why, style))
    file = f"{report.archive_bytes:,} <small></small>"
    bars.append(Bar("file", file, position(report.archive_bytes * UNITS_PER_BYTE)))
    ends = f"{low / UNITS_PER_BYTE:,.0f} bytes", f"{highest / UNITS_PER_BYTE:,.0f} bytes"
    return (
        "<h2>From the bounds to the file</h2>"
        "<p>Bytes that each step adds to the one before it; the last is exactly the size of the file.</p>"
        + _bar_chart(bars, ends)
    )


def _layers(report: Report) -> str:
    """The rate of each latent layer, and the distortion."""
    if not report.layers:
        return ""
    most = max(1, max(abs(layer.elbo_units) for layer in report.layers))
    bars = []
    for layer in report.layers:
        value = f"{report.bits_per_dim(layer.elbo_units):.5f} <small>bits/dim</small>"
        note = f"{layer.active_latents:,} of {layer.latents:,} units active" if layer.latents else ""
        bars.append(Bar(layer_label(layer), value, abs(layer.elbo_units) / most, note=note))
    about = "<p>What latents cost (rate), and the pixels given the latents (distortion).</p>"
    return f"<h2>The negative ELBO by layer</h2>{about}{_bar_chart(bars)}"


def _histogram(report: Report) -> str:
    """The distribution of bits/dim over the images."""
    if len(report.image_costs) < HISTOGRAM_IMAGES:
        highest = max((cost.bits_per_dim for cost in report.image_costs), default=1.0)
        bars = [
            Bar(cost.name, f"{cost.bits_per_dim:.4f} <small>bits/dim</small>", cost.bits_per_dim / highest)
            for cost in report.image_costs
        ]
        return f"<h2>Bits/dim of each image</h2>{_bar_chart(bars)}" if bars else ""
    rates = np.array([cost.bits_per_dim for cost in report.image_costs])
    low, high = float(rates.min()), float(rates.max())
    counts, _ = np.histogram(rates, HISTOGRAM_BINS, (low, high if high > low else low + 1e-9))
    most = int(counts.max())
    columns = "".join(
        f'<rect class="main" x="{1000 * n / HISTOGRAM_BINS + 1:.1f}" y="{180 - 170 * count / most:.2f}" '
        f'width="{1000 / HISTOGRAM_BINS - 2:.1f}" height="{170 * count / most:.2f}"/>'
        for n, count in enumerate(counts.tolist())
        if count
    )
    return (
        "<h2>Bits/dim of each image</h2>"
        f"<p>{len(rates):,} learned images; the median has {float(np.median(rates)):.4f}. "
        f"The highest bar stands for {counted(most, 'image')}.</p>"
        f'<svg class="plot" viewBox="0 0 1000 180" preserveAspectRatio="none" role="img" '
        f'aria-label="histogram of bits/dim">{columns}</svg>'
        f'<div class="axis"><span>{low:.4f}</span><span>{(low + high) / 2:.4f}</span><span>{high:.4f}</span></div>'
    )


def _pictures(report: Report) -> str:
    """The cheapest and the most expensive images."""
    shown = [cost for cost in report.ranked_costs if cost.name in report.pictures]
    cheap = min(EXTREME_IMAGES, (len(shown) + 1) // 2)
    expensive = min(cheap, len(shown) - cheap)
    parts = []
    for title, costs in (("Cheapest images", shown[:cheap]), ("Most expensive images", shown[::-1][:expensive])):
        if costs:
            figures = "".join(_figure(cost, report.pictures[cost.name]) for cost in costs)
            parts.append(f'<h2>{title}</h2><div class="pictures">{figures}</div>')
    return "\n".join(parts)


def _reconstructions(report: Report) -> str:
    """Originals, each beside an image that shares its latents."""
    figures = [
        _image(picture, _text(name))
        for name, drawn in report.reconstructions.items()
        for picture, name in ((report.pictures[name], name), (drawn, "drawn given its latents"))
    ]
    about = "<p>What latents keep of an image; all else is drawn anew, and is what the pixels' bits are for.</p>"
    return f'<h2>Reconstructions</h2>{about}<div class="pictures">{"".join(figures)}</div>' if figures else ""


def _thumbnails(report: Report) -> str:
    """Images of the archive."""
    figures = "".join(map(_thumbnail, report.thumbnails))
    if not figures:
        return ""
    about = f"<p>{counted(len(report.thumbnails), 'image')}, evenly spread over the archive.</p>"
    return f'<h2>Images</h2>{about}<div class="pictures">{figures}</div>'


def _thumbnail(one: Thumbnail) -> str:
    name = _text(one.caption)
    if one.picture is None:
        shown = '<div class="blank">no picture</div>'
    else:
        shown = f'<img alt="{name}" src="{_data_url(one.picture, THUMBNAIL_BYTES)}">'
    return (
        f'<figure title="{name}">{shown}'
        f'<figcaption class="short"><span>{name}</span><small>{_text(one.note)}</small></figcaption></figure>'
    )


def _figure(cost: ImageCost, picture: Images) -> str:
    return _image(picture, _text(cost.name), f"<b>{cost.bits_per_dim:.4f}</b> ")


def _image(picture: Images, name: str, before: str = "") -> str:
    """A picture and its caption. name: as in a page."""
    image = Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture)
    image.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    style = ' class="small"' if max(picture.shape[:2]) < PICTURE_SIDE / 2 else ""
    return f'<figure><img{style} alt="{name}" src="{_data_url(image)}"><figcaption>{before}{name}</figcaption></figure>'


def _data_url(image: Image.Image, lossless_bytes: float = math.inf) -> str:
    """A URL that holds an image: as a PNG, or if that has more than `lossless_bytes`, as a lossy WebP."""
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    kind = "png"
    if stream.tell() > lossless_bytes:
        kind, stream = "webp", io.BytesIO()
        image.save(stream, "WEBP", quality=85)
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"


def _comparison(report: Report) -> str:
    """Bytes in other codecs."""
    if not report.baselines:
        return ""
    most = max(way.bytes or 0 for way in contenders(report))
    bars = []
    for way in contenders(report):
        if way.bytes is not None:
            rate = f" <small>{8 * way.bytes / report.dims:.4f} bits/dim</small>" if report.dims else ""
            style = "ours" if way.ours else "baseline"
            bars.append(Bar(way.label, f"{way.bytes:,}{rate}", way.bytes / max(1, most), note=way.note, style=style))
    missing = [f"{one.label}: {one.note}." for one in report.baselines if one.bytes is None]
    return (
        f"<h2>Beside other codecs</h2><p>{_text(break_even_sentence(report))}</p>{_bar_chart(bars)}"
        f"<p>{_text(' '.join(missing))}</p>"
    )


def _table(table: Table) -> str:
    head = "".join(f"<th>{_text(cell)}</th>" for cell in table.header)
    body = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    return f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
