"""A report: a plain record of what was measured, and its text and JSON (`bbcodec.report.render_html` makes it a page).

It is filled by `bbcodec.report.evaluate`. Costs are whole numbers of units of 2**-24 bits, so that the rows of the chain
add up exactly to the bytes of the file.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from bbcodec.errors import BBCodecError
from bbcodec.report.byte_counts import CLASSICAL, CODECS, DIRECTORIES, HEADS, OTHER, SKELETONS, Anatomy, Owner
from bbcodec.report.coding_costs import UNIT, ChunkAccount, Images, Means, units

BYTE: Final = 8 * UNIT  # units of a byte
ACTIVE: Final = 0.01  # a latent is active where the variance of its posterior mean is greater (Burda et al. 2016)
SHOWN: Final = 6  # best and worst images


@dataclass(frozen=True)
class Row:
    """A row of the chain: what has been spent so far, and by how much that is more than in the row before; in units.

    key: fixed for ever, for JSON. estimated: measured on some of the images.
    """

    key: str
    label: str
    units: int
    step_units: int
    why: str = ""
    estimated: bool = False


@dataclass(frozen=True)
class Layer:
    """A latent layer, or the pixels: the total of its terms of the bound, discretised, and coded, in units.

    active, latents: latents whose posterior mean varies from image to image, of all of them (0 of 0 for pixels, or
    where no two images of one size were seen). popped: what its posterior took off the stack.
    """

    name: str
    latent: bool
    units: int
    discretised: int
    masses: int
    popped: int
    active: int = 0
    latents: int = 0


@dataclass(frozen=True)
class ImageCost:
    """What a learned image adds to its message, in units, and its values."""

    name: str
    units: int
    dims: int

    @property
    def bits_per_dim(self) -> float:
        """Bits of a value."""
        return self.units / UNIT / self.dims


@dataclass(frozen=True)
class Peer:
    """All images in a classical form. estimated: from some of the images, where there are many."""

    key: str
    label: str
    bytes: int | None
    estimated: bool = False
    note: str = ""


@dataclass(frozen=True)
class CodecUse:
    """A codec of an archive."""

    name: str
    digest: str
    family: str
    bytes: int
    embedded: bool


@dataclass
class Report:
    """What was measured on an archive. Of equal files, the first alone counts as images.

    images, dims: all images and their values; learned_*: those with a learned part, and the values coded by a codec.
    bytes: of the archive by purpose. iwae: mean gap between the bounds of 1 and k draws, nats of an image of a chunk,
    by k, and its standard error (nan of one image). elbo_error_nats: standard error of the bound, an image, for the
    draw of the latents. title: what was measured. pictures: of the best and the worst images, by name.
    """

    title: str
    images: int
    dims: int
    learned_images: int
    learned_dims: int
    file_bytes: int
    input_bytes: int
    input_image_bytes: int
    classical_images: int
    files: int
    copies: int
    rebuilt: str
    bytes: dict[str, int]
    chunks: int
    batches: int
    chain: list[Row] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)
    costs: list[ImageCost] = field(default_factory=list)
    iwae: dict[int, tuple[float, float]] = field(default_factory=dict)
    iwae_images: int = 0
    elbo_error_nats: float = math.nan
    room_units: int = 0
    pictures: dict[str, Images] = field(default_factory=dict)
    how: dict[str, int] = field(default_factory=dict)
    codecs: list[CodecUse] = field(default_factory=list)
    codec_chunk_bytes: int = 0
    peers: list[Peer] = field(default_factory=list)

    def row(self, key: str) -> Row | None:
        """A row of the chain."""
        return next((row for row in self.chain if row.key == key), None)

    @property
    def container_bytes(self) -> int:
        """What is neither words of messages, nor classical images, nor other files, nor codecs."""
        row = self.row("container")
        return row.step_units // BYTE if row else 0

    @property
    def best_peer(self) -> Peer | None:
        """The shortest classical form."""
        known = [peer for peer in self.peers if peer.bytes is not None and peer.key != "inputs"]
        return min(known, key=lambda peer: peer.bytes or 0, default=None)

    @property
    def pays_after(self) -> int | None:
        """After how many images like these an archive with its codec is shorter than the best peer; None: never."""
        peer = self.best_peer
        if peer is None or not peer.bytes or peer.bytes <= self.file_bytes or not self.codec_chunk_bytes:
            return None
        return -(-self.codec_chunk_bytes * self.images // (peer.bytes - self.file_bytes))

    @property
    def ordered_costs(self) -> list[ImageCost]:
        """Learned images by bits/dim, the least first."""
        return sorted(self.costs, key=lambda cost: (cost.bits_per_dim, cost.name))

    def per_dim(self, amount: int) -> float:
        """Bits per value of the learned images, of an amount in units."""
        return amount / UNIT / max(1, self.learned_dims)

    def nats(self, amount: int) -> float:
        """Nats per learned image, of an amount in units."""
        return amount / UNIT * math.log(2) / max(1, self.learned_images)

    def as_json(self) -> dict[str, Any]:
        """What `evaluate --json` and `report --json` print: `docs/cli.md`. Fields are only ever added."""
        return as_json(self)


# --- filling it ------------------------------------------------------------------------------------------------------


def build_report(title: str, anatomy: Anatomy, accounts: Mapping[int, ChunkAccount]) -> Report:
    """The report on an archive from the accounts of its learned chunks. Raises BBCodecError if sums do not match."""
    report = Report(
        title=title,
        images=anatomy.n_images,
        dims=anatomy.dims,
        learned_images=0,
        learned_dims=sum(one.count * one.dims for one in accounts.values()),
        file_bytes=anatomy.size,
        input_bytes=anatomy.file_bytes,
        input_image_bytes=anatomy.image_file_bytes,
        classical_images=anatomy.classical_images,
        files=anatomy.n_files,
        copies=anatomy.n_copies,
        rebuilt=anatomy.rebuilt,
        bytes=anatomy.bytes,
        chunks=len(accounts),
        batches=sum(one.batches for one in accounts.values()),
        room_units=sum(one.room for one in accounts.values()),
    )
    report.layers = _layers(accounts.values())
    report.iwae, report.iwae_images = _iwae(accounts.values())
    _fill_costs(report, anatomy, accounts)
    report.elbo_error_nats = _elbo_error(list(accounts.values()), report.learned_images)
    report.chain = _chain(report, anatomy, list(accounts.values()))
    check_chain(report)
    return report


def _layers(accounts: Any) -> list[Layer]:
    sums: dict[str, list[int]] = {}
    latent: dict[str, bool] = {}
    means: dict[tuple[str, tuple[int, ...]], Means] = {}
    for account in accounts:
        for name, site in account.sites.items():
            latent[name] = site.latent
            row = sums.setdefault(name, [0, 0, 0, 0])
            for index, part in enumerate((site.continuous, site.discretised, site.masses, site.popped)):
                row[index] += int(part.sum())
        for key, one in account.means.items():
            if key in means:
                means[key].add(one)
            else:
                means[key] = Means(one.count, one.total.copy(), one.squares.copy())
    active: dict[str, tuple[int, int, int]] = {}  # images, active, latents of the size that most images have
    for (name, shape), one in means.items():
        if one.count > 1 and one.count > active.get(name, (0, 0, 0))[0]:
            active[name] = one.count, int((one.variances > ACTIVE).sum()), int(np.prod(shape))
    found = []
    for name, (continuous, discretised, masses, popped) in sums.items():
        _, some, every = active.get(name, (0, 0, 0))
        found.append(Layer(name, latent[name], continuous, discretised, masses, popped, some, every))
    return found


def _iwae(accounts: Any) -> tuple[dict[int, tuple[float, float]], int]:
    gaps: dict[int, list[float]] = defaultdict(list)
    for account in accounts:
        for k, some in account.iwae.items():
            gaps[k].extend(some.tolist())
    count = len(next(iter(gaps.values()), []))
    found = {
        k: (float(np.mean(some)), float(np.std(some, ddof=1) / math.sqrt(count)) if count > 1 else math.nan)
        for k, some in sorted(gaps.items())
    }
    return found, count


def _elbo_error(accounts: Sequence[ChunkAccount], images: int) -> float:
    """Standard error of the bound, nats an image, from how much that of some images varies from draw to draw."""
    variances = [variance for account in accounts for variance in account.draw_variances.tolist()]
    count = sum(account.count for account in accounts)
    return math.sqrt(count * float(np.mean(variances))) / images if variances else math.nan


def _fill_costs(report: Report, anatomy: Anatomy, accounts: Mapping[int, ChunkAccount]) -> None:
    """What each image costs: the tiles and planes of one together."""
    spent: dict[Owner, list[int]] = defaultdict(lambda: [0, 0])
    pictures: dict[Owner, Images] = {}
    for number, account in accounts.items():
        per_image = account.per_image.tolist()
        for owner, amount in zip(anatomy.owners[number], per_image, strict=True):
            spent[owner][0] += amount
            spent[owner][1] += account.dims
        for position, picture in account.extremes.items():
            owner = anatomy.owners[number][position]
            if owner not in pictures or picture.size > pictures[owner].size:
                pictures[owner] = picture
    ordered = sorted(spent, key=lambda owner: (owner.file, owner.number))
    names = {owner: anatomy.name(owner) for owner in ordered}
    report.costs = [ImageCost(names[owner], *spent[owner]) for owner in ordered]
    report.learned_images = len(report.costs)
    report.pictures = {names[owner]: picture for owner, picture in pictures.items()}


Mark = tuple[str, str, int, str, bool]  # a row without its step


def _chain(report: Report, anatomy: Anatomy, accounts: Sequence[ChunkAccount]) -> list[Row]:
    """The rows, from the bound of most draws to the file."""
    rows: list[Row] = []
    marks = [*_bounds(report, accounts), *_bytes(anatomy, accounts)] if accounts else _bytes(anatomy, accounts)
    for key, label, amount, why, estimated in marks:
        before = rows[-1].units if rows else 0
        rows.append(Row(key, label, amount, amount - before, why, estimated))
    return rows


def _bounds(report: Report, accounts: Sequence[ChunkAccount]) -> list[Mark]:
    """From the bound of most draws to what is coded."""
    continuous = sum(layer.units for layer in report.layers)
    discretised = sum(layer.discretised for layer in report.layers)
    masses = sum(layer.masses for layer in report.layers)
    count = sum(account.count for account in accounts)
    found = [
        (f"iwae_{k}", f"IWAE bound, {k:,} draws", continuous - int(units(report.iwae[k][0] * count)), "", True)
        for k in sorted(report.iwae, reverse=True)
        if k > 1
    ]
    return [
        *found,
        ("negative_elbo", "negative ELBO", continuous, "one draw of the latents", False),
        ("discretised", "discretised latents", discretised, "the draw that was coded", False),
        ("account", "integer masses", masses, "probabilities in whole numbers", False),
    ]


def _bytes(anatomy: Anatomy, accounts: Sequence[ChunkAccount]) -> list[Mark]:
    """From the words to the file."""
    initial = sum(account.initial for account in accounts)
    words = sum(account.word_bytes for account in accounts) * BYTE
    messages = sum(account.message_bytes for account in accounts) * BYTE
    found = anatomy.bytes
    container = messages - words + BYTE * (found[HEADS] + found[DIRECTORIES] + found[SKELETONS])
    marks: list[Mark] = []
    if accounts:
        room = "rounding of the coder, and room left in the last head"
        marks.append(("words", "ANS words", words - initial, room, False))
        marks.append(("initial", "initial bits", words, "what the first latents are popped from", False))
    why = "heads of chunks, directories, metadata"
    marks.append(("container", "container", words + container, why, False))
    total = words + container
    for key, label, purpose, why in (
        ("classical", "images stored classically", CLASSICAL, "they are shorter so, or cannot be learned"),
        ("other", "other files", OTHER, "no images"),
        ("codecs", "codecs in the archive", CODECS, ""),
    ):
        if found[purpose]:
            total += found[purpose] * BYTE
            marks.append((key, label, total, why, False))
    return marks


def check_chain(report: Report) -> None:
    """Raise BBCodecError, a fault, unless the rows add up to the bytes of the file."""
    total = sum(row.step_units for row in report.chain)
    if total != report.file_bytes * BYTE or report.chain[-1].units != total:
        raise BBCodecError(
            f"the rows of the chain add up to {total / BYTE} bytes, but the file has {report.file_bytes}: a fault"
        )


# --- text ------------------------------------------------------------------------------------------------------------


def as_text(report: Report) -> str:
    """The report as plain text, lines of at most 100 characters."""
    parts = [
        [report.title, *about_lines(report)],
        *(_table(*table) for table in tables(report)),
        _image_lines(report),
        [pays_line(report)] if report.peers else [],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def tables(report: Report) -> list[tuple[list[str], list[list[str]]]]:
    """All that is a table: header and rows of cells."""
    found = [_chain_table(report), _layer_table(report), _purpose_table(report), _peer_table(report)]
    return [(header, rows) for header, rows in found if rows]


def about_lines(report: Report) -> list[str]:
    """Lines on what was measured."""
    how = ", ".join(f"{count:,} {how}" for how, count in report.how.items())
    where = f" in {counted(report.chunks, 'chunk')} and {counted(report.batches, 'batch')}" if report.chunks else ""
    lines = [
        f"{counted(report.images, 'image')} of {report.dims:,} values, {report.learned_images:,} learned{where}",
        f"{counted(report.files, 'file')} of {report.input_bytes:,} bytes" + (f" ({how})" if how else ""),
    ]
    if not report.learned_images and report.images:
        lines.append("no image is learned: all are shorter classically, or not of a codec's pixel format and size")
    if report.copies:
        lines.append(f"{counted(report.copies, 'file')} equal to others: they do not count as images")
    for one in report.codecs:
        place = ", in the archive" if one.embedded else ""
        lines.append(f"codec {one.name} ({one.family}, {one.bytes:,} bytes{place}), digest {one.digest}")
    if report.rebuilt:
        lines.append(f"the archive is damaged: {report.rebuilt}")
    return lines


def counted(number: int, noun: str) -> str:
    """A number and its noun.

    >>> counted(1, "image"), counted(2000, "batch")
    ('1 image', '2,000 batches')
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "es" if noun.endswith("ch") else "s")


