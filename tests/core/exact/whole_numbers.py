"""Random whole-number layers at the edge of the exactness bound, for torch and for the oracle alike."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from oracle import Ints, Whole

from bbcodec.exact.layers import ExactLayer, exact_parts

CARRIER = 2**24


def fill(layer: ExactLayer, seed: int, mask: np.ndarray | None = None, min_shift: int = -2) -> Whole:
    """Give `layer` random whole numbers that use the bound to the last unit, and return them for the oracle.

    In every output channel bound * sum|w| + |b| is 2**24 - 1 if the fan-in allows. mask: 0 where a weight must be 0.
    """
    rng = np.random.default_rng(seed)
    shape = tuple(layer.weight.shape)
    size = rng.integers(0, 2048, shape) * rng.integers(0, 2, shape) if seed % 2 else rng.integers(0, 2048, shape)
    weight = size * rng.choice([-1, 1], shape) * (1 if mask is None else mask)
    flat = weight.reshape(shape[0], -1)
    for row in flat:
        while layer.bound * np.abs(row).sum() >= CARRIER:
            row //= 2  # towards minus infinity: -1 stays -1
            row[row == -1] = 0
    room = CARRIER - 1 - layer.bound * np.abs(flat).sum(1)
    bias = room * rng.choice([-1, 1], shape[0])
    shift = rng.integers(min_shift, 15, shape[0])
    layer.load_integers(
        torch.from_numpy(weight.astype(np.int16)),
        torch.from_numpy(bias.astype(np.int32)),
        torch.from_numpy(shift.astype(np.int8)),
    )
    return Whole(weight.astype(np.int64), bias.astype(np.int64), shift.astype(np.int64))


def stored_arrays(net: torch.nn.Module) -> dict[str, np.ndarray]:
    """The whole numbers of a net as codec files hold them, without a prefix."""
    parts = exact_parts(net).items()
    return {f"{name}.{key}": value.numpy() for name, part in parts for key, value in part.stored().items()}


def activations(shape: tuple[int, ...], bound: int, seed: int) -> Ints:
    """Random whole numbers within +-bound; a third of them at the bound itself."""
    rng = np.random.default_rng(seed + 1)
    x = rng.integers(-bound, bound + 1, shape)
    return np.where(rng.random(shape) < 1 / 3, np.where(x < 0, -bound, bound), x)


def tensor(x: Ints) -> torch.Tensor:
    return torch.from_numpy(x.astype(np.float32))


def check_equal(found: torch.Tensor, expected: Ints) -> None:
    """Every value whole, and the same as the oracle's."""
    assert found.dtype == torch.float32
    assert found.shape == expected.shape
    whole = found.detach().double().numpy()
    assert (whole == np.rint(whole)).all()
    different = whole.astype(np.int64) != expected
    assert not different.any(), f"{different.sum()} of {different.size} values differ"


@contextmanager
def threads(n: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def onednn(enabled: bool) -> Iterator[None]:
    """oneDNN on or off; off, PyTorch takes other kernels. (torch.backends.mkldnn.flags warns of unrelated settings.)"""
    before = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(enabled)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(before)
