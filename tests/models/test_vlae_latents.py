"""A VLAE whose nets of latents are of 8 bits: the engine and PyTorch's layers compute and code the same."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_models import CONFIGS, SIZES, pictures, pixel_format, tensor

from bbcodec.codec.engine_backend import EngineBackend
from bbcodec.codec.file import load_codec, save_codec
from bbcodec.codec.torch_backend import TorchBackend, frozen_tensors
from bbcodec.exact.arithmetic import BOUND, guard
from bbcodec.exact.layers import exact_layers, set_exact
from bbcodec.exact.quantised import InnerConv, InnerTransposedConv
from bbcodec.model.interpreters import elbo
from bbcodec.models import fused_blocks
from bbcodec.models.vlae import Vlae
from bbcodec.models.vlae_config import VlaeConfig
from bbcodec.models.vlae_engine import VlaeEngine, engine

INNER = {"inner": 6, "layers": 1}
STRIDES = [(4, 2), (2, 2), (8, 1)]  # of the latents, and of the context: one doubling, none, three


def config_of(kind: str, **changes: int) -> VlaeConfig:
    return replace(CONFIGS[kind], **INNER, **changes)


def model_of(config: VlaeConfig) -> Vlae:
    """Untrained, but with random biases, so that channels differ."""
    torch.manual_seed(0)
    model = Vlae(config)
    with torch.no_grad():
        for layer in exact_layers(model).values():
            layer.bias += 0.3 * torch.randn_like(layer.bias)
    return model.eval()


@pytest.mark.parametrize("strides", STRIDES)
@pytest.mark.parametrize(("count", "size"), [(2, (1, 1)), (1, (16, 17)), (50, (9, 6))])  # in one turn, and in two
def test_the_engine_computes_the_numbers_of_torch(strides, size, count):
    config = config_of("RGB", latent_stride=strides[0], context_stride=strides[1])
    model = model_of(config)
    compiled = engine(vars(config), frozen_tensors(model))
    images = pictures("RGB", count, *size)
    rows = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    with guard(), torch.no_grad():
        q = model.posterior(tensor(images))
        z = q.rsample(torch.Generator().manual_seed(0))
        context = model.context(z, *size)
    latents = z.numpy().astype(np.int16)
    found = compiled.posterior(rows)
    assert np.array_equal(found.rows[0].reshape(q.shape), q.mean.numpy())
    assert np.array_equal(found.rows[1].reshape(q.shape), q.log_sigma.numpy())
    assert np.array_equal(compiled.likelihood(latents, rows.shape).context, context.numpy())
    prior = model.prior(tuple(z.shape)).in_parallel(z).numpy()
    assert np.array_equal(compiled.prior(rows.shape).coder.parameters(latents), prior)


@pytest.mark.parametrize("prior_layers", [1, 0])
@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("shape", [(5, 9, 7), (50, 5, 4)])
def test_both_write_and_read_the_same_messages(kind, shape, prior_layers):
    model = model_of(config_of(kind, prior_layers=prior_layers))
    content = save_codec(model, "vlae", model.config, pixel_format(kind), {})
    fast, slow = (load_codec(content, "cpu", engine=engine) for engine in (True, False))
    assert isinstance(fast.backend, EngineBackend)
    assert isinstance(slow.backend, TorchBackend)
    images = pictures(kind, *shape)
    costs = np.zeros((2, len(images)))
    messages = [codec.encode_message(images, bits) for codec, bits in zip((fast, slow), costs, strict=True)]
    assert messages[0] == messages[1]
    assert np.array_equal(*costs)
    for codec in (fast, slow):
        assert np.array_equal(codec.decode_message(messages[0], *shape), images)


def test_a_prior_without_layers_is_standard_normal():
    model = model_of(config_of("grey", prior_layers=0))
    z = torch.tensor([-3.0, 0.0, 8.0, 5.0]).reshape(1, 1, 2, 2).expand(1, 2, 2, 2)
    density = torch.distributions.Normal(0, 8).log_prob(z).sum()  # a unit has eight steps
    assert model.prior(tuple(z.shape)).log_prob(z).item() == pytest.approx(density.item(), abs=0.02)
    assert not any(name.startswith("prior_net") for name in frozen_tensors(model))


def test_tensors_that_are_not_of_the_model():
    config = config_of("binary")
    tensors = frozen_tensors(model_of(config))
    VlaeEngine(config, tensors)
    some = tensors["local.stem.weight"]
    for name in ("other.weight", "encoder.other.weight", "context_net.blocks.9.spatial.weight", "prior_net.other"):
        with pytest.raises(ValueError, match="expected"):
            VlaeEngine(config, {**tensors, name: some})
    for name in ("encoder.head.bias", "context_net.first.shift", "prior_net.neck.weight"):
        with pytest.raises((KeyError, ValueError)):
            VlaeEngine(config, {key: one for key, one in tensors.items() if key != name})


@pytest.mark.parametrize("strides", STRIDES)
def test_every_layer_learns_with_rounding_and_without(strides):
    model = model_of(config_of("grey", latent_stride=strides[0], context_stride=strides[1]))
    for exact in (False, True):
        set_exact(model, exact)
        model.zero_grad()
        terms = elbo(model, tensor(pictures("grey", 4, 16, 16)), torch.Generator().manual_seed(0))
        (terms["z"].mean() + terms["x"].mean()).backward()
        for name, layer in exact_layers(model).items():
            assert torch.isfinite(layer.weight.grad).all(), name
            assert layer.weight.grad.abs().sum() > 0, name


def test_latents_start_narrow():
    """Posteriors of sigma 0.3, so that they say something from the first step."""
    torch.manual_seed(0)
    with torch.no_grad():
        q = Vlae(config_of("grey", width=32)).posterior(tensor(pictures("grey", 8, 16, 16)))
    assert torch.exp(q.log_sigma / 256).median().item() == pytest.approx(0.3, rel=0.3)
    assert q.mean.abs().max() <= BOUND
    assert q.mean.std() > 16


def test_a_latent_speaks_to_the_pixels_about_it():
    model = model_of(replace(config_of("grey"), **{**SIZES, "context_stride": 1}))
    with torch.no_grad(), guard():
        z = torch.zeros(1, 2, 12, 12)
        other = z.clone()
        other[0, 0, 6, 6] = 10
        places = (model.context(z, 48, 48) != model.context(other, 48, 48)).any(1)[0].nonzero()
    reach = 4 * 3  # of the first layer, one block and two doublings
    assert len(places) > 16
    assert (places >= 24 - reach).all()
    assert (places < 28 + reach).all()


@pytest.mark.parametrize("narrow", [torch.float32, torch.bfloat16])
def test_convolutions_sped_up_learn_nearly_the_same(monkeypatch, narrow):
    """Of bfloat16; of float32, nets of latents are as they were."""
    monkeypatch.setattr(fused_blocks, "product_type", lambda: narrow)
    model = model_of(config_of("grey", width=32))
    x = tensor(pictures("grey", 4, 16, 16))
    found = []
    for _ in range(2):
        model.zero_grad()
        terms = elbo(model, x, torch.Generator().manual_seed(0))
        (-terms["z"].sum() - terms["x"].sum()).backward()
        layers = [layer for layer in model.modules() if isinstance(layer, (InnerConv, InnerTransposedConv))]
        slopes = torch.cat([layer.weight.grad.flatten() for layer in layers])
        found.append((terms["x"].sum().item(), slopes))
        model.compile_for_training()
    assert found[0][0] == pytest.approx(found[1][0], rel=0.02)
    assert ("forward" in vars(layers[0])) == (narrow == torch.bfloat16)
    assert torch.cosine_similarity(found[0][1], found[1][1], 0) > 0.95
