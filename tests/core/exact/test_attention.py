"""Attention by its definition in Python's integers: all at once, wave by wave, and beside the real function."""

import math
from itertools import pairwise

import numpy as np
import oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from whole_numbers import activations, check_equal, fill, tensor, threads

from bbcodec.errors import InexactArithmetic
from bbcodec.exact import attention
from bbcodec.exact.activations import gelu
from bbcodec.exact.arithmetic import BOUND, guard
from bbcodec.exact.attention import (
    Attention,
    Cache,
    DepthAttention,
    NonLocal,
    attend,
    attend_depth,
    divided,
    earlier_waves,
    weighed,
)
from bbcodec.exact.layers import exact_layers, set_safe
from bbcodec.exact.wave_order import WaveOrder

SEEDS = st.integers(0, 2**31)
SIDES = st.sampled_from([(1, 1), (1, 7), (6, 1), (2, 2), (4, 5), (7, 6)])
EXP = [round(2**24 * math.exp(-b / 256)) for b in range(4608)]


def read_one(q: list[int], keys: list[list[int]], values: list[list[int]]) -> list[int]:
    """The definition for one query and the keys that it sees, in Python's integers."""
    if not keys:
        return [0] * len(values[0]) if values else []
    scores = [sum(a * b for a, b in zip(q, key, strict=True)) for key in keys]
    shift = 8 + len(q).bit_length() // 2
    weights = [EXP[min((max(scores) - score) >> shift, 4607)] for score in scores]
    total = sum(weights)
    sums = [sum(w * v[c] for w, v in zip(weights, values, strict=True)) for c in range(len(values[0]))]
    return [(2 * s + total) // (2 * total) for s in sums]


def attend_oracle(q, k, v, runs) -> oracle.Ints:
    """(B, heads, N, d), (B, heads, M, d), (B, heads, M, e) and a (start, stop) for each query -> (B, heads, N, e)."""
    out = np.zeros((*q.shape[:3], v.shape[3]), np.int64)
    for b, h, n in np.ndindex(q.shape[:3]):
        start, stop = runs[n]
        if start < stop:
            out[b, h, n] = read_one(q[b, h, n].tolist(), k[b, h, start:stop].tolist(), v[b, h, start:stop].tolist())
    return out


def example(seed: int, n: int, m: int, size: int, bound: int = BOUND):
    """Queries, keys, values and runs; a third of the numbers at the bound, some queries that see nothing."""
    rng = np.random.default_rng(seed)
    q, k = activations((2, 2, n, size), bound, seed), activations((2, 2, m, size), bound, seed + 1)
    v = activations((2, 2, m, 3), BOUND, seed + 2)
    runs = [tuple(sorted(rng.integers(0, m + 1, 2).tolist())) for _ in range(n)]
    starts, stops = (torch.tensor(x) for x in zip(*runs, strict=True))
    return q, k, v, runs, starts, stops


@given(SEEDS, st.integers(1, 9), st.integers(1, 12), st.sampled_from([1, 2, 5, 16]), st.sampled_from([30, BOUND]))
@settings(max_examples=60, deadline=None)
def test_all_paths_agree_with_the_oracle(seed, n, m, size, bound):
    """Small numbers, where many keys have a say, and large ones, where one has all."""
    q, k, v, runs, starts, stops = example(seed, n, m, size, bound)
    expected = attend_oracle(q, k, v, runs)
    with guard():
        check_equal(attend(tensor(q), tensor(k), tensor(v), starts, stops), expected)
        check_equal(attend(tensor(q).requires_grad_(), tensor(k), tensor(v), starts, stops), expected)
        scores = torch.from_numpy(q).double() @ torch.from_numpy(k).double().transpose(-1, -2)
        weights, total = weighed(scores, starts, stops, 8 + size.bit_length() // 2)
        check_equal(divided(weights @ torch.from_numpy(v).double(), total), expected)


@pytest.mark.parametrize(("scores", "run"), [(1, 1), (50, 3), (2**21, 4), (7, 128)])
def test_parts_do_not_matter(scores, run, monkeypatch):
    """However few queries or images are worked on together, and with however many threads."""
    q, k, v, runs, starts, stops = example(5, 11, 9, 4, 200)
    monkeypatch.setattr(attention, "MAX_SCORES", scores)
    monkeypatch.setattr(attention, "RUN", run)
    with threads(4):
        check_equal(attend(tensor(q), tensor(k), tensor(v), starts, stops), attend_oracle(q, k, v, runs))


def test_the_most_that_sums_can_be():
    """2**18 keys of the greatest score and value: the sum of values is just below 2**53, and is exact."""
    m = 2**18
    q = torch.full((1, 1, 1, 2), float(BOUND))
    v = torch.full((1, 1, m, 1), float(BOUND))
    v[..., 0, 0] = BOUND - 1
    seen = torch.zeros(1, dtype=torch.int64), torch.full((1,), m)
    assert attend(q, q.expand(1, 1, m, 2), v, *seen).item() == BOUND
    v[..., m // 2 :, 0] = 1 - BOUND
    assert attend(q, q.expand(1, 1, m, 2), v, *seen).item() == 0  # just below a half
    v[..., 0, 0] = BOUND
    assert attend(q, q.expand(1, 1, m, 2), v, *seen).item() == 1  # a half, rounded up
    with pytest.raises(ValueError, match="at most 262144"):
        attend(q, q.expand(1, 1, m + 1, 2), q[..., :1].expand(1, 1, m + 1, 1), seen[0], seen[1] + 1)


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_it_is_softmax_attention_rounded(seed):
    """Weights are cut to 1/256 nat and 24 bits: within 1 % of the real average, and a unit."""
    q, k, v, _, _, _ = example(seed, 5, 9, 16, 300)
    everything = torch.zeros(5, dtype=torch.int64), torch.full((5,), 9)
    logits = np.einsum("bhnd,bhmd->bhnm", q, k) / 65536 / 4
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    real = (weights / weights.sum(-1, keepdims=True)) @ v
    inputs = tensor(q), tensor(k), tensor(v)
    assert np.abs(attend(*inputs, *everything).numpy() - real).max() < 0.01 * BOUND
    assert np.allclose(attend(*inputs, *everything, exact=False).numpy(), real, atol=0.05)


def test_gradients_are_those_of_softmax_attention():
    q, k, v, runs, starts, stops = example(3, 6, 8, 4, 200)
    found = [tensor(x).requires_grad_() for x in (q, k, v)]
    weight = torch.randn(2, 2, 6, 3, generator=torch.Generator().manual_seed(0))
    (attend(*found, starts, stops) * weight).sum().backward()
    real = [torch.from_numpy(x).double().requires_grad_() for x in (q, k, v)]
    mask = torch.tensor([[a <= m < b for m in range(8)] for a, b in runs])
    logits = (real[0] @ real[1].transpose(-1, -2) / 65536 / 2).masked_fill(~mask, -1e30)
    y = (torch.softmax(logits, -1) * mask) @ real[2]
    (y * weight).sum().backward()
    for one, other in zip(found, real, strict=True):
        assert torch.isfinite(one.grad).all()
        assert torch.allclose(one.grad.double(), other.grad, atol=1e-4)


def test_the_table_of_weights():
    assert attention.EXP.tolist() == EXP
    assert EXP[-1] == 0
    assert all(a >= b for a, b in pairwise(EXP))
    exact = np.array([2**24 * math.exp(-b / 256) for b in range(4608)])
    assert np.abs(exact % 1 - 0.5).min() > 5e-5  # so any maths library that is right to that builds the same table


def test_a_table_that_differs_is_refused(monkeypatch):
    monkeypatch.setattr(attention, "_DIGEST", "00")
    with pytest.raises(InexactArithmetic, match="attention weights"):
        attention.exp_table()


# --- waves -----------------------------------------------------------------------------------------------------------


@given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 4), st.integers(1, 70))
def test_a_pixel_sees_the_last_pixels_of_earlier_waves(height, width, skew, window):
    pixels = [pixel for wave in oracle.wave_order(height, width, skew) for pixel in wave]
    starts, stops = earlier_waves(WaveOrder(height, width, skew), window)
    for n, pixel in enumerate(pixels):
        t = oracle.wave_number(*pixel, skew)
        earlier = [m for m, other in enumerate(pixels) if oracle.wave_number(*other, skew) < t]
        assert list(range(starts[n], stops[n])) == earlier[-window:]


def filled(seed: int, module: torch.nn.Module) -> dict[str, oracle.Whole]:
    """Whole numbers for every layer: of real weights as they start, or at the bound."""
    wholes = {}
    for number, (name, layer) in enumerate(exact_layers(module).items()):
        if seed % 3 == 0:
            wholes[name] = fill(layer, seed + number, min_shift=1)
            continue
        torch.manual_seed(seed + number)
        with torch.no_grad():
            layer.weight.normal_(0, layer.fan_in**-0.5)
            layer.bias.normal_()
        layer.freeze()
        parts = {part: value.numpy().astype(np.int64) for part, value in layer.integers().items()}
        wholes[name] = oracle.Whole(parts["weight"], parts["bias"], parts["scale"])
    return wholes


def heads_of(x: oracle.Ints, heads: int) -> oracle.Ints:
    """(B, N, heads * size), clamped, to (B, heads, N, size)."""
    return oracle.clamped(x).reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3)


