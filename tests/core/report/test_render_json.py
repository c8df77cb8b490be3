"""The JSON of a report made by hand, as scripts read it."""

import json
import math
from dataclasses import replace

import pytest
from report_examples import empty_report, make_report

from bbcodec.report.coding_costs import UNITS_PER_BYTE
from bbcodec.report.render_json import render_json
from bbcodec.report.report import Baseline, BreakdownRow, IwaeGap, check_breakdown


def test_json_has_the_fields_of_the_contract():
    data = json.loads(json.dumps(render_json(make_report()), allow_nan=False))
    assert data["images"] == 2
    assert data["dims"] == 200
    assert data["iwae_bits_per_dim"] is None
    assert data["negative_elbo_bits_per_dim"] == pytest.approx(36)
    assert data["account_bits_per_dim"] == pytest.approx(902 * 8 / 200)
    assert data["initial_bits"] == 27 * 8
    assert data["container_bytes"] == 70
    assert data["file_bytes"] == 1000
    assert data["measured_bits_per_dim"] == pytest.approx(40)
    assert data["nats_per_image"]["negative_elbo"] == pytest.approx(900 * 8 * math.log(2) / 2)
    assert data["layers"][0] == {
        "name": "z", "latent": True, "bits_per_dim": 4.0, "nats_per_image": pytest.approx(400 * math.log(2)),
        "coded_bits_per_dim": 4.04, "popped_bits_per_dim": 12.0, "active_units": 3, "units": 4,
    }  # fmt: skip
    assert data["chain"][1] == {
        "key": "discretised", "label": "the discretised", "units": 901 * UNITS_PER_BYTE, "step_units": UNITS_PER_BYTE,
        "estimated": False,
    }  # fmt: skip
    assert [image["name"] for image in data["best_images"]] == ["a[0]", "a[1]"]
    assert [image["name"] for image in data["worst_images"]] == ["a[1]", "a[0]"]
    assert data["bits_per_dim_of_images"]["50"] == pytest.approx(451 * 8 / 100)
    assert data["peers"][2] == {
        "key": "jpegxl", "label": "JPEG XL", "bytes": None, "estimated": False, "bits_per_dim": None,
    }  # fmt: skip


def test_the_deepest_bound_is_told():
    rows = make_report().breakdown
    bound = BreakdownRow("iwae_50", "IWAE", 800 * UNITS_PER_BYTE, 800 * UNITS_PER_BYTE, estimated=True)
    breakdown = [bound, replace(rows[0], step_units=100 * UNITS_PER_BYTE), *rows[1:]]
    gaps = {1: IwaeGap(0.0, 0.0), 50: IwaeGap(1.5, math.nan)}
    report = make_report(breakdown=breakdown, iwae_gaps=gaps, iwae_images=1)
    check_breakdown(report)
    data = json.loads(json.dumps(render_json(report), allow_nan=False))
    assert data["iwae_bits_per_dim"] == pytest.approx(32)
    assert data["iwae"] == {
        "draws": 50, "images": 1, "gaps_nats": {"1": 0.0, "50": 1.5}, "standard_errors_nats": {"1": 0.0, "50": None},
    }  # fmt: skip


def test_a_codec_that_never_pays_has_null():
    assert render_json(make_report(baselines=[Baseline("png", "PNG", 999)]))["pays_after_images"] is None


def test_unknown_figures_are_null():
    data = json.loads(json.dumps(render_json(empty_report()), allow_nan=False))
    assert data["measured_bits_per_dim"] is None
    assert data["nats_per_image"] == {}
    assert data["bits_per_dim_of_images"] == {}
    assert data["rebuilt"] == "it was cut"
