"""Random local nets within the bounds, and the numpy oracle: all pixels in parallel, in int64, tap by tap.

A net is a dict of arrays by the names of its layers, as `bbcodec.engine.local_net.packed` takes it.
"""

import numpy as np


def taps(radius, own):
    """The open taps of a kernel; own: with the pixel itself (kind B)."""
    rows, columns = range(-radius, 1), range(-radius, radius + 1)
    return [(di, dj) for di in rows for dj in columns if dj + 2 * di < 0 or (own and di == dj == 0)]


def outputs(net, name, x):
    """Rounded sums of a layer, (B, H, W, outputs); x: (B, H, W, C) int64, zero outside."""
    batch, height, width, channels = x.shape
    weight, shift, offsets = (
        net[f"{name}.weight"].astype(np.int64),
        net[f"{name}.shift"].astype(np.int64),
        net[f"{name}.taps"],
    )
    r = int(np.abs(offsets).max())
    padded = np.pad(x, ((0, 0), (r, r), (r, r), (0, 0)))
    sums = np.zeros((batch, height, width, len(shift)), np.int64) + net[f"{name}.bias"]
    for (di, dj), w in zip(offsets.tolist(), weight.reshape(len(offsets), channels, -1), strict=True):
        sums += padded[:, r + di : r + di + height, r + dj : r + dj + width] @ w
    assert np.abs(sums).max() < 2**24
    return sums >> shift


def oracle(net, embedding, inside, images, context=None, stride=1):
    """Parameters (B, H, W, P) int64 of images (B, C, H, W)."""
    batch, _, height, width = images.shape
    x = embedding.astype(np.int64)[images].transpose(0, 2, 3, 1)
    x = np.concatenate([x, np.full((batch, height, width, 1), inside)], -1)
    h = outputs(net, "stem", x)
    if context is not None:
        spread = context.astype(np.int64).repeat(stride, 2).repeat(stride, 3)[:, :, :height, :width]
        h = h + spread.transpose(0, 2, 3, 1)
    h = h.clip(-2047, 2047)
    for block in range(sum(name.endswith("spatial.weight") for name in net)):
        a = ((h + 8) >> 4).clip(0, 127)
        z = outputs(net, f"blocks.{block}.spatial", a).clip(0, 127)
        h = (h + outputs(net, f"blocks.{block}.pointwise", z)).clip(-2047, 2047)
    z = outputs(net, "neck", ((h + 8) >> 4).clip(0, 127)).clip(0, 127)
    return outputs(net, "head", z) + outputs(net, "skip", x)


def random_layer(rng, offsets, inputs, channels, bound, gain, wide=False, extreme=False):
    """Parts of a layer whose sums stay below 2**24 for inputs within +-bound; its outputs are about `gain` large."""
    shape, most = (len(offsets) * inputs, channels), 2047 if wide else 127
    weight = rng.choice([-most, most], shape) if extreme else rng.integers(-most, most + 1, shape)
    keep = np.minimum(1, (2**24 - 2) // 2 / bound / np.abs(weight).sum(0))
    weight = np.trunc(weight * keep).astype(np.int16 if wide else np.int8)
    large = 2**22 if extreme else 2**14
    size = bound / 2 * np.sqrt((weight.astype(np.float64) ** 2).sum(0)) + 1
    shift = np.clip(np.log2(size / gain).round() + rng.integers(-1, 2, channels), 0, 20).astype(np.int8)
    bias = rng.integers(-large, large, channels) + ((1 << shift.astype(np.int64)) >> 1)
    return {"weight": weight, "bias": bias.astype(np.int32), "shift": shift, "taps": np.array(offsets, np.int8)}


EMBEDDING, INSIDE = ((np.arange(256) - 128) * 8).astype(np.int16), 256


def random_net(seed, channels=3, hidden=64, inner=64, radii=(1,) * 5, params=60, radius=3, extreme=False):
    """A net of random weights; radii: of the spatial layers; extreme: weights of the greatest size allowed."""
    rng = np.random.default_rng(seed)
    layers = {
        "stem": (taps(radius, False), channels + 1, hidden, 1024, 400.0, True),
        "neck": ([(0, 0)], hidden, hidden, 127, 60.0),
        "head": ([(0, 0)], hidden, params, 127, 150.0, True),
        "skip": (taps(min(radius, 2), False), channels + 1, params, 1024, 100.0, True),
    }
    for block, each in enumerate(radii):
        layers[f"blocks.{block}.spatial"] = taps(each, True), hidden, inner, 127, 60.0
        layers[f"blocks.{block}.pointwise"] = [(0, 0)], inner, hidden, 127, 200.0
    return {
        f"{name}.{part}": numbers
        for name, layer in layers.items()
        for part, numbers in random_layer(rng, *layer, extreme=extreme).items()
    }
