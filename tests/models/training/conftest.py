import numpy as np
import pytest
import torch
from tiny_models import pictures

from bbcodec.models.training import loop
from bbcodec.models.training.checkpoints import write_whole


@pytest.fixture
def quick(monkeypatch):
    """Few validations, each of which also writes a codec, and no curves; torch's number of threads is restored."""
    threads = torch.get_num_threads()
    monkeypatch.setattr(loop, "REPORTS", 2)
    monkeypatch.setattr(loop, "draw_curves", lambda lines, path: write_whole(path, b""))
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def images(tmp_path):
    np.save(tmp_path / "images.npy", pictures("grey", 44, 12, 10)[..., 0])
    return tmp_path / "images.npy"
