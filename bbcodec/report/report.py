"""A report: the record of what was measured on an archive, and how it is filled.

`render_text`, `render_json` and `render_html` show it. Costs are whole numbers of units of 2**-24 bits, so that rows of
the breakdown add up exactly to the bytes of the archive.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

from bbcodec.errors import BBCodecError
from bbcodec.report.byte_counts import ByteCounts, Purpose, SourceImage
from bbcodec.report.coding_costs import (
    UNITS_PER_BIT,
    UNITS_PER_BYTE,
    ChunkCosts,
    Images,
    LayerShape,
    MeanMoments,
    SiteCosts,
    units_from_nats,
)
from bbcodec.report.thumbnails import Thumbnail

# A latent is active if more than this share of its variance is that of its posterior mean. Burda et al. (2016) compare
# the latter itself with 0.01, for latents whose prior has variance 1.
ACTIVE_SHARE: Final = 0.01


@dataclass(frozen=True)
class BreakdownRow:
    """A row of the breakdown, in units: the cost so far, and its increase over the row before.

    key: of JSON, fixed forever. estimated: measured on some of the images.
    """

    key: str
    label: str
    units: int
    step_units: int
    why: str = ""
    estimated: bool = False


@dataclass(frozen=True)
class LayerCosts:
    """The cost of a latent layer or of the pixels over all images, in units: see `SiteCosts`.

    latents: latents of an image, active_latents: those whose posterior mean varies from image to image. Both are 0 for
    pixels, and if no two images of one size were seen.
    """

    name: str
    latent: bool
    elbo_units: int
    discretised_units: int
    integer_units: int
    popped_units: int
    active_latents: int = 0
    latents: int = 0


@dataclass(frozen=True)
class ImageCost:
    """What a learned image adds to its message, in units, and its number of values."""

    name: str
    units: int
    dims: int

    @property
    def bits_per_dim(self) -> float:
        """Bits/dim of the image."""
        return self.units / UNITS_PER_BIT / self.dims


@dataclass(frozen=True)
class IwaeGap:
    """Mean gap between the bounds of 1 and of k draws, nats per image, and its standard error (nan for one image)."""

    nats: float
    error_nats: float


@dataclass(frozen=True)
class Baseline:
    """The bytes of all images in a classical codec; None if it is not installed.

    key: of JSON, fixed forever. estimated: from some of the images.
    """

    key: str
    label: str
    bytes: int | None
    estimated: bool = False
    note: str = ""


@dataclass(frozen=True)
class CodecUse:
    """A codec that an archive needs."""

    name: str
    digest: str
    family: str
    bytes: int
    embedded: bool


@dataclass(frozen=True)
class Report:
    """What was measured on an archive. Only the first of several equal files counts as images.

    title: what was measured. images, dims: all images and their values; learned_images: those with a learned part;
    learned_dims: values coded by a codec. input_bytes: of all files, outside the archive. image_costs: of learned
    images. iwae_gaps: by number of draws, on `iwae_images` images. elbo_error_nats: standard error of the bound per
    image, from drawing the latents. pictures: of the cheapest and the most expensive images, by name;
    reconstructions: of some of them, drawn given their latents. thumbnails: of images evenly spread over the archive.
    how: files by how they are stored.
    codec_chunk_bytes: what the codec takes if embedded.
    """

    title: str
    images: int
    dims: int
    learned_images: int
    learned_dims: int
    archive_bytes: int
    input_bytes: int
    classical_images: int
    files: int
    copies: int
    rebuilt: str
    bytes_by_purpose: dict[Purpose, int]
    chunks: int
    batches: int
    breakdown: list[BreakdownRow] = field(default_factory=list)
    layers: list[LayerCosts] = field(default_factory=list)
    image_costs: list[ImageCost] = field(default_factory=list)
    iwae_gaps: dict[int, IwaeGap] = field(default_factory=dict)
    iwae_images: int = 0
    elbo_error_nats: float = math.nan
    pictures: dict[str, Images] = field(default_factory=dict)
    reconstructions: dict[str, Images] = field(default_factory=dict)
    thumbnails: Sequence[Thumbnail] = ()
    how: dict[str, int] = field(default_factory=dict)
    codecs: list[CodecUse] = field(default_factory=list)
    codec_chunk_bytes: int = 0
    baselines: list[Baseline] = field(default_factory=list)

    def row(self, key: str) -> BreakdownRow | None:
        """The row of the breakdown with this key, if it has one."""
        return next((row for row in self.breakdown if row.key == key), None)

    @property
    def container_bytes(self) -> int:
        """Bytes that are neither words of messages, nor classical images, nor other files, nor codecs."""
        row = self.row("container")
        return row.step_units // UNITS_PER_BYTE if row else 0

    @property
    def best_baseline(self) -> Baseline | None:
        """The baseline of fewest bytes, apart from the input files."""
        measured = [one for one in self.baselines if one.bytes is not None and one.key != "inputs"]
        return min(measured, key=lambda one: one.bytes or 0, default=None)

    @property
    def break_even_images(self) -> int | None:
        """After how many such images an archive with its codec beats the best baseline; None if never."""
        best = self.best_baseline
        if best is None or not best.bytes or best.bytes <= self.archive_bytes or not self.codec_chunk_bytes:
            return None
        return -(-self.codec_chunk_bytes * self.images // (best.bytes - self.archive_bytes))

    @property
    def ranked_costs(self) -> list[ImageCost]:
        """Learned images by bits/dim, the cheapest first."""
        return sorted(self.image_costs, key=lambda cost: (cost.bits_per_dim, cost.name))

    def bits_per_dim(self, units: int) -> float:
        """Bits per value of the learned images."""
        return units / UNITS_PER_BIT / max(1, self.learned_dims)

    def nats_per_image(self, units: int) -> float:
        """Nats that `units` are for each learned image."""
        return units / UNITS_PER_BIT * math.log(2) / max(1, self.learned_images)


# --- filling it ------------------------------------------------------------------------------------------------------


def build_report(title: str, counts: ByteCounts, costs: Mapping[int, ChunkCosts]) -> Report:
    """The report on an archive from the costs of its learned chunks, by number.

    Raises BBCodecError if rows do not add up.
    """
    chunks = list(costs.values())
    image_costs = _image_costs(counts, costs)
    layers = _layer_costs(chunks)
    iwae_gaps, iwae_images = _iwae_gaps(chunks)
    report = Report(
        title=title,
        images=counts.n_images,
        dims=counts.dims,
        learned_images=len(image_costs),
        learned_dims=sum(chunk.count * chunk.dims for chunk in chunks),
        archive_bytes=counts.archive_bytes,
        input_bytes=counts.input_bytes,
        classical_images=counts.classical_images,
        files=counts.n_files,
        copies=counts.n_copies,
        rebuilt=counts.rebuilt,
        bytes_by_purpose=counts.by_purpose,
        chunks=len(chunks),
        batches=sum(chunk.batches for chunk in chunks),
        breakdown=_breakdown(counts, chunks, layers, iwae_gaps),
        layers=layers,
        image_costs=image_costs,
        iwae_gaps=iwae_gaps,
        iwae_images=iwae_images,
        elbo_error_nats=_elbo_error_nats(chunks, len(image_costs)),
        pictures=_pictures(counts, costs),
    )
    check_breakdown(report)
    return report


def _layer_costs(chunks: Sequence[ChunkCosts]) -> list[LayerCosts]:
    """The costs of each layer, summed over all chunks."""
    sites: dict[str, list[SiteCosts]] = defaultdict(list)
    for chunk in chunks:
        for name, site in chunk.sites.items():
            sites[name].append(site)
    active = _active_latents(chunks)
    layers = []
    for name, parts in sites.items():
        active_latents, latents = active.get(name, (0, 0))
        layer = LayerCosts(
            name,
            parts[0].latent,
            elbo_units=sum(int(part.elbo.sum()) for part in parts),
            discretised_units=sum(int(part.discretised.sum()) for part in parts),
            integer_units=sum(int(part.integer.sum()) for part in parts),
            popped_units=sum(int(part.popped.sum()) for part in parts),
            active_latents=active_latents,
            latents=latents,
        )
        layers.append(layer)
    return layers


def _active_latents(chunks: Sequence[ChunkCosts]) -> dict[str, tuple[int, int]]:
    """By layer: how many latents are active, and how many there are, at the size that most images have."""
    moments: dict[LayerShape, MeanMoments] = {}
    for chunk in chunks:
        for key, some in chunk.moments.items():
            moments[key] = moments[key] + some if key in moments else some
    most: dict[str, int] = defaultdict(lambda: 1)  # one image alone has no variance
    active: dict[str, tuple[int, int]] = {}
    for (name, shape), some in moments.items():
        if some.count > most[name]:
            most[name] = some.count
            active[name] = int((some.shares > ACTIVE_SHARE).sum()), int(np.prod(shape))
    return active


def _iwae_gaps(chunks: Sequence[ChunkCosts]) -> tuple[dict[int, IwaeGap], int]:
    """The gaps by number of draws, and the number of images they were measured on."""
    gaps: dict[int, list[float]] = defaultdict(list)
    for chunk in chunks:
        for k, nats in chunk.iwae_gaps_nats.items():
            gaps[k].extend(nats.tolist())
    count = len(next(iter(gaps.values()), []))
    found = {}
    for k, values in sorted(gaps.items()):
        error = float(np.std(values, ddof=1) / math.sqrt(count)) if count > 1 else math.nan
        found[k] = IwaeGap(float(np.mean(values)), error)
    return found, count


def _elbo_error_nats(chunks: Sequence[ChunkCosts], images: int) -> float:
    """Standard error of the bound, nats per image, from how much that of some images varies from draw to draw."""
    variances = [variance for chunk in chunks for variance in chunk.draw_variances.tolist()]
    count = sum(chunk.count for chunk in chunks)
    return math.sqrt(count * float(np.mean(variances))) / images if variances else math.nan


def _image_costs(counts: ByteCounts, costs: Mapping[int, ChunkCosts]) -> list[ImageCost]:
    """What each learned image costs, its tiles and planes together."""
    units: dict[SourceImage, int] = defaultdict(int)
    dims: dict[SourceImage, int] = defaultdict(int)
    for number, chunk in costs.items():
        for image, amount in zip(counts.sources[number], chunk.image_units.tolist(), strict=True):
            units[image] += amount
            dims[image] += chunk.dims
    ordered = sorted(units, key=lambda image: (image.file, image.number))
    return [ImageCost(counts.name(image), units[image], dims[image]) for image in ordered]


def _pictures(counts: ByteCounts, costs: Mapping[int, ChunkCosts]) -> dict[str, Images]:
    """Pictures of extreme images by name; the largest tile of an image that has several."""
    pictures: dict[str, Images] = {}
    for number, chunk in costs.items():
        for position, picture in chunk.extreme_images.items():
            name = counts.name(counts.sources[number][position])
            if name not in pictures or picture.size > pictures[name].size:
                pictures[name] = picture
    return pictures


# --- the breakdown ---------------------------------------------------------------------------------------------------


class _Total(NamedTuple):
    """A row of the breakdown without its step."""

    key: str
    label: str
    units: int
    why: str = ""
    estimated: bool = False


def _breakdown(
    counts: ByteCounts, chunks: Sequence[ChunkCosts], layers: Sequence[LayerCosts], iwae_gaps: Mapping[int, IwaeGap]
) -> list[BreakdownRow]:
    """The rows from the bound of most draws to the archive."""
    learned = [*_bounds(chunks, layers, iwae_gaps), *_words(chunks)] if chunks else []
    totals = [*learned, *_archive_parts(counts, chunks)]
    steps = [after.units - before.units for before, after in pairwise(totals)]
    return [
        BreakdownRow(total.key, total.label, total.units, step, total.why, total.estimated)
        for total, step in zip(totals, [totals[0].units, *steps], strict=True)
    ]


def _bounds(
    chunks: Sequence[ChunkCosts], layers: Sequence[LayerCosts], iwae_gaps: Mapping[int, IwaeGap]
) -> Iterator[_Total]:
    """From the bound of most draws to integer masses."""
    elbo = sum(layer.elbo_units for layer in layers)
    discretised = sum(layer.discretised_units for layer in layers)
    integer = sum(layer.integer_units for layer in layers)
    count = sum(chunk.count for chunk in chunks)
    for k in sorted(iwae_gaps, reverse=True):
        if k > 1:
            bound = elbo - int(units_from_nats(iwae_gaps[k].nats * count))
            yield _Total(f"iwae_{k}", f"IWAE bound, {k:,} draws", bound, estimated=True)
    yield _Total("negative_elbo", "negative ELBO", elbo, "one draw of the latents")
    yield _Total("discretised", "discretised latents", discretised, "the draw that was coded")
    yield _Total("account", "integer masses", integer, "probabilities as integers")
    if any(chunk.mixed is not None for chunk in chunks):
        mixed = sum(int(chunk.image_units.sum()) for chunk in chunks)
        yield _Total("mixed", "mixed with contexts", mixed, "what contexts learned while images were coded")


def _words(chunks: Sequence[ChunkCosts]) -> Iterator[_Total]:
    """The words of messages."""
    words = sum(chunk.word_bytes for chunk in chunks) * UNITS_PER_BYTE
    initial = sum(chunk.initial_units for chunk in chunks)
    yield _Total("words", "ANS words", words - initial, "rounding of the coder, and spare room in the last head")
    yield _Total("initial", "initial bits", words, "what the first latents are popped from")


def _archive_parts(counts: ByteCounts, chunks: Sequence[ChunkCosts]) -> Iterator[_Total]:
    """From the words to the archive."""
    found = counts.by_purpose
    total = sum(chunk.message_bytes for chunk in chunks)
    total += found[Purpose.HEADS] + found[Purpose.DIRECTORIES] + found[Purpose.SKELETONS]
    why = "heads of chunks, directories, metadata"
    yield _Total("container", "container", total * UNITS_PER_BYTE, why)
    for key, label, purpose, why in (
        (
            "classical",
            "images stored classically",
            Purpose.CLASSICAL,
            "shorter that way, or not for this codec",
        ),
        ("other", "other files", Purpose.OTHER, "not images"),
        ("codecs", "codecs in the archive", Purpose.CODECS, ""),
    ):
        if found[purpose]:
            total += found[purpose]
            yield _Total(key, label, total * UNITS_PER_BYTE, why)


def check_breakdown(report: Report) -> None:
    """Raise BBCodecError unless the rows add up to the bytes of the archive."""
    total = sum(row.step_units for row in report.breakdown)
    if total != report.archive_bytes * UNITS_PER_BYTE or report.breakdown[-1].units != total:
        raise BBCodecError(
            f"the rows of the breakdown add up to {total / UNITS_PER_BYTE} bytes, but the archive has "
            f"{report.archive_bytes}: a bug in bbcodec"
        )
