"""Random local nets within the bounds, and the numpy oracle: all pixels in parallel, in int64, tap by tap."""

import numpy as np

from bbcodec.engine.local_net import Layer, LocalNet, taps


def half_up(sums, shift):
    """Sums (..., channels) shifted right, half up."""
    shift = shift.astype(np.int64)
    return (sums + np.where(shift > 0, 1 << np.maximum(shift - 1, 0), 0)) >> shift


def tap_sums(x, layer, offsets):
    """x: (B, H, W, C) int64, zero outside. Sums of a layer, rounded: (B, H, W, outputs)."""
    batch, height, width, _ = x.shape
    r = max(max(-di, abs(dj)) for di, dj in offsets)
    padded = np.pad(x, ((0, 0), (r, r), (r, r), (0, 0)))
    sums = np.zeros((batch, height, width, layer.weight.shape[2]), np.int64) + layer.bias
    for (di, dj), w in zip(offsets, layer.weight.astype(np.int64), strict=True):
        sums += padded[:, r + di : r + di + height, r + dj : r + dj + width] @ w
    assert np.abs(sums).max() < 2**24
    return half_up(sums, layer.shift)


def radius_of(layer, own):
    return next(r for r in range(8) if len(taps(r, own)) == len(layer.weight))


def oracle(net, images, context=None, stride=1):
    """Parameters (B, H, W, P) int64 of images (B, C, H, W)."""
    batch, _, height, width = images.shape
    x = net.embedding.astype(np.int64)[images].transpose(0, 2, 3, 1)
    x = np.concatenate([x, np.full((batch, height, width, 1), net.inside)], -1)
    h = tap_sums(x, net.stem, taps(radius_of(net.stem, False), False))
    if context is not None:
        spread = context.astype(np.int64).repeat(stride, 2).repeat(stride, 3)[:, :, :height, :width]
        h = h + spread.transpose(0, 2, 3, 1)
    h = h.clip(-2047, 2047)
    for spatial, pointwise in zip(net.spatial, net.pointwise, strict=True):
        a = ((h + 8) >> 4).clip(0, 127)
        z = tap_sums(a, spatial, taps(radius_of(spatial, True), True)).clip(0, 127)
        h = (h + tap_sums(z, pointwise, [(0, 0)])).clip(-2047, 2047)
    z = tap_sums(((h + 8) >> 4).clip(0, 127), net.neck, [(0, 0)]).clip(0, 127)
    return tap_sums(z, net.head, [(0, 0)]) + tap_sums(x, net.skip, taps(radius_of(net.skip, False), False))


def random_layer(rng, taps_, inputs, outputs, bound, gain, wide=False, extreme=False):
    """A layer whose sums stay below 2**24 for inputs within +-bound, and whose rounded outputs are about `gain` large."""
    shape, most = (taps_, inputs, outputs), 2047 if wide else 127
    if extreme:
        weight = rng.choice([-most, most], shape)
    else:
        weight = rng.integers(-most, most + 1, shape)
    room = (2**24 - 2) // 2 / bound
    keep = np.minimum(1, room / np.abs(weight).sum((0, 1)))
    weight = np.trunc(weight * keep).astype(np.int16 if wide else np.int8)
    bias = rng.integers(-(2**22), 2**22, outputs) if extreme else rng.integers(-(2**14), 2**14, outputs)
    size = bound / 2 * np.sqrt((weight.astype(np.float64) ** 2).sum((0, 1))) + 1
    shift = np.clip(np.log2(size / gain).round() + rng.integers(-1, 2, outputs), 0, 20).astype(np.int8)
    return Layer(weight, bias.astype(np.int32), shift)


def random_net(seed, channels=3, hidden=64, inner=64, blocks=5, params=60, radius=3, spatial=1, neck=None, extreme=False):
    """A net of random weights; spatial: radius of the spatial layers; extreme: weights of the greatest size allowed."""
    rng = np.random.default_rng(seed)
    neck = neck or hidden
    a, b = len(taps(radius, False)), len(taps(min(radius, 2), False))
    unit, bound = 8, 1024

    def layer(*args, **kwargs):
        return random_layer(rng, *args, **kwargs, extreme=extreme)

    return LocalNet(
        layer(a, channels + 1, hidden, bound, 400.0, wide=True),
        tuple(layer(len(taps(spatial, True)), hidden, inner, 127, 60.0) for _ in range(blocks)),
        tuple(layer(1, inner, hidden, 127, 200.0) for _ in range(blocks)),
        layer(1, hidden, neck, 127, 60.0),
        layer(1, neck, params, 127, 150.0, wide=True),
        layer(b, channels + 1, params, bound, 100.0, wide=True),
        ((np.arange(256) - 128) * unit).astype(np.int16),
        256,
    )
