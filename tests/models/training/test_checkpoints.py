"""The folder of a run: whose it is, what it keeps, what a damaged one says."""

import fcntl
import os
from contextlib import suppress

import pytest
import torch

from bbcodec.errors import InputError, OutputError, TargetExists
from bbcodec.models.training.checkpoints import WorkFolder


@pytest.fixture
def folder(tmp_path):
    folder = WorkFolder(tmp_path / "my.bbc")
    yield folder
    folder.close()


def test_it_lies_beside_the_codec(folder, tmp_path):
    assert folder.path == tmp_path / "my.training"
    assert not folder.open(resume=False, force=False)
    assert folder.path.is_dir()


def test_a_checkpoint_comes_back(folder):
    folder.open(False, False)
    folder.save({"weights": torch.arange(3.0), "step": 7})
    state = folder.load()
    assert state["step"] == 7
    assert torch.equal(state["weights"], torch.arange(3.0))
    assert sorted(os.listdir(folder.path)) == ["checkpoint.pt", "lock"]


def test_an_earlier_run_is_resumed_or_replaced_but_never_mixed(tmp_path):
    first = WorkFolder(tmp_path / "my.bbc")
    first.open(False, False)
    first.save({"step": 1})
    first.append({"kind": "train", "step": 1})
    first.close()
    with pytest.raises(TargetExists, match="--resume"):
        WorkFolder(tmp_path / "my.bbc").open(False, False)
    again = WorkFolder(tmp_path / "my.bbc")
    assert again.open(resume=True, force=False)
    assert again.lines() == [{"kind": "train", "step": 1}]
    again.close()
    anew = WorkFolder(tmp_path / "my.bbc")
    assert not anew.open(resume=False, force=True)
    assert os.listdir(anew.path) == ["lock"]
    anew.close()


def test_two_runs_are_not_in_one_folder_at_a_time(folder):
    """The lock is of the open file: a second one in the same process is kept out as another process is."""
    other = WorkFolder(folder.path.with_suffix(".bbc"))
    folder.open(False, False)
    with pytest.raises(TargetExists, match="another process is training"):
        other.open(True, False)
    folder.close()
    assert not other.open(True, False)
    other.close()


def test_a_folder_that_was_refused_is_free_again(folder):
    folder.open(False, False)
    folder.save({"step": 1})
    folder.close()
    with pytest.raises(TargetExists):
        WorkFolder(folder.path.with_suffix(".bbc")).open(False, False)
    with open(folder.path / "lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_every_flipped_byte_of_a_checkpoint_is_found_or_harmless(folder):
    folder.open(False, False)
    folder.save({"weights": torch.arange(3.0), "identity": "{}", "counts": {"step": 1}})
    whole = folder.checkpoint.read_bytes()
    for place in range(0, len(whole), 7):
        folder.checkpoint.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with suppress(InputError):
            assert isinstance(folder.load(), dict)


def test_a_checkpoint_of_something_else_is_refused(folder):
    folder.open(False, False)
    torch.save(torch.arange(3.0), folder.checkpoint)
    with pytest.raises(InputError, match="is not a checkpoint"):
        folder.load()


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(folder, monkeypatch):
    folder.open(False, False)
    folder.save({"step": 1})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        folder.save({"step": 2})
    assert folder.load()["step"] == 1
    assert sorted(os.listdir(folder.path)) == ["checkpoint.pt", "lock"]


def test_damaged_lines_of_the_log_are_left_out(folder):
    folder.open(False, False)
    folder.append({"kind": "train", "step": 1})
    with folder.log.open("a") as stream:
        stream.write('[1, 2]\n{}\n7\n{"kind": "valid"}\n')
    assert folder.lines() == [{"kind": "train", "step": 1}]


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04 cut", bytes(1000)])
def test_a_damaged_checkpoint_is_one_clear_line(folder, content):
    folder.open(False, False)
    folder.checkpoint.write_bytes(content)
    with pytest.raises(InputError, match="--force") as caught:
        folder.load()
    assert "\n" not in str(caught.value)


def test_a_checkpoint_that_was_cut_is_one_clear_line(folder):
    folder.open(False, False)
    folder.save({"weights": torch.arange(3000.0)})
    whole = folder.checkpoint.read_bytes()
    folder.checkpoint.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="--force"):
        folder.load()


def test_the_log_forgets_what_is_to_be_done_again(folder):
    folder.open(False, False)
    for step in (1, 2, 3):
        folder.append({"kind": "train", "step": step})
    with folder.log.open("a") as stream:
        stream.write('{"kind": "tr')  # the process was killed here
    folder.forget_after(2)
    folder.append({"kind": "train", "step": 3, "again": True})
    assert folder.lines() == [
        {"kind": "train", "step": 1},
        {"kind": "train", "step": 2},
        {"kind": "train", "step": 3, "again": True},
    ]


def test_where_no_folder_can_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        WorkFolder(tmp_path / "file" / "my.bbc").open(False, False)