def signed(number: int) -> str:
    """An amount in units as bytes, with its sign.

    >>> signed(-20 * UNIT), signed(-1)
    ('-2.5', '+0.0')
    """
    return f"{round(number / BYTE, 1) + 0.0:+,.1f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table: the first column to the left, the others to the right."""
    widths = [max(len(row[n]) for row in (header, *rows)) for n in range(len(header))]
    return [
        "  ".join(cell.ljust(width) if n == 0 else cell.rjust(width) for n, (cell, width) in enumerate(zip(row, widths,
        strict=True))).rstrip()
        for row in (header, *rows)
    ]  # fmt: skip


def _chain_table(report: Report) -> tuple[list[str], list[list[str]]]:
    header = ["from the bounds to the file", "bytes", "step", "", "bits/dim", "nats/image"]
    rows = []
    for number, row in enumerate(report.chain):
        step = signed(row.step_units) if number else ""
        before = row.units - row.step_units
        share = f"{round(100 * row.step_units / before, 2) + 0.0:+.2f} %" if number and report.learned_dims else ""
        own = row.key not in ("classical", "other", "codecs") and report.learned_dims
        rates = [f"{report.per_dim(row.units):.5f}", f"{report.nats(row.units):,.3f}"] if own else ["", ""]
        rows.append([f"{row.label}{' (estimated)' * row.estimated}", f"{row.units / BYTE:,.1f}", step, share, *rates])
    measured = f"{8 * report.file_bytes / report.dims:.5f}" if report.dims else ""
    rows.append(["file", f"{report.file_bytes:,}", "", "", measured, ""])
    return header, rows


