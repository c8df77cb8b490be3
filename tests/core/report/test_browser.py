"""The pages of reports as a browser lays them out, where there is one (Debian: `apt install chromium`)."""

import json
import shutil
import subprocess

import numpy as np
import pytest
from pattern_model import codec_content, familiar, load_pattern
from PIL import Image

import bbcodec
from bbcodec.cli.main import main
from bbcodec.codec import pool as workers

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
PAINTED = {
    "red.png": (220, 20, 60),
    "green.png": (0, 170, 80),
    "<img src=x onerror=document.body.remove()>.png": (9, 9, 250),
}
# What the test adds to a copy of a page: it tells what the browser made of it in the title.
ASK = """<script>document.title = JSON.stringify({
  images: [...document.images].map(one => [one.alt, one.complete && one.naturalWidth]),
  scripts: document.scripts.length,
  heads: [...document.querySelectorAll("h2")].map(one => one.textContent),
  wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  fetched: performance.getEntriesByType("resource").map(one => one.name).filter(one => !one.startsWith("data:")),
})</script></body>"""

pytestmark = pytest.mark.skipif(BROWSER is None, reason=f"no browser: none of {', '.join(NAMES)} is installed")


def browse(page, width, *options):
    """What the browser prints about a page in a window of this width."""
    with_profile = [f"--user-data-dir={page.parent / 'profile'}", f"--window-size={width},1500"]
    command = [BROWSER, *FLAGS, *with_profile, *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def asked(page, width):
    """What a browser makes of a page."""
    copy = page.with_name("asked.html")
    copy.write_text(page.read_text(encoding="utf-8").replace("</body>", ASK), encoding="utf-8")
    shown = browse(copy, width, "--dump-dom")
    return json.loads(shown.partition("<title>")[2].partition("</title>")[0].replace("&lt;", "<").replace("&gt;", ">"))


def colours(page, width):
    """The colours of a screenshot, and how many pixels have them."""
    browse(page, width, f"--screenshot={page.with_name('shot.png')}")
    with Image.open(page.with_name("shot.png")) as shot:
        return {colour[:3]: count for count, colour in shot.convert("RGB").getcolors(2**24)}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Of an archive with plain pictures, and names that are markup."""
    top = tmp_path_factory.mktemp("page")
    (top / "in").mkdir()
    for name, colour in PAINTED.items():
        Image.new("RGB", (60, 40), colour).save(top / "in" / name)
    bbcodec.compress(top / "in", top / "a.bb", codec="none")
    assert main(["report", str(top / "a.bb"), "--html", str(top / "a.html"), "-q"]) == 0
    return top / "a.html"


@pytest.mark.parametrize("width", [1000, 500])  # the narrowest window that it makes
def test_a_report_is_laid_out(page, width):
    found = asked(page, width)
    assert {name for name, _ in found["images"]} == set(PAINTED)
    assert all(pixels == 120 for _, pixels in found["images"])
    assert (found["scripts"], found["fetched"]) == (1, [])
    assert found["wide"] <= 0
    assert found["heads"][0] == "Images"


def test_a_report_shows_its_images(page):
    seen = colours(page, 1000)
    for colour in PAINTED.values():
        assert seen.get(colour, 0) > 2000, colour


def test_an_evaluation_is_laid_out(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "load_content", load_pattern)
    (tmp_path / "pattern.bbc").write_bytes(codec_content())
    np.save(tmp_path / "digits.npy", familiar(40)[..., 0])
    page = tmp_path / "a.html"
    arguments = ["evaluate", str(tmp_path / "pattern.bbc"), str(tmp_path / "digits.npy"), "--no-peers", "--iwae", "0"]
    assert main([*arguments, "--html", str(page), "-q"]) == 0
    found = asked(page, 500)
    assert "Reconstructions" in found["heads"]
    assert len(found["images"]) > 12
    assert all(pixels == 16 for _, pixels in found["images"])
    assert (found["scripts"], found["fetched"], found["wide"] <= 0) == (1, [], True)
