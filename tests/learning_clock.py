"""Learning in tests: by a clock that ticks with steps, and with the threads of torch as they were."""

from contextlib import contextmanager

import pytest
import torch

from bbcodec.models.training.trainer import Trainer


@pytest.fixture(autouse=True)
def threads_as_they_were():
    """Learning sets their number."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def tick(monkeypatch, seconds):
    """A step takes so many seconds, however busy the machine is."""

    @contextmanager
    def timed(trainer):
        yield
        trainer.spent += seconds

    monkeypatch.setattr(Trainer, "timed", timed)