def _layer_table(report: Report) -> tuple[list[str], list[list[str]]]:
    header = ["of the negative ELBO", "bits/dim", "nats/image", "share", "popped bits/image", "active units"]
    whole = max(1, sum(layer.units for layer in report.layers))
    rows = []
    for layer in report.layers:
        active = f"{layer.active:,} of {layer.latents:,}" if layer.latents else ""
        popped = f"{layer.popped / UNIT / max(1, report.learned_images):,.1f}" if layer.latent else ""
        label = f"rate of {layer.name}" if layer.latent else f"distortion of {layer.name}"
        rates = [f"{report.per_dim(layer.units):.5f}", f"{report.nats(layer.units):,.3f}"]
        rows.append([label, *rates, f"{100 * layer.units / whole:.1f} %", popped, active])
    return header, rows


def _image_lines(report: Report) -> list[str]:
    """How bits/dim spread over the images, and the best and worst ones."""
    if len(report.costs) < 2:
        return []
    rates = [one.bits_per_dim for one in report.costs]
    quantiles = "  ".join(f"{share} %: {np.quantile(rates, share / 100):.4f}" for share in (0, 5, 25, 50, 75, 95, 100))
    worst = ", ".join(one.name for one in report.ordered_costs[::-1][:3])
    return [f"bits/dim of images  {quantiles}", f"the dearest: {worst}"]


