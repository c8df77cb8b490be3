"""The 8-bit local net: in parallel, in bands, wave by wave, by the definition, and from what compiled code takes."""

import numpy as np
import oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import Ints, Whole
from test_quantised import fill_shifted, shifted
from whole_numbers import check_equal, onednn, stored_arrays, tensor, threads

from bbcodec.coder.ans import AnsStack
from bbcodec.distributions.autoregressive import Autoregressive
from bbcodec.distributions.logistic import LogisticMixture
from bbcodec.engine.local_net import laid_out
from bbcodec.exact.arithmetic import guard
from bbcodec.exact.layers import exact_layers, set_exact, set_safe
from bbcodec.exact.local_net import LocalNet
from bbcodec.exact.masked_conv import spread

SIDES = st.sampled_from([(1, 1), (1, 9), (9, 1), (2, 2), (5, 3), (6, 11)])
SEEDS = st.integers(0, 2**31)
RADII = st.sampled_from([(), (1,), (0,), (1, 0, 1)])
BOUND = 1024


def filled_net(seed: int, **sizes: object) -> tuple[LocalNet, dict[str, Whole]]:
    """A net and its whole numbers: extreme ones, or of fresh real weights, which saturate little."""
    torch.manual_seed(seed)
    net = LocalNet(
        **{"cin": 2, "hidden": 5, "inner": 4, "radii": (1, 0), "cout": 3, "radius": 2, "bound": BOUND} | sizes
    )
    wholes = {}
    for n, (name, layer) in enumerate(exact_layers(net).items()):
        if seed % 4 == 0:
            wholes[name] = fill_shifted(layer, seed + n)
            continue
        with torch.no_grad():
            layer.weight.copy_(torch.randn_like(layer.weight) * layer.fan_in**-0.5 * layer.mask)
            layer.bias.normal_()
        layer.freeze()
        parts = {part: value.numpy().astype(np.int64) for part, value in layer.integers().items()}
        wholes[name] = Whole(parts["weight"], parts["bias"], parts["shift"])
    return net, wholes


def by_definition(net: LocalNet, wholes: dict[str, Whole], x: Ints, context: Ints | None) -> Ints:
    """Parameters in int64. context: at full resolution."""

    def layer(name: str, given: Ints, reach: str = "B") -> Ints:
        whole = wholes[name]
        raw = Whole(whole.weight, whole.bias, np.zeros_like(whole.shift))
        return shifted(oracle.masked_conv(raw, given, reach, net.skew), whole.shift[:, None, None])

    def entering(h: Ints) -> Ints:
        return np.clip((h + 8) >> 4, 0, 127)

    h = layer("stem", x, "A")
    h = np.clip(h if context is None else h + context, -2047, 2047)
    for n in range(len(net.blocks)):
        z = np.clip(layer(f"blocks.{n}.spatial", entering(h)), 0, 127)
        h = np.clip(h + layer(f"blocks.{n}.pointwise", z), -2047, 2047)
    a = np.clip(layer("neck", entering(h)), 0, 127)
    return layer("head", a) + layer("skip", x, "A")


def pixels(shape: tuple[int, ...], seed: int) -> Ints:
    """Embedded values within +-BOUND, a third of them at it."""
    rng = np.random.default_rng(seed + 1)
    x = rng.integers(-BOUND, BOUND + 1, shape)
    return np.where(rng.random(shape) < 1 / 3, np.where(x < 0, -BOUND, BOUND), x)


def in_waves(net: LocalNet, x: torch.Tensor, context: torch.Tensor | None = None, stride: int = 1) -> torch.Tensor:
    """The parameters that `in_waves` gives when the values drawn are those of x: (B, C', H, W)."""
    batch, _, height, width = x.shape
    values = x.permute(2, 3, 0, 1).contiguous()
    out = torch.full((height, width, batch, net.head.weight.shape[0]), float("nan"))
    seen = []

    def draw(params, i, j):
        out[i, j] = params
        seen.append(list(zip(i.tolist(), j.tolist(), strict=True)))
        return values[i, j]

    with guard():
        net.in_waves((batch, height, width), context, draw, stride)
    assert seen == list(oracle.wave_order(height, width, net.skew))
    return out.permute(2, 3, 0, 1)


