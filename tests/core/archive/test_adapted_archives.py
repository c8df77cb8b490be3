"""Codecs that learn from the files first: for how long, from what, and that an archive never gets longer by it."""

import signal

import numpy as np
import pytest
from fake_codec import fake_codec, familiar, squeeze
from folders import check_same_tree, restore, save

import bbcodec
from bbcodec.archive import adaptation
from bbcodec.archive.adaptation import AUTO_BYTES, AUTO_LEAST, AUTO_MINUTES, FEWEST_BYTES, Adapted, find_learner
from bbcodec.archive.write import learnable
from bbcodec.codec.pool import CodecSource
from bbcodec.errors import InexactArithmetic, InputError

GREY = fake_codec("grey-1", shipped=True)
COLOUR = fake_codec("colour-1", channels=3, shipped=True)
BETTER = fake_codec("grey-1, adapted", number=1)  # knows the pattern of the files by heart


@pytest.fixture
def folder(tmp_path):
    for n in range(20):
        save(tmp_path / "in" / f"{n}.png", familiar(seed=n, number=1))
    save(tmp_path / "in" / "colour.png", familiar(60, 60, 3))
    return tmp_path / "in"


class Learner:
    """Has learned `codec` from grey images, and nothing that pays from others; remembers what it was asked."""

    def __init__(self, codec=BETTER, saved=10**6):
        self.codec, self.saved, self.asked, self.unable, self.leasts = codec, saved, [], [], []

    def __call__(self, images, codecs, seconds, threads, watch, least):
        self.asked.append((images, [one.name for one in codecs], seconds, threads))
        self.leasts.append(least)
        self.asked_to_go_on = watch(500, 1000, 2.5)
        saved = self.saved if codecs[0] is GREY else 0
        return Adapted(self.codec, codecs[0], 8.0, 1.0, seconds, saved)


@pytest.fixture
def learner(monkeypatch):
    monkeypatch.setattr(adaptation, "FEWEST_BYTES", 1)
    learner = Learner()
    monkeypatch.setattr(adaptation, "find_learner", lambda: learner)
    monkeypatch.setattr(adaptation, "can_learn", lambda codec: codec not in learner.unable)
    return learner


def test_what_was_learned_is_embedded_and_used(folder, learner, tmp_path):
    told = []
    before = squeeze(folder, tmp_path / "a.bb", [GREY, COLOUR])
    summary = squeeze(
        folder, tmp_path / "b.bb", [GREY, COLOUR], adapt=3, jobs=2, progress=lambda *about: told.append(about)
    )
    assert sorted(summary.codecs) == ["colour-1", "grey-1, adapted"]
    assert summary.archive_bytes < before.archive_bytes - 5000
    assert summary.adapted[0].startswith("grey-1 learned for ")
    assert summary.adapted[0].endswith(" kB for what it learned")
    assert before.adapted == []
    assert ("learning", 500, 1000, 2500) in told
    restore(tmp_path / "b.bb", tmp_path / "out", known=[CodecSource.of(COLOUR)])
    check_same_tree(folder, tmp_path / "out")
    (grey, grey_codecs, grey_seconds, threads), (_, colour_codecs, colour_seconds, _) = learner.asked
    assert (grey_codecs, colour_codecs, threads) == (["grey-1"], ["colour-1"], 2)
    assert len(grey.images) == 20
    assert grey_seconds + colour_seconds == pytest.approx(180)
    assert grey_seconds / colour_seconds == pytest.approx(20 * 24**2 / (3 * 60**2))


def test_what_does_not_pay_changes_nothing(folder, learner, tmp_path):
    learner.saved = len(BETTER.content)
    squeeze(folder, tmp_path / "a.bb", [GREY, COLOUR])
    summary = squeeze(folder, tmp_path / "b.bb", [GREY, COLOUR], adapt=None)
    assert (tmp_path / "a.bb").read_bytes() == (tmp_path / "b.bb").read_bytes()
    assert summary.adapted[0].endswith(" kB: not used")


def test_a_codec_that_was_thought_to_pay_and_does_not_is_left_out(folder, learner, tmp_path):
    """The shipped ones are used as if there had been no other."""
    learner.codec = fake_codec("grey-1, adapted", number=2, note=np.random.default_rng(0).bytes(9000).hex())
    squeeze(folder, tmp_path / "a.bb", [GREY, COLOUR])
    summary = squeeze(folder, tmp_path / "b.bb", [GREY, COLOUR], adapt=1)
    assert summary.codecs == ["colour-1"]
    assert summary.archive_bytes <= (tmp_path / "a.bb").stat().st_size + 64


@pytest.mark.parametrize(
    ("error", "reason"), [(MemoryError(), "no memory is left"), (InexactArithmetic("not even so"), "not even so")]
)
def test_learning_that_fails_costs_nothing(folder, learner, tmp_path, monkeypatch, error, reason):
    def failing(*_):
        raise error

    monkeypatch.setattr(adaptation, "find_learner", lambda: failing)
    squeeze(folder, tmp_path / "a.bb", [GREY])
    summary = squeeze(folder, tmp_path / "b.bb", [GREY], adapt=1)
    assert (tmp_path / "a.bb").read_bytes() == (tmp_path / "b.bb").read_bytes()
    assert summary.adapted == [f"nothing was learned from 20 images: {reason}"]


