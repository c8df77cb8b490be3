"""The text of a report made by hand."""

from report_examples import empty_report, make_report

from bbcodec.report.render_text import break_even_sentence, contenders, render_text
from bbcodec.report.report import Baseline


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
    text = render_text(empty_report())
    assert "the archive is damaged: it was cut" in text
    assert "2 files equal to others" in text
    assert "nats/image" in text


def test_the_most_expensive_images_are_named():
    assert "most expensive: a[1], a[0]" in render_text(make_report())


def test_when_a_codec_pays_is_a_sentence():
    assert "after 40 images" in break_even_sentence(make_report())
    assert "does not pay" in break_even_sentence(make_report(baselines=[Baseline("png", "PNG", 1000)]))
    assert break_even_sentence(make_report(baselines=[])) == ""


def test_forms_are_ordered_by_size_with_ours_among_them():
    assert [(way.label, way.bytes) for way in contenders(make_report())] == [
        ("bbcodec, codec in the archive", 11_000), ("files", 5000), ("PNG", 1500),
        ("bbcodec, codec installed", 1000), ("JPEG XL", None),
    ]  # fmt: skip
