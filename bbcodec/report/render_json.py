"""A report as JSON data: the fields that `docs/cli.md` documents. Fields are only ever added."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bbcodec.report.byte_counts import Purpose
from bbcodec.report.coding_costs import EXTREME_IMAGES, UNITS_PER_BIT
from bbcodec.report.report import Baseline, ImageCost, LayerCosts, Report


def render_json(report: Report) -> dict[str, Any]:
    """The fields of `docs/cli.md`; unknown figures are None."""
    learned = report.learned_dims > 0

    def rate(key: str) -> float | None:
        row = report.row(key)
        return report.bits_per_dim(row.units) if row and learned else None

    deepest = max((k for k in report.iwae_gaps if k > 1), default=0)
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
        "initial_bits": (initial.step_units / UNITS_PER_BIT) if initial else 0,
        "container_bytes": report.container_bytes,
        "classical_images": report.classical_images,
        "classical_bytes": report.bytes_by_purpose[Purpose.CLASSICAL],
        "other_bytes": report.bytes_by_purpose[Purpose.OTHER],
        "codec_bytes": report.bytes_by_purpose[Purpose.CODECS],
        "file_bytes": report.archive_bytes,
        "measured_bits_per_dim": 8 * report.archive_bytes / report.dims if report.dims else None,
        "negative_elbo_standard_error_nats": _known(report.elbo_error_nats),
        "nats_per_image": {row.key: report.nats_per_image(row.units) for row in report.breakdown} if learned else {},
        "iwae": {
            "draws": deepest,
            "images": report.iwae_images,
            "gaps_nats": {str(k): gap.nats for k, gap in report.iwae_gaps.items()},
            "standard_errors_nats": {str(k): _known(gap.error_nats) for k, gap in report.iwae_gaps.items()},
        },
        "chain": [
            {"key": row.key, "label": row.label, "units": row.units, "step_units": row.step_units,
             "estimated": row.estimated}
            for row in report.breakdown
        ],
        "units_per_bit": UNITS_PER_BIT,
        "layers": [_layer(report, layer) for layer in report.layers],
        "learned_chunks": report.chunks,
        "batches": report.batches,
        "bytes_by_purpose": {str(purpose): size for purpose, size in report.bytes_by_purpose.items()},
        "how": report.how,
        "files": report.files,
        "copies": report.copies,
        "input_bytes": report.input_bytes,
        "codecs": [
            {"name": one.name, "model": one.family, "digest": one.digest, "bytes": one.bytes, "embedded": one.embedded}
            for one in report.codecs
        ],
        "peers": [_baseline(report, baseline) for baseline in report.baselines],
        "with_codec_bytes": report.archive_bytes + report.codec_chunk_bytes if report.codec_chunk_bytes else None,
        "pays_after_images": report.break_even_images,
        "rebuilt": report.rebuilt,
        "bits_per_dim_of_images": _quantiles(report),
        "best_images": [_image(cost) for cost in report.ranked_costs[:EXTREME_IMAGES]],
        "worst_images": [_image(cost) for cost in report.ranked_costs[::-1][:EXTREME_IMAGES]],
    }  # fmt: skip


def _layer(report: Report, layer: LayerCosts) -> dict[str, Any]:
    return {
        "name": layer.name,
        "latent": layer.latent,
        "bits_per_dim": report.bits_per_dim(layer.elbo_units),
        "nats_per_image": report.nats_per_image(layer.elbo_units),
        "coded_bits_per_dim": report.bits_per_dim(layer.integer_units),
        "popped_bits_per_dim": report.bits_per_dim(layer.popped_units),
        "active_units": layer.active_latents,
        "units": layer.latents,
    }


def _baseline(report: Report, baseline: Baseline) -> dict[str, Any]:
    measured = baseline.bytes is not None and report.dims
    return {
        "key": baseline.key,
        "label": baseline.label,
        "bytes": baseline.bytes,
        "estimated": baseline.estimated,
        "bits_per_dim": 8 * (baseline.bytes or 0) / report.dims if measured else None,
    }


def _quantiles(report: Report) -> dict[str, float]:
    """Quantiles of bits/dim over the learned images, by per cent."""
    rates = [cost.bits_per_dim for cost in report.image_costs]
    shares = (0, 5, 25, 50, 75, 95, 100) if rates else ()
    return {str(share): float(np.quantile(rates, share / 100)) for share in shares}


def _image(cost: ImageCost) -> dict[str, Any]:
    return {"name": cost.name, "dims": cost.dims, "bits": cost.units / UNITS_PER_BIT, "bits_per_dim": cost.bits_per_dim}


def _known(number: float) -> float | None:
    return None if math.isnan(number) else number
