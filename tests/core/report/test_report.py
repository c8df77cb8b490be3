"""Reports made by hand: rows add up, and when a codec has paid for itself."""

from dataclasses import replace

import pytest
from report_examples import make_report

from bbcodec.errors import BBCodecError
from bbcodec.report.coding_costs import UNITS_PER_BIT, UNITS_PER_BYTE
from bbcodec.report.report import Baseline, check_breakdown


def test_a_breakdown_must_add_up():
    check_breakdown(make_report())
    with pytest.raises(BBCodecError, match=r"add up to 1000\.0 bytes, but the archive has 1001"):
        check_breakdown(make_report(archive_bytes=1001))
    broken = make_report()
    broken.breakdown[2] = replace(broken.breakdown[2], step_units=broken.breakdown[2].step_units + 1)
    with pytest.raises(BBCodecError, match="a bug"):
        check_breakdown(broken)


def test_a_codec_pays_for_itself_after_so_many_images():
    """It saves 250 bytes an image against PNG, and takes 10,000."""
    assert make_report().break_even_images == 40
    assert make_report(codec_chunk_bytes=10_001).break_even_images == 41


@pytest.mark.parametrize("size", [1000, 999])
def test_a_codec_that_saves_nothing_never_pays(size):
    report = make_report(baselines=[Baseline("png", "PNG", size)])
    assert report.break_even_images is None


def test_the_files_as_they_come_are_no_baseline():
    report = make_report(baselines=[Baseline("inputs", "files", 10), Baseline("png", "PNG", 1500)])
    assert report.best_baseline.key == "png"


def test_units_of_the_report_are_parts_of_bits():
    assert UNITS_PER_BYTE == 8 * UNITS_PER_BIT
