"""By how many workers work is done, and who hears of it."""

import pytest

from bbcodec import options as run_options
from bbcodec.options import POOL_VALUES, RunOptions
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
