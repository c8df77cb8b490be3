"""The page of a report: well-formed, sufficient to itself, and with everything that the report tells."""

import base64
import io
import re
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image
from report_examples import make_report

from bbcodec.report.coding_costs import UNITS_PER_BYTE
from bbcodec.report.render_html import PICTURE_SIDE, render_html
from bbcodec.report.report import Baseline, BreakdownRow, ImageCost

VOID = {"meta", "img", "rect"}


class Page(HTMLParser):
    """Collects the text and attributes of a page, and whether its elements are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.words, self.attributes, self.tags = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, *one) for one in attributes]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, *one) for one in attributes]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def many(count=50, name="a"):
    costs = [ImageCost(f"{name}[{n}]", (300 + n) * UNITS_PER_BYTE, 100) for n in range(count)]
    pictures = {cost.name: np.full((8, 9, 3), n, np.uint8) for n, cost in enumerate(costs) if n < 6 or n >= count - 6}
    return {"image_costs": costs, "pictures": pictures, "learned_images": count, "images": count}


def test_the_page_is_well_formed_and_asks_for_nothing():
    page = Page(render_html(make_report(**many())))
    assert page.open == []
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    sources = [value for _, name, value in page.attributes if name in ("src", "href", "srcset", "data")]
    assert len(sources) == 12
    assert all(value.startswith("data:image/png;base64,") for value in sources)
    assert "url(" not in render_html(make_report())
    assert "@import" not in render_html(make_report())


def test_the_page_tells_what_the_text_tells():
    text = Page(render_html(make_report())).text
    for words in ("codec on data", "the negative_elbo", "1,000", "rate of z", "3 of 4 units active", "JPEG XL: absent"):
        assert words in text
    assert "after 40 images" in text


def test_names_are_no_markup():
    page = render_html(make_report(title="<b>&", **many(3, '"><script>')))
    assert "<script>" not in page
    assert "<b>&" not in page
    assert "&lt;b&gt;&amp;" in page


def test_the_best_and_the_worst_are_shown():
    page = Page(render_html(make_report(**many())))
    shown = [value for tag, name, value in page.attributes if (tag, name) == ("img", "alt")]
    assert shown == [f"a[{n}]" for n in range(6)] + [f"a[{n}]" for n in range(49, 43, -1)]
    first = next(value for tag, name, value in page.attributes if (tag, name) == ("img", "src"))
    with Image.open(io.BytesIO(base64.b64decode(first.partition(",")[2]))) as image:
        assert np.array_equal(np.asarray(image), np.zeros((8, 9, 3)))


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_no_image_is_shown_twice(count):
    costs = many(count)
    page = Page(render_html(make_report(**costs)))
    shown = [value for tag, name, value in page.attributes if (tag, name) == ("img", "alt")]
    assert sorted(shown) == sorted(costs["pictures"])


def bars(page):
    """x and width of every bar, by its class."""
    found = re.findall(r'<rect class="(\w+)" x="([\d.]+)" width="([\d.]+)"', page)
    return [(kind, float(x), float(width)) for kind, x, width in found]


def test_the_waterfall_begins_where_the_row_before_ended():
    rows = bars(render_html(make_report(layers=[], image_costs=[], baselines=[], learned_dims=0)))
    assert [kind for kind, _, _ in rows] == ["main", *["more"] * 5, "main"]
    for (_, x, width), (_, following, _) in pairwise(rows[1:-1]):
        assert following == pytest.approx(x + width, abs=2)
    assert rows[-1][1] + rows[-1][2] == pytest.approx(1000)


def test_steps_down_are_drawn_backwards():
    breakdown = [
        BreakdownRow("negative_elbo", "a", 1100 * UNITS_PER_BYTE, 1100 * UNITS_PER_BYTE),
        BreakdownRow("container", "b", 1000 * UNITS_PER_BYTE, -100 * UNITS_PER_BYTE),
    ]
    rows = bars(render_html(make_report(breakdown=breakdown, layers=[], image_costs=[], baselines=[])))
    assert rows[1][0] == "less"
    assert rows[1][1] + rows[1][2] == pytest.approx(rows[0][1] + rows[0][2], abs=0.1)


def test_bars_of_codecs_are_in_proportion():
    report = make_report(layers=[], image_costs=[], baselines=[Baseline("png", "PNG", 4000)], codec_chunk_bytes=0)
    png, ours = bars(render_html(report))[-2:]
    assert (png[0], ours[0]) == ("baseline", "ours")
    assert ours[2] == pytest.approx(png[2] / 4)


def test_large_pictures_are_made_smaller():
    costs = many(1)
    costs["pictures"] = {"a[0]": np.zeros((700, 1400, 1), np.uint8)}
    page = Page(render_html(make_report(**costs)))
    first = next(value for tag, name, value in page.attributes if (tag, name) == ("img", "src"))
    with Image.open(io.BytesIO(base64.b64decode(first.partition(",")[2]))) as image:
        assert image.size == (PICTURE_SIDE, PICTURE_SIDE // 2)
        assert image.mode == "L"


def test_an_archive_without_images_has_a_page():
    report = make_report(
        learned_images=0, learned_dims=0, images=0, dims=0, layers=[], image_costs=[], baselines=[], codecs=[],
        breakdown=[BreakdownRow("container", "container", 1000 * UNITS_PER_BYTE, 1000 * UNITS_PER_BYTE)],
    )  # fmt: skip
    assert Page(render_html(report)).open == []


def test_originals_stand_beside_their_reconstructions():
    several = many()
    drawn = {name: 255 - picture for name, picture in list(several["pictures"].items())[:3]}
    plain, page = (Page(render_html(make_report(**several, **more))) for more in ({}, {"reconstructions": drawn}))
    assert "Reconstructions" in page.text
    assert "Reconstructions" not in plain.text
    assert page.tags.count("img") == plain.tags.count("img") + 6
    assert page.text.count("drawn given its latents") == 3