@given(SEEDS, SIDES, st.sampled_from([1, 3]), RADII, st.sampled_from([0, 1, 4]), st.booleans())
@settings(max_examples=60, deadline=None)
def test_in_parallel_in_waves_and_by_definition(seed, sides, radius, radii, stride, safe):
    """stride: of the context; 0 for none."""
    net, wholes = filled_net(seed, radius=radius, radii=radii)
    set_safe(net, safe)
    x = pixels((2, 2, *sides), seed)
    context = full = None
    if stride:
        context = tensor(pixels((2, 5, -(-sides[0] // stride), -(-sides[1] // stride)), seed + 1))
        full = spread(context, stride, 0, *sides).long().numpy()
    expected = by_definition(net, wholes, x, full)
    with torch.no_grad(), guard():
        check_equal(net(tensor(x), context, stride or 1), expected)
    check_equal(in_waves(net, tensor(x), context, stride or 1), expected)


@pytest.mark.parametrize("sides", [(1, 1), (17, 5), (9, 1)])
def test_in_bands(sides, monkeypatch):
    """Large images go band by band, here of as few rows as may be."""
    monkeypatch.setattr("bbcodec.exact.local_net.BAND_PIXELS", 1)
    for seed in range(4):
        net, wholes = filled_net(seed, radii=(1, 0, 1))
        x, context = pixels((2, 2, *sides), seed), pixels((2, 5, *sides), seed + 1)
        with torch.no_grad(), guard():
            check_equal(net(tensor(x), tensor(context)), by_definition(net, wholes, x, context))


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("n_threads", [1, 4])
def test_at_all_batch_sizes_threads_and_kernels(enabled, n_threads):
    net, wholes = filled_net(1, cin=3, hidden=16, inner=24, cout=6)
    x = pixels((17, 3, 6, 7), 5)
    expected = by_definition(net, wholes, x, None)
    with threads(n_threads), onednn(enabled):
        for batch in (1, 17):
            with torch.no_grad(), guard():
                check_equal(net(tensor(x[:batch])), expected[:batch])
            check_equal(in_waves(net, tensor(x[:batch])), expected[:batch])


def test_training_evaluates_the_coded_network():
    torch.manual_seed(0)
    net = LocalNet(3, 16, 8, (1, 0, 1), 5, bound=BOUND)
    x = tensor(pixels((4, 3, 12, 12), 0))
    with guard():
        learning = net(x)
        for layer in exact_layers(net).values():
            layer.freeze()
        with torch.no_grad():
            assert torch.equal(net(x), learning)
    learning.sum().backward()
    assert all(layer.weight.grad is not None for layer in exact_layers(net).values())


def test_early_training_stays_close_to_the_coded_network():
    torch.manual_seed(0)
    net = LocalNet(3, 32, 32, (1, 1), 5, bound=BOUND)
    x = tensor(pixels((1, 3, 16, 16), 0))
    with torch.no_grad():
        coded = net(x)
        set_exact(net, False)
        smooth = net(x)
    assert not torch.equal(smooth, smooth.round())
    assert (smooth - coded).abs().mean() < 0.02 * coded.abs().mean() + 2


@given(SEEDS, st.sampled_from([(1, 6), (4, 1), (4, 5)]), st.data())
@settings(max_examples=30, deadline=None)
def test_a_pixel_changes_no_parameters_of_its_own_wave_or_before(seed, sides, data):
    net, _ = filled_net(4 * seed + 1)
    height, width = sides
    i = data.draw(st.integers(0, height - 1))
    j = data.draw(st.integers(0, width - 1))
    x = pixels((1, 2, height, width), seed)
    other = x.copy()
    other[0, :, i, j] = np.where(x[0, :, i, j] > 0, -BOUND, BOUND)
    with torch.no_grad(), guard():
        changed = (net(tensor(x)) != net(tensor(other)))[0].any(0).numpy()
    times = np.array([[oracle.wave_number(a, b, net.skew) for b in range(width)] for a in range(height)])
    assert not changed[times <= times[i, j]].any()
    if j + 1 < width:
        assert changed[times > times[i, j]].any()


def from_arrays(arrays: dict[str, np.ndarray], x: Ints, context: Ints) -> Ints:
    """Parameters (H, W, C') of one image (C, H, W), pixel by pixel from arrays as compiled code has them."""
    _, height, width = x.shape

    def at(name: str, maps: Ints, i: int, j: int) -> Ints:
        weight, bias, shift, taps = (arrays[f"{name}.{part}"] for part in ("weight", "bias", "shift", "taps"))
        columns = []
        for di, dj in taps.astype(int):
            inside = 0 <= i + di < height and 0 <= j + dj < width
            columns.append(maps[:, i + di, j + dj] if inside else np.zeros(len(maps), np.int64))
        return (np.concatenate(columns) @ weight.astype(np.int64) + bias) >> shift

    def everywhere(name: str, maps: Ints) -> Ints:
        return np.stack([np.stack([at(name, maps, i, j) for j in range(width)], -1) for i in range(height)], -2)

    h = np.clip(everywhere("stem", x) + context, -2047, 2047)
    n_blocks = sum(name.endswith("spatial.weight") for name in arrays)
    for n in range(n_blocks):
        z = np.clip(everywhere(f"blocks.{n}.spatial", np.clip((h + 8) >> 4, 0, 127)), 0, 127)
        h = np.clip(h + everywhere(f"blocks.{n}.pointwise", z), -2047, 2047)
    a = np.clip(everywhere("neck", np.clip((h + 8) >> 4, 0, 127)), 0, 127)
    return everywhere("head", a) + everywhere("skip", x)


@given(SEEDS)
@settings(max_examples=10, deadline=None)
def test_what_compiled_code_takes_gives_the_same_parameters(seed):
    net, wholes = filled_net(seed, radii=(1, 0))
    arrays = laid_out(stored_arrays(net), (1, 0), 2)
    assert {name: array.dtype for name, array in arrays.items() if name.startswith("blocks.0.spatial")} == {
        "blocks.0.spatial.weight": np.int8,
        "blocks.0.spatial.bias": np.int32,
        "blocks.0.spatial.shift": np.int8,
        "blocks.0.spatial.taps": np.int8,
    }
    assert arrays["stem.weight"].dtype == np.int16
    x, context = pixels((1, 2, 4, 5), seed), pixels((1, 5, 4, 5), seed + 1)
    expected = by_definition(net, wholes, x, context)
    assert (from_arrays(arrays, x[0], context[0]) == expected[0]).all()


def test_pushed_in_parallel_popped_in_waves():
    torch.manual_seed(0)
    net = LocalNet(2, 8, 6, (1, 0), 6, bound=BOUND)
    for layer in exact_layers(net).values():
        layer.freeze()

    def embed(values: torch.Tensor) -> torch.Tensor:
        return torch.cat([(values - 128) * 8, torch.full_like(values, 256)], 1)

    value = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 1, 9, 6))).float()
    pixels_given = Autoregressive(net, lambda params: LogisticMixture(params, 1), embed, tuple(value.shape))  # type: ignore[arg-type]
    stack = AnsStack()
    with torch.no_grad(), guard():
        pixels_given.push(stack, value)
        assert torch.equal(pixels_given.pop(stack), value)
