"""`compress --adapt --mix`: what was learned is embedded and mixed, told by `report`, and outlives Ctrl-C."""

import json
import signal

import pytest
from folders import check_same_tree
from learning_clock import threads_as_they_were, tick  # noqa: F401  a fixture
from pinned_inputs import natural, save
from test_vlae_engine import content_of

import bbcodec
from bbcodec.archive import adaptation
from bbcodec.archive.write import candidates
from bbcodec.cli.main import main
from bbcodec.options import LEARNING


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Twenty steps take a second, little is enough, and what has no model is stored as PNG."""
    tick(monkeypatch, 0.05)
    monkeypatch.setattr(adaptation, "FEWEST_BYTES", 1)
    monkeypatch.setattr(candidates, "CODINGS", [one for one in candidates.CODINGS if one.name in ("png", "bytes")])


@pytest.fixture
def codec(tmp_path):
    path = tmp_path / "own.bbc"
    path.write_bytes(content_of("joint"))
    return path


@pytest.fixture
def folder(tmp_path):
    for number in range(3):
        save(tmp_path / "in" / f"{number}.png", natural(1, 96, 128, 3, seed=number)[0])
    return tmp_path / "in"


def rows_of(archive, capsys):
    """The rows of a report, in units, by key."""
    capsys.readouterr()
    assert main(["report", str(archive), "--json"]) == 0
    return {row["key"]: row["units"] for row in json.loads(capsys.readouterr().out)["chain"]}


def test_what_was_learned_is_mixed(folder, codec, tmp_path, capsys):
    summaries = {}
    for name, options in {"adapted": {"adapt": 0.05}, "both": {"adapt": 0.05, "mix": True}}.items():
        summaries[name] = bbcodec.compress(folder, tmp_path / f"{name}.bb", codec=codec, **options)
        assert summaries[name].codecs == ["own, adapted"]
    assert summaries["both"].adapted[0].startswith("own learned for ")
    assert summaries["both"].archive_bytes < 0.98 * summaries["adapted"].archive_bytes
    bbcodec.decompress(tmp_path / "both.bb", tmp_path / "out")
    check_same_tree(folder, tmp_path / "out")
    both, alone = (rows_of(tmp_path / f"{name}.bb", capsys) for name in ("both", "adapted"))
    assert "mixed" in both
    assert "mixed" not in alone
    with bbcodec.open(tmp_path / "both.bb") as archive:
        assert [one.name for one in archive.codecs] == ["own, adapted"]


def test_ctrl_c_while_learning_leaves_a_whole_archive(folder, codec, tmp_path, capsys):
    told = []

    def interrupt(phase, *about):
        if phase == LEARNING and not told:
            signal.raise_signal(signal.SIGINT)
        told.append(phase)

    summary = bbcodec.compress(folder, tmp_path / "a.bb", codec=codec, adapt=30, mix=True, progress=interrupt)
    assert told.count(LEARNING) == 1
    assert len(summary.adapted) == 1
    assert summary.files == 3
    bbcodec.verify(tmp_path / "a.bb")
    bbcodec.decompress(tmp_path / "a.bb", tmp_path / "out")
    check_same_tree(folder, tmp_path / "out")
    assert "mixed" in rows_of(tmp_path / "a.bb", capsys)
