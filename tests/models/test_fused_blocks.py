"""Fused training steps against the 8-bit net itself."""

from functools import partial

import pytest
import torch

from bbcodec.exact.layers import set_exact
from bbcodec.exact.local_net import LocalNet
from bbcodec.models import fused_blocks, fused_steps
from bbcodec.models.fused_steps import pool


def outputs_and_gradients(function, net, x, context):
    net.zero_grad()
    context.grad = None
    params = function(x, context, 2)
    weight = torch.linspace(-1, 1, params.numel()).view(params.shape)
    (params * weight).sum().backward()
    return params.detach(), {name: p.grad.clone() for name, p in net.named_parameters()} | {"context": context.grad}


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("narrow", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("sides", [(1, 1), (9, 6)])
def test_nearly_the_same_outputs_and_gradients(exact, narrow, sides):
    """With float32, the same outputs; gradients differ where sums are at the bounds of a ReLU, as rounded ones are."""
    torch.manual_seed(0)
    net = LocalNet(3, 16, 24, (1, 0, 1), 7, bound=1024)
    with torch.no_grad():
        net.skip.weight.normal_(0, 0.1)
        net.stem.weight.mul_(0.3)
    set_exact(net, exact)
    x = torch.randint(-128, 128, (2, 3, *sides)).float() * 8
    context = (100 * torch.randn(2, 16, -(-sides[0] // 2), -(-sides[1] // 2))).round().requires_grad_()
    expected, slopes = outputs_and_gradients(net, net, x, context)
    found, fused = outputs_and_gradients(partial(fused_blocks.params_of, net, narrow=narrow), net, x, context)
    if narrow == torch.float32:
        assert torch.allclose(found, expected, rtol=1e-5, atol=0 if exact else 1e-3)
    assert (found - expected).abs().mean() < 0.02 * expected.abs().mean()
    if exact:
        assert torch.equal(found, found.round())
    for name, slope in slopes.items():
        assert (fused[name] - slope).norm() <= 0.2 * slope.norm() + 1e-6, name


@pytest.mark.parametrize("narrow", [torch.float32, torch.bfloat16])
def test_no_context_and_a_context_of_zeros_are_the_same(narrow):
    torch.manual_seed(1)
    net = LocalNet(3, 16, 8, (1,), 5, bound=1024)
    x = torch.randint(-128, 128, (1, 3, 5, 8)).float() * 8
    params = partial(fused_blocks.params_of, net, x, narrow=narrow)
    assert torch.equal(params(), params(torch.zeros(1, 16, 5, 8)))


def test_threads_share_the_work(monkeypatch):
    monkeypatch.setattr(fused_steps, "LEAST_OF_A_THREAD", 1)
    torch.manual_seed(2)
    net = LocalNet(3, 16, 8, (1,), 5, bound=1024)
    x = torch.randint(-128, 128, (5, 3, 6, 8)).float() * 8
    context = torch.randn(5, 16, 3, 4).requires_grad_()
    before, results, parts = torch.get_num_threads(), [], []
    monkeypatch.setattr(fused_steps, "pool", lambda threads: parts.append(threads) or pool(threads))
    for threads in (1, 3):
        torch.set_num_threads(threads)
        params = partial(fused_blocks.params_of, net, narrow=torch.float32)
        results.append(outputs_and_gradients(params, net, x, context))
    torch.set_num_threads(before)
    assert set(parts) == {3}
    assert torch.allclose(results[0][0], results[1][0], atol=1e-3)
    for name, slope in results[0][1].items():
        assert torch.allclose(slope, results[1][1][name], rtol=1e-4, atol=1e-4 * float(slope.abs().max())), name
