"""A report as one page that asks for nothing else: plots are inline SVG, pictures inline PNG (see `bbcodec.report.report`).

Bars stretch with the page and words stand beside them, not in them, so that a page reads on a phone too. Colours follow
the reader's light or dark setting.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

import numpy as np
from PIL import Image

from bbcodec.report.coding_costs import Images
from bbcodec.report.report import (
    BYTE,
    SHOWN,
    ImageCost,
    Report,
    about_lines,
    counted,
    pays_line,
    peer_rows,
    signed,
    tables,
)

BINS: Final = 40  # of the histogram
FEW: Final = 12  # of fewer images each has a bar of its own
PICTURE_SIDE: Final = 320  # pixels; larger pictures are made smaller for the page

STYLE: Final = """
:root { color-scheme: light dark; --ink: #1d2530; --soft: #5c6773; --paper: #ffffff; --card: #f3f5f8; --line: #d8dde4;
  --main: #2f6fb3; --more: #c8553d; --less: #3d8a5f; --ours: #2f6fb3; --peer: #9aa5b1; }
@media (prefers-color-scheme: dark) { :root { --ink: #e3e8ee; --soft: #97a3b0; --paper: #14181d; --card: #1d232a;
  --line: #323b45; --main: #6aa6e6; --more: #e5826b; --less: #6fc497; --ours: #6aa6e6; --peer: #66717d; } }
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
figcaption { font-size: 12px; color: var(--soft); overflow-wrap: anywhere; }
figcaption b { color: var(--ink); }
.table { overflow-x: auto; margin: 8px 0 20px; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 4px 10px; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
th { color: var(--soft); font-weight: 600; }
.main { fill: var(--main); } .more { fill: var(--more); } .less { fill: var(--less); }
.ours { fill: var(--ours); } .peer { fill: var(--peer); }
@media (max-width: 700px) { .row { grid-template: "label value" "bar bar" / 1fr auto; }
  main { padding: 20px 14px 40px; } }
"""


def as_html(report: Report) -> str:
    """The page."""
    parts = [
        f"<h1>{escape(report.title)}</h1>",
        *(f"<p>{escape(line)}</p>" for line in about_lines(report)),
        _figures(report),
        _waterfall(report),
        _layers(report),
        _histogram(report),
        _pictures(report),
        _peers(report),
        "<h2>In numbers</h2>",
        *(_table(header, rows) for header, rows in tables(report)),
    ]
    body = "\n".join(part for part in parts if part)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(report.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n"
        "</body>\n</html>\n"
    )


def _figures(report: Report) -> str:
    """The few figures that matter most."""
    bound = report.row("negative_elbo")
    figures = [(f"{report.file_bytes:,}", "bytes of the file")]
    if report.dims:
        figures.append((f"{8 * report.file_bytes / report.dims:.4f}", "bits/dim of the file"))
    if bound and report.learned_dims:
        figures.append((f"{report.per_dim(bound.units):.4f}", "bits/dim, negative ELBO"))
        if report.learned_dims == report.dims:
            figures.append((f"{100 * (report.file_bytes * BYTE / bound.units - 1):+.2f} %", "file over negative ELBO"))
        nats = report.nats(bound.units)
        figures.append((f"{nats:,.2f}" if nats < 1e4 else f"{nats:,.0f}", "nats an image, negative ELBO"))
    peer = report.best_peer
    if peer and peer.bytes:
        ratio = 100 * (report.file_bytes / peer.bytes - 1)
        figures.append((f"{ratio:+.1f} %", f"against {peer.label}"))
    cells = "".join(f'<div class="figure"><b>{value}</b><span>{escape(name)}</span></div>' for value, name in figures)
    return f'<div class="figures">{cells}</div>'


Bar = tuple[float, float, str]  # from, to (0 to 1), class


def _rows(rows: Iterable[tuple[str, str, Sequence[Bar], str]], scale: tuple[str, str] | None = None) -> str:
    """Rows of a label, what it means, bars, and a value (HTML)."""
    cells = []
    for label, why, bars, value in rows:
        drawn = "".join(
            f'<rect class="{kind}" x="{1000 * min(a, b):.2f}" width="{max(1000 * abs(b - a), 2):.2f}" height="18"/>'
            for a, b, kind in bars
        )
        note = f"<small>{escape(why)}</small>" if why else ""
        cells.append(
            f'<div class="row"><div class="label">{escape(label)}{note}</div>'
            f'<svg viewBox="0 0 1000 18" preserveAspectRatio="none" aria-hidden="true">{drawn}</svg>'
            f'<div class="value">{value}</div></div>'
        )
    if scale:
        cells.append(f'<div class="row"><div class="scale"><span>{scale[0]}</span><span>{scale[1]}</span></div></div>')
    return "".join(cells)


def _waterfall(report: Report) -> str:
    """The chain: each row from where the one before it ended."""
    marks = [row.units for row in report.chain]
    lowest, highest = min(marks), max(marks)
    low = max(0.0, lowest - 0.15 * (highest - lowest)) if lowest < highest else 0.0
    span = max(1.0, highest - low)
    rows = []
    for number, row in enumerate(report.chain):
        before = (report.chain[number - 1].units - low) / span if number else 0.0
        kind = "main" if not number else "more" if row.step_units > 0 else "less"
        step = f" <small>{signed(row.step_units) if number else ''}</small>"
        label = row.label + (" (estimated)" if row.estimated else "")
        rows.append((label, row.why, [(before, (row.units - low) / span, kind)], f"{row.units / BYTE:,.1f}{step}"))
    whole = (report.file_bytes * BYTE - low) / span
    rows.append(("file", "", [(0.0, whole, "main")], f"{report.file_bytes:,} <small></small>"))
    ends = f"{low / BYTE:,.0f} bytes", f"{highest / BYTE:,.0f} bytes"
    return (
        "<h2>From the bounds to the file</h2>"
        "<p>Bytes that each step adds to the one before it; the last is the size of the file, exactly.</p>"
        + _rows(rows, ends)
    )


def _layers(report: Report) -> str:
    """Rate of each latent layer, and distortion."""
    if not report.layers:
        return ""
    most = max(1, max(abs(layer.units) for layer in report.layers))
    rows = []
    for layer in report.layers:
        label = f"rate of {layer.name}" if layer.latent else f"distortion of {layer.name}"
        why = f"{layer.active:,} of {layer.latents:,} units active" if layer.latents else ""
        value = f"{report.per_dim(layer.units):.5f} <small>bits/dim</small>"
        rows.append((label, why, [(0.0, abs(layer.units) / most, "main")], value))
    about = "<p>What latents cost (rate), and the pixels given them.</p>"
    return f"<h2>The negative ELBO by layer</h2>{about}{_rows(rows)}"


def _histogram(report: Report) -> str:
    """How bits/dim spread over the images."""
    if len(report.costs) < FEW:
        most = max((one.bits_per_dim for one in report.costs), default=1.0)
        rows = [
            (one.name, "", [(0.0, one.bits_per_dim / most, "main")], f"{one.bits_per_dim:.4f} <small>bits/dim</small>")
            for one in report.costs
        ]
        return f"<h2>Bits/dim of each image</h2>{_rows(rows)}" if rows else ""
    rates = np.array([one.bits_per_dim for one in report.costs])
    low, high = float(rates.min()), float(rates.max())
    counts, _ = np.histogram(rates, BINS, (low, high if high > low else low + 1e-9))
    most = int(counts.max())
    bars = "".join(
        f'<rect class="main" x="{1000 * n / BINS + 1:.1f}" y="{180 - 170 * count / most:.2f}" '
        f'width="{1000 / BINS - 2:.1f}" height="{170 * count / most:.2f}"/>'
        for n, count in enumerate(counts.tolist())
        if count
    )
    return (
        "<h2>Bits/dim of each image</h2>"
        f"<p>{len(rates):,} learned images; the median has {float(np.median(rates)):.4f}. "
        f"The highest bar stands for {counted(most, 'image')}.</p>"
        f'<svg class="plot" viewBox="0 0 1000 180" preserveAspectRatio="none" role="img" '
        f'aria-label="histogram of bits/dim">{bars}</svg>'
        f'<div class="axis"><span>{low:.4f}</span><span>{(low + high) / 2:.4f}</span><span>{high:.4f}</span></div>'
    )


def _pictures(report: Report) -> str:
    """The images that cost least and most."""
    shown = [one for one in report.ordered_costs if one.name in report.pictures]
    few = min(SHOWN, (len(shown) + 1) // 2)
    groups = [("Cheapest images", shown[:few])]
    if len(shown) > 1:
        groups.append(("Dearest images", shown[::-1][: min(few, len(shown) - few)]))
    drawn = []
    for title, costs in groups:
        if costs:
            figures = "".join(_figure(one, report.pictures[one.name]) for one in costs)
            drawn.append(f'<h2>{title}</h2><div class="pictures">{figures}</div>')
    return "\n".join(drawn)


def _figure(cost: ImageCost, picture: Images) -> str:
    source = base64.b64encode(as_png(picture)).decode()
    kind = ' class="small"' if max(picture.shape[:2]) < PICTURE_SIDE / 2 else ""
    caption = f"<b>{cost.bits_per_dim:.4f}</b> {escape(cost.name)}"
    alt = escape(cost.name)
    return (
        f'<figure><img{kind} alt="{alt}" src="data:image/png;base64,{source}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def as_png(picture: Images) -> bytes:
    """A PNG of pixels (H, W, 1 or 3), made smaller if it is large."""
    image = Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture)
    image.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _peers(report: Report) -> str:
    """Bytes in other codecs."""
    if not report.peers:
        return ""
    known = [(label, size, note) for label, size, note in peer_rows(report) if size is not None]
    most = max(size for _, size, _ in known)
    rows = []
    for label, size, note in known:
        kind = "ours" if label.startswith("bbcodec") else "peer"
        rate = f" <small>{8 * size / report.dims:.4f} bits/dim</small>" if report.dims else ""
        rows.append((label, note, [(0.0, size / max(1, most), kind)], f"{size:,}{rate}"))
    missing = [f"{peer.label}: {peer.note}." for peer in report.peers if peer.bytes is None]
    return (
        f"<h2>Beside other codecs</h2><p>{escape(pays_line(report))}</p>{_rows(rows)}"
        f"<p>{escape(' '.join(missing))}</p>"
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
