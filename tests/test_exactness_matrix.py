"""One message whatever computes it: every kernel of this machine, numbers of threads, batch sizes, PyTorch and engine.

For each codec and batch, all settings must write the same bytes, and each must decode them: as the messages are equal,
every setting has then decoded those of all others. The quick part has few threads and small batches, the slow part all:
several threads of PyTorch take turns at every small step, and for ever where others use the machine, too.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch

from bbcodec.codec.codec import Codec, PixelFormat
from bbcodec.codec.device import one_thread
from bbcodec.codec.engine_backend import EngineBackend, runs_without_torch
from bbcodec.codec.file import load_codec, save_codec
from bbcodec.codec.torch_backend import TorchBackend
from bbcodec.engine.compiling import VARIABLE, available
from bbcodec.exact.layers import exact_layers
from bbcodec.models.vae import Vae
from bbcodec.models.vae_config import VaeConfig
from bbcodec.models.vlae import Vlae
from bbcodec.models.vlae_config import VlaeConfig

SIZE = 18, 20  # height and width; 200 such images have a stack of many heads
INNER = {"inner": 20, "hidden": 24, "layers": 2, "between": 1, "radius": 2}
CONFIGS = {
    "RGB": replace(tiny_models.CONFIGS["RGB"], **INNER, latent_channels=0),
    "joint": replace(tiny_models.CONFIGS["joint"], **INNER, latent_channels=0, components=5),
    "RGB with latents": replace(tiny_models.CONFIGS["RGB"], **INNER),
    "two levels": replace(tiny_models.CONFIGS["binary"], **INNER),
    "dense": VaeConfig(height=SIZE[0], width=SIZE[1], hidden=20, latents=5),
}


@dataclass(frozen=True)
class Setting:
    """What computes, with which kernels (of the engine), on how many threads."""

    computes: str  # engine, float32, float64
    kernels: str
    threads: int

    def __str__(self) -> str:
        return f"{self.computes} {self.kernels} {self.threads} threads"


def pictures(kind: str, count: int) -> np.ndarray:
    """Images of the pixels of a codec, (N, H, W, C) uint8."""
    config = CONFIGS[kind]
    alike = {(3, 256): "RGB", (1, 2): "binary"}[config.channels, config.levels]
    return tiny_models.pictures(alike, count, *SIZE, seed=count)


@cache
def content_of(kind: str) -> bytes:
    """A codec file whose weights all have something to say."""
    config = CONFIGS[kind]
    torch.manual_seed(0)
    model = Vlae(config) if isinstance(config, VlaeConfig) else Vae(config)
    if isinstance(model, Vae):
        model.initialise_from(tiny_models.tensor(pictures(kind, 50)))
    with torch.no_grad():
        for layer in exact_layers(model).values():
            layer.bias += 0.3 * torch.randn_like(layer.bias)
    family = "vlae" if isinstance(model, Vlae) else "vae"
    with one_thread():
        return save_codec(model.eval(), family, config, PixelFormat(config.channels, config.levels), {})


def settings(kind: str, threads: tuple[int, ...], torch_threads: tuple[int, ...]) -> Iterator[Setting]:
    """All settings of a codec on this machine."""
    assert runs_without_torch(content_of(kind), "cpu")
    for kernels in available():
        yield from (Setting("engine", kernels, count) for count in threads)
    for computes in ("float32", "float64"):
        yield from (Setting(computes, "", count) for count in torch_threads)


@cache
def loaded(kind: str, kernels: str) -> Codec:
    """The codec on the engine with these kernels; on its network if they have no name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, kernels)
        codec = load_codec(content_of(kind), "cpu", engine=bool(kernels))
    assert isinstance(codec.backend, EngineBackend if kernels else TorchBackend)
    return codec


def codec_of(kind: str, setting: Setting) -> Codec:
    """The codec as a setting has it, until another one is asked for."""
    codec = loaded(kind, setting.kernels)
    codec.set_safe(setting.computes == "float64")
    return codec


def spread(setting: Setting, function: Callable[..., Any], *arguments: list[Any]) -> list[Any]:
    """The function of each case: side by side on the engine, one after the other with so many threads of PyTorch."""
    if setting.computes == "engine":
        with ThreadPoolExecutor(setting.threads) as pool:
            return list(pool.map(function, *arguments))
    before = torch.get_num_threads()
    torch.set_num_threads(setting.threads)
    try:
        return list(map(function, *arguments))
    finally:
        torch.set_num_threads(before)


def check_matrix(kind: str, batches: tuple[int, ...], threads: tuple[int, ...], torch_threads: tuple[int, ...]) -> None:
    """All settings write one message of each batch, and decode it."""
    images = [pictures(kind, count) for count in batches]
    written: dict[Setting, list[bytes]] = {}
    for setting in settings(kind, threads, torch_threads):
        codec = codec_of(kind, setting)
        written[setting] = spread(setting, codec.encode, images)
    first = next(iter(written.values()))
    different = [str(setting) for setting, messages in written.items() if messages != first]
    assert not different, f"{kind}: other messages with {', '.join(different)} than with {next(iter(written))}"
    for setting in written:
        codec = codec_of(kind, setting)
        for batch, back in zip(images, spread(setting, codec.decode, first), strict=True):
            assert np.array_equal(back, batch), f"{kind}: {len(batch)} images do not come back with {setting}"


@pytest.mark.parametrize("kind", CONFIGS)
def test_messages_do_not_depend_on_what_computes_them(kind):
    check_matrix(kind, batches=(1, 15, 16), threads=(1, 2), torch_threads=(1,))


@pytest.mark.slow
@pytest.mark.parametrize("kind", CONFIGS)
def test_the_whole_matrix(kind):
    check_matrix(kind, batches=(1, 15, 16, 64, 200), threads=(1, 2, 4), torch_threads=(1, 2, 4))


PROGRAM = """
import sys
import numpy as np
from bbcodec.codec.file import load_codec
codec = load_codec(sys.argv[1], "cpu")
print(codec.backend.program.local.kernels.name)
with open(sys.argv[2], "rb") as stream:
    np.save(sys.argv[3], codec.decode(stream.read()))
"""


def test_a_process_with_plain_kernels_decodes_what_the_fastest_ones_wrote(tmp_path):
    """The environment chooses the kernels of a process."""
    codec, message, back = (tmp_path / name for name in ("codec.bbc", "message", "back.npy"))
    images = pictures("RGB", 3)
    codec.write_bytes(content_of("RGB"))
    message.write_bytes(loaded("RGB", available()[0]).encode(images))
    words = [sys.executable, "-P", "-c", PROGRAM, *map(str, (codec, message, back))]
    environment = os.environ | {VARIABLE: "portable"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "portable\n"
    assert np.array_equal(np.load(back), images)
