"""Reports made by hand: what their text and JSON say, and when a codec has paid for itself."""

import json
import math
from dataclasses import replace

import pytest
from report_examples import make_report

from bbcodec.errors import BBCodecError
from bbcodec.report.coding_costs import UNITS_PER_BIT, UNITS_PER_BYTE
from bbcodec.report.render_json import render_json
from bbcodec.report.render_text import break_even_sentence, contenders, render_text
from bbcodec.report.report import (
    Baseline,
    BreakdownRow,
    IwaeGap,
    check_breakdown,
)


def test_a_chain_must_add_up():
    check_breakdown(make_report())
    with pytest.raises(BBCodecError, match=r"add up to 1000\.0 bytes, but the archive has 1001"):
        check_breakdown(make_report(archive_bytes=1001))
    broken = make_report()
    broken.breakdown[2] = replace(broken.breakdown[2], step_units=broken.breakdown[2].step_units + 1)
    with pytest.raises(BBCodecError, match="a bug"):
        check_breakdown(broken)


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
        "key": "discretised", "label": "the discretised", "units": 901 * UNITS_PER_BYTE, "step_units": UNITS_PER_BYTE, "estimated": False,
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
    report = make_report(
        breakdown=breakdown, iwae_gaps={1: IwaeGap(0.0, 0.0), 50: IwaeGap(1.5, math.nan)}, iwae_images=1
    )
    check_breakdown(report)
    data = json.loads(json.dumps(render_json(report), allow_nan=False))
    assert data["iwae_bits_per_dim"] == pytest.approx(32)
    assert data["iwae"] == {
        "draws": 50, "images": 1, "gaps_nats": {"1": 0.0, "50": 1.5}, "standard_errors_nats": {"1": 0.0, "50": None},
    }  # fmt: skip


def test_a_codec_pays_for_itself_after_so_many_images():
    """It saves 250 bytes an image against PNG, and takes 10,000."""
    assert make_report().break_even_images == 40
    assert make_report(codec_chunk_bytes=10_001).break_even_images == 41
    assert "after 40 images" in break_even_sentence(make_report())


@pytest.mark.parametrize("size", [1000, 999])
def test_a_codec_that_saves_nothing_never_pays(size):
    report = make_report(baselines=[Baseline("png", "PNG", size)])
    assert report.break_even_images is None
    assert "does not pay" in break_even_sentence(report)
    assert render_json(report)["pays_after_images"] is None


def test_the_files_as_they_come_are_no_baseline():
    report = make_report(baselines=[Baseline("inputs", "files", 10), Baseline("png", "PNG", 1500)])
    assert report.best_baseline.key == "png"


def test_forms_are_ordered_by_size_with_ours_among_them():
    assert [(way.label, way.bytes) for way in contenders(make_report())] == [
        ("bbcodec, codec in the archive", 11_000), ("files", 5000), ("PNG", 1500),
        ("bbcodec, codec installed", 1000), ("JPEG XL", None),
    ]  # fmt: skip


def test_text_tells_all_rows_with_their_steps():
    text = render_text(make_report())
    lines = [line.split() for line in text.split("\n")]
    assert ["the", "negative_elbo", "900.0", "36.00000", "2,495.330"] in lines
    assert ["the", "initial", "930.0", "+27.0", "+2.99", "%", "37.20000", "2,578.508"] in lines
    assert ["file", "1,000", "40.00000"] in lines
    assert ["rate", "of", "z", "4.00000", "277.259", "11.1", "%", "1,200.0", "3", "of", "4"] in lines
    assert "directories and index" in text
    assert "files that are no images" not in text  # there are none
    assert "absent" in text


def test_text_of_an_archive_that_knows_nothing():
    report = make_report(
        learned_images=0, learned_dims=0, images=0, dims=0, layers=[], image_costs=[], baselines=[], codecs=[], how={},
        rebuilt="it was cut", copies=2, breakdown=[BreakdownRow("container", "container", 1000 * UNITS_PER_BYTE, 1000 * UNITS_PER_BYTE)],
    )  # fmt: skip
    text = render_text(report)
    assert "the archive is damaged: it was cut" in text
    assert "2 files equal to others" in text
    assert "nats/image" in text
    assert json.loads(json.dumps(render_json(report), allow_nan=False))["measured_bits_per_dim"] is None


def test_units_of_the_report_are_those_of_the_account():
    assert UNITS_PER_BYTE == 8 * UNITS_PER_BIT