def _purpose_table(report: Report) -> tuple[list[str], list[list[str]]]:
    whole = max(1, report.file_bytes)
    rows = [
        [purpose, f"{size:,}", f"{100 * size / whole:.2f} %"] for purpose, size in report.bytes.items() if size
    ]
    return ["bytes of the archive", "bytes", "share"], rows


def peer_rows(report: Report) -> list[tuple[str, int | None, str]]:
    """All forms of the images that are compared: label, bytes and a note. Ours are among them, the shortest last."""
    ours = [("bbcodec, codec installed", report.file_bytes, "")]
    if report.codec_chunk_bytes:
        ours.append(("bbcodec, codec in the archive", report.file_bytes + report.codec_chunk_bytes, ""))
    rows = [*((peer.label, peer.bytes, peer.note) for peer in report.peers), *ours]
    return sorted(rows, key=lambda row: -(row[1] or 0))


def _peer_table(report: Report) -> tuple[list[str], list[list[str]]]:
    rows: list[list[str]] = []
    for label, size, note in peer_rows(report) if report.peers else ():
        rate = f"{8 * size / report.dims:.4f}" if size is not None and report.dims else ""
        ratio = f"{size / max(1, report.file_bytes):.3f}" if size is not None else ""
        rows.append([label, "" if size is None else f"{size:,}", rate, ratio, note])
    return ["beside other codecs", "bytes", "bits/dim", "of ours", ""], rows