def attention_oracle(wholes, heads: int, x, other, runs) -> oracle.Ints:
    q = heads_of(oracle.linear(wholes["query"], x), heads)
    k, v = (heads_of(part, heads) for part in np.split(oracle.linear(wholes["pair"], other), 2, -1))
    y = attend_oracle(q, k, v, runs).transpose(0, 2, 1, 3)
    return oracle.linear(wholes["join"], y.reshape(*y.shape[:2], -1))


@given(SEEDS, SIDES, st.sampled_from([3, 16, 100]), st.sampled_from([2, 3]), st.booleans())
@settings(max_examples=40, deadline=None)
def test_in_parallel_and_in_waves(seed, sides, window, skew, safe):
    """By the definition, all at once, while learning, and wave by wave from a cache: equal to the last bit."""
    height, width = sides
    layer = Attention(4, 5, 3, heads=2, size=4)
    wholes = filled(seed, layer)
    set_safe(layer, safe)
    x, other = activations((2, height * width, 4), BOUND, seed), activations((2, height * width, 5), BOUND, seed + 9)
    order = [i * width + j for wave in oracle.wave_order(height, width, skew) for i, j in wave]
    waves_of = [oracle.wave_number(n // width, n % width, skew) for n in order]
    runs = [(max(0, stop - window), stop) for stop in (sum(u < t for u in waves_of) for t in waves_of)]
    expected = attention_oracle(wholes, 2, x[:, order], other[:, order], runs)
    expected = expected[:, np.argsort(order)]
    with guard():
        check_equal(layer.in_waves(tensor(x).requires_grad_(), tensor(other), height, width, window, skew), expected)
        with torch.no_grad():
            check_equal(layer.in_waves(tensor(x), tensor(other), height, width, window, skew), expected)
            out = torch.full((2, height * width, 3), float("nan"))
            cache = Cache(window, height * width)
            for wave in WaveOrder(height, width, skew):
                i, j = wave.pixels()
                places = i * width + j
                out[:, places] = layer.wave(tensor(x)[:, places], cache)
                layer.put(tensor(other)[:, places], cache)
        check_equal(out, expected)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(1, 12))
def test_a_cache_keeps_the_last_pixels(rows, window):
    cache, every = Cache(window, sum(rows)), []
    assert cache.seen() is None
    for n in rows:
        numbers = torch.arange(len(every), len(every) + n).float()
        cache.put(numbers.view(1, 1, n, 1).expand(2, 3, n, 1), -numbers.view(1, 1, n, 1).expand(2, 3, n, 1))
        every += numbers.tolist()
        k, v = cache.seen()
        assert k[1, 2, :, 0].tolist() == every[-window:]
        assert v[0, 1, :, 0].tolist() == [-x for x in every[-window:]]
        assert cache.keys.shape[2] <= 2 * window + 2 * max(rows)


@given(SEEDS, st.booleans())
@settings(max_examples=20, deadline=None)
def test_non_local_blocks_see_everything(seed, learning):
    block = NonLocal(4, heads=2, size=3)
    wholes = {name.removeprefix("attention."): whole for name, whole in filled(seed, block).items()}
    x = activations((2, 4, 3, 5), BOUND, seed)
    rows = x.reshape(2, 4, 15).transpose(0, 2, 1)
    y = attention_oracle(wholes, 2, rows, rows, [(0, 15)] * 15)
    expected = oracle.clamped(x + y.transpose(0, 2, 1).reshape(x.shape))
    check_equal(block(tensor(x).requires_grad_(learning)), expected)


def test_non_local_blocks_start_from_nothing_and_learn():
    torch.manual_seed(0)
    block, x = NonLocal(4, 2, 3), tensor(activations((1, 4, 3, 3), 500, 0))
    assert torch.equal(block(x), x)
    block(x).square().sum().backward()
    assert block.attention.join.weight.grad.abs().sum() > 0


# --- depth -----------------------------------------------------------------------------------------------------------


@given(SEEDS, st.integers(1, 6), st.booleans())
@settings(max_examples=30, deadline=None)
def test_depth_attention_agrees_with_the_oracle(seed, depth, learning):
    query = activations((2, 3, 2, 4), 200, seed)
    keys = [activations((2, 3, 2, 4), 200, seed + n) for n in range(1, depth + 1)]
    contexts = [activations((2, 5, 2, 4), BOUND, seed + 50 + n) for n in range(depth)]
    expected = np.zeros((2, 5, 2, 4), np.int64)
    for b, i, j in np.ndindex(2, 2, 4):
        places = [x[b, :, i, j].tolist() for x in keys], [x[b, :, i, j].tolist() for x in contexts]
        expected[b, :, i, j] = read_one(query[b, :, i, j].tolist(), *places)
    asked = tensor(query).requires_grad_(learning)
    check_equal(attend_depth(asked, [tensor(x) for x in keys], [tensor(x) for x in contexts]), expected)


def test_depth_attention_starts_from_the_context_and_learns():
    torch.manual_seed(0)
    layer = DepthAttention(6, 3)
    context = tensor(activations((2, 6, 3, 3), 500, 0))
    keys = [tensor(activations((2, 3, 3, 3), 300, n)) for n in (1, 2)]
    contexts = [tensor(activations((2, 6, 3, 3), 500, n)) for n in (3, 4)]
    assert torch.equal(layer(context, keys, contexts), context)
    layer(context, keys, contexts).square().sum().backward()
    assert layer.gamma.weight.grad.abs().item() > 0
    with torch.no_grad():
        layer.gamma.weight.fill_(0.5)
    layer.zero_grad()
    out = layer(context, keys, contexts)
    out.square().sum().backward()
    assert all(p.weight.grad.abs().sum() > 0 for p in exact_layers(layer).values())
    with torch.no_grad():
        q = layer.query(context).clamp(-BOUND, BOUND)
        read = attend_depth(q, keys, contexts)
        lifted = read + gelu(layer.lift.norm(read.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        assert torch.equal(out, (context + (lifted.clamp(-BOUND, BOUND) / 2).round()).clamp(-BOUND, BOUND))


def test_another_map_may_ask_for_a_context():
    """The query is made from what asks; what is read is added to the context (eq. 11)."""
    torch.manual_seed(0)
    layer = DepthAttention(6, 3)
    with torch.no_grad():
        layer.gamma.weight.fill_(1.0)
    context, asks, *contexts = (tensor(activations((2, 6, 3, 3), 500, n)) for n in range(4))
    keys = [tensor(activations((2, 3, 3, 3), 300, n)) for n in (4, 5)]
    nothing = torch.zeros_like(context)
    with torch.no_grad():
        read = layer(nothing, keys, contexts, asks)
        assert torch.equal(layer(context, keys, contexts, asks), (context + read).clamp(-BOUND, BOUND))
        assert torch.equal(layer(asks, keys, contexts), (asks + read).clamp(-BOUND, BOUND))
        assert not torch.equal(layer(context, keys, contexts), layer(context, keys, contexts, asks))


def test_codec_files_hold_every_layer():
    """What a depth attention and an attention are made of can be fixed and loaded, and gives the same numbers."""
    torch.manual_seed(0)
    for make in (lambda: DepthAttention(6, 3), lambda: NonLocal(6, 2, 3)):
        one, other = make(), make()
        for name, layer in exact_layers(one).items():
            with torch.no_grad():
                layer.weight.normal_(0, 0.3)
            layer.freeze()
            exact_layers(other)[name].load_stored(**layer.stored())
        x = tensor(activations((1, 6, 2, 2), BOUND, 0))
        inputs = (x, [x[:, :3], -x[:, 3:]], [x, -x]) if isinstance(one, DepthAttention) else (x,)
        assert torch.equal(one(*inputs), other(*inputs))
        assert not torch.equal(one(*inputs), x)