def test_few_images_and_those_without_a_codec_teach_nothing(folder, learner, tmp_path, monkeypatch):
    squeeze(folder, tmp_path / "a.bb", [COLOUR], adapt=1)
    assert [codecs for _, codecs, _, _ in learner.asked] == [["colour-1"]]
    monkeypatch.setattr(adaptation, "FEWEST_BYTES", FEWEST_BYTES)
    (line,) = squeeze(folder, tmp_path / "b.bb", [GREY, COLOUR], adapt=1).adapted
    assert line.startswith("nothing was learned: there are too few images")
    assert len(learner.asked) == 1


def test_time_is_for_the_formats_that_have_a_codec_that_can_learn(folder, learner, tmp_path):
    learner.unable = [COLOUR]
    squeeze(folder, tmp_path / "a.bb", [GREY, COLOUR], adapt=2)
    ((_, names, seconds, _),) = learner.asked
    assert names == ["grey-1"]
    assert seconds == pytest.approx(120)


def test_ctrl_c_ends_learning_and_compresses_then(folder, learner, tmp_path, monkeypatch):
    """A second one ends the command."""
    earlier = signal.getsignal(signal.SIGINT)

    def interrupted(*asked):
        signal.raise_signal(signal.SIGINT)
        return learner(*asked)

    monkeypatch.setattr(adaptation, "find_learner", lambda: interrupted)
    summary = squeeze(folder, tmp_path / "a.bb", [GREY], adapt=2)
    assert not learner.asked_to_go_on
    assert summary.codecs == ["grey-1, adapted"]
    with pytest.raises(KeyboardInterrupt):
        squeeze(folder, tmp_path / "b.bb", [GREY, COLOUR], adapt=2)
    assert not (tmp_path / "b.bb").exists()
    assert signal.getsignal(signal.SIGINT) is earlier


@pytest.mark.parametrize("values", [AUTO_BYTES // 4, 100 * AUTO_BYTES])
def test_auto_takes_as_long_as_the_images_are_worth(learner, monkeypatch, values):
    images = learnable.LearnableImages([familiar()], values)
    monkeypatch.setattr(adaptation, "learnable_images", lambda tasks: {(1, 256): images})
    (adapted,), (line,) = adaptation.adapted_codecs([], [GREY], None, bbcodec.options.RunOptions())
    assert line == str(adapted)
    assert adapted.seconds == 60 * min(AUTO_MINUTES, values / AUTO_BYTES)
    assert learner.leasts == [AUTO_LEAST]


def test_minutes_end_only_where_more_would_save_nothing(folder, learner, tmp_path):
    squeeze(folder, tmp_path / "a.bb", [GREY], adapt=3)
    assert learner.leasts == [0.0]


def test_pixels_of_two_levels_are_worth_an_eighth(folder, learner, tmp_path):
    """Of the time, and of what is too little."""
    bits = fake_codec("bits-1", levels=2, shipped=True)
    for n in range(8):
        save(tmp_path / "in" / f"bits{n}.png", familiar(60, 48, levels=2, seed=n) * 255)
    squeeze(folder, tmp_path / "a.bb", [GREY, bits], adapt=2)
    (two, names, seconds, _), (_, grey_names, grey_seconds, _) = learner.asked
    assert (names, grey_names) == (["bits-1"], ["grey-1"])
    assert (two.levels, len(two.images)) == (2, 8)
    assert two.raw_bytes == 60 * 48 == two.total // 8
    assert seconds / grey_seconds == pytest.approx(60 * 48 / (20 * 24**2))


def test_a_codec_of_ones_own_pays_where_its_successor_takes_no_more_than_it_saves():
    """Either would be in the archive."""
    own, grown = fake_codec("own"), fake_codec("own, adapted", note="more" * 100)
    more = len(grown.content) - len(own.content)
    assert more > 0
    assert Adapted(grown, own, 8.0, 1.0, 60, more + 1).pays
    assert not Adapted(grown, own, 8.0, 1.0, 60, more).pays
    assert not Adapted(grown, GREY, 8.0, 1.0, 60, more + 1).pays


def test_learning_that_ended_early_is_told():
    line = str(Adapted(BETTER, GREY, 8.0, 1.0, 90, 10**6, over=True))
    assert line.startswith("grey-1 learned for 1.5 min, as more would not have paid: 8.000 -> 1.000 bits/dim")


def test_without_models_nothing_can_learn(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(adaptation, "entry_points", lambda group: [])
    with pytest.raises(InputError, match="this installation of bbcodec cannot learn"):
        bbcodec.compress(folder, tmp_path / "a.bb", adapt=1)
    assert not (tmp_path / "a.bb").exists()


def test_the_models_bring_a_learner():
    assert find_learner().__module__ == "bbcodec.models.training.adaptation"


@pytest.mark.parametrize(
    ("options", "match"),
    [({"adapt": -1}, "adapt: expected minutes"), ({"adapt": 1, "embed_codec": False}, "embed_codec must be true")],
)
def test_what_cannot_be_is_refused(folder, tmp_path, options, match):
    with pytest.raises(InputError, match=match):
        bbcodec.compress(folder, tmp_path / "a.bb", **options)