def pays_line(report: Report) -> str:
    """When the codec has paid for itself, in a sentence."""
    peer = report.best_peer
    if peer is None:
        return ""
    if report.pays_after is None:
        return f"The codec does not pay for itself on images like these: {peer.label} takes fewer bytes, or as many."
    return (
        f"In an archive the codec takes {report.codec_chunk_bytes:,} bytes: it has paid for itself after "
        f"{report.pays_after:,} images like these ({peer.label} is the best of the others)."
    )


# --- JSON ------------------------------------------------------------------------------------------------------------


def as_json(report: Report) -> dict[str, Any]:
    """The fields of `docs/cli.md`. What is not known is null."""
    learned = report.learned_dims > 0

    def rate(key: str) -> float | None:
        row = report.row(key)
        return report.per_dim(row.units) if row and learned else None

    rates = [one.bits_per_dim for one in report.costs]
    deepest = max((k for k in report.iwae if k > 1), default=0)
    initial = report.row("initial")
    return {
        "images": report.images,
        "dims": report.dims,
        "learned_images": report.learned_images,
        "learned_dims": report.learned_dims,
        "iwae_bits_per_dim": rate(f"iwae_{deepest}"),
        "negative_elbo_bits_per_dim": rate("negative_elbo"),
        "discretised_bits_per_dim": rate("discretised"),
        "account_bits_per_dim": rate("account"),
        "initial_bits": (initial.step_units / UNIT) if initial else 0,
        "container_bytes": report.container_bytes,
        "classical_images": report.classical_images,
        "classical_bytes": report.bytes[CLASSICAL],
        "other_bytes": report.bytes[OTHER],
        "codec_bytes": report.bytes[CODECS],
        "file_bytes": report.file_bytes,
        "measured_bits_per_dim": 8 * report.file_bytes / report.dims if report.dims else None,
        "negative_elbo_standard_error_nats": _known(report.elbo_error_nats),
        "nats_per_image": {row.key: report.nats(row.units) for row in report.chain} if learned else {},
        "iwae": {
            "draws": deepest,
            "images": report.iwae_images,
            "gaps_nats": {str(k): gap for k, (gap, _) in report.iwae.items()},
            "standard_errors_nats": {str(k): _known(error) for k, (_, error) in report.iwae.items()},
        },
        "chain": [
            {"key": row.key, "label": row.label, "units": row.units, "step_units": row.step_units,
             "estimated": row.estimated}
            for row in report.chain
        ],
        "units_per_bit": UNIT,
        "layers": [
            {"name": one.name, "latent": one.latent, "bits_per_dim": report.per_dim(one.units),
             "nats_per_image": report.nats(one.units), "coded_bits_per_dim": report.per_dim(one.masses),
             "popped_bits_per_dim": report.per_dim(one.popped), "active_units": one.active, "units": one.latents}
            for one in report.layers
        ],
        "learned_chunks": report.chunks,
        "batches": report.batches,
        "bytes_by_purpose": report.bytes,
        "how": report.how,
        "files": report.files,
        "copies": report.copies,
        "input_bytes": report.input_bytes,
        "codecs": [
            {"name": one.name, "model": one.family, "digest": one.digest, "bytes": one.bytes, "embedded": one.embedded}
            for one in report.codecs
        ],
        "peers": [
            {"key": peer.key, "label": peer.label, "bytes": peer.bytes, "estimated": peer.estimated,
             "bits_per_dim": 8 * peer.bytes / report.dims if peer.bytes is not None and report.dims else None}
            for peer in report.peers
        ],
        "with_codec_bytes": report.file_bytes + report.codec_chunk_bytes if report.codec_chunk_bytes else None,
        "pays_after_images": report.pays_after,
        "rebuilt": report.rebuilt,
        "bits_per_dim_of_images": {
            str(share): float(np.quantile(rates, share / 100)) for share in (0, 5, 25, 50, 75, 95, 100)
        } if rates else {},
        "best_images": [_image(one) for one in report.ordered_costs[:SHOWN]],
        "worst_images": [_image(one) for one in report.ordered_costs[::-1][:SHOWN]],
    }  # fmt: skip


def _image(cost: ImageCost) -> dict[str, Any]:
    return {"name": cost.name, "dims": cost.dims, "bits": cost.units / UNIT, "bits_per_dim": cost.bits_per_dim}


def _known(number: float) -> float | None:
    return None if math.isnan(number) else number
