"""By how many workers work is done, and who hears of it."""

import pytest

from bbcodec import options as run_options
from bbcodec.errors import LimitExceeded
from bbcodec.options import POOL_VALUES, Limits, RunOptions
from bbcodec.parallel import Workers


@pytest.mark.parametrize(
    ("device", "gpu", "values", "learned", "processes"),
    [
        ("cpu", True, POOL_VALUES, True, 4),
        ("cpu", True, POOL_VALUES - 1, True, 1),  # not worth the start of a worker
        ("auto", False, POOL_VALUES, True, 4),
        ("auto", True, POOL_VALUES, True, 1),  # a GPU is not shared
        ("auto", True, POOL_VALUES, False, 4),
        ("cuda", True, POOL_VALUES, True, 1),
        ("cuda:1", True, POOL_VALUES, True, 1),
        ("cuda", True, POOL_VALUES, False, 4),
    ],
)
def test_workers(monkeypatch, device, gpu, values, learned, processes):
    monkeypatch.setattr(run_options.os.path, "exists", lambda path: gpu)
    run = RunOptions(4, device)
    assert run.workers(values, learned=learned, threads=False) == Workers(processes)
    assert run.workers(values, learned=learned, threads=True) == Workers(4, threads=True)


def test_whoever_watches_is_told():
    heard = []
    RunOptions(progress=lambda *told: heard.append(told)).tell("compressing", 1, 2, 3)
    RunOptions().tell("compressing", 1, 2, 3)
    assert heard == [("compressing", 1, 2, 3)]


@pytest.mark.parametrize(
    ("run", "values", "learned", "processes"),
    [
        (RunOptions(4, "cpu"), 2**30, True, 4), (RunOptions(4, "cpu"), 100, True, 1),
        (RunOptions(4, "cuda"), 2**30, True, 1), (RunOptions(4, "cuda"), 2**30, False, 4),
    ],
)  # fmt: skip
def test_small_work_and_work_on_a_gpu_is_done_here(run, values, learned, processes):
    assert run.workers(values, learned=learned, threads=False).count == processes


def test_limits_grow_with_what_an_archive_holds_unless_they_are_given():
    Limits().check_output(2**30 + 10_000 * 100, 100)
    with pytest.raises(LimitExceeded, match="--max-output"):
        Limits().check_output(2**30 + 10_000 * 100 + 1, 100)
    Limits(output=7).check_output(7, 0)
    with pytest.raises(LimitExceeded, match="8 bytes would be restored from an archive of 10,000, at most 7"):
        Limits(output=7).check_output(8, 10_000)
    assert Limits().work_for(1000) == 5 * 10**10 + 80_000_000
    assert Limits(work=3).work_for(1000) == 3
    Limits().check_memory(2**31, "it")
    with pytest.raises(LimitExceeded, match="it needs about 2,147,483,649 bytes"):
        Limits().check_memory(2**31 + 1, "it")
