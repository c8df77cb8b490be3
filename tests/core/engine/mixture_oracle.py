"""The coded mixture of logistics from its definition, in numpy int64, for every value of a channel at once."""

import numpy as np

from bbcodec.engine.logistic import CUMULATIVE, POWERS

KNOTS = CUMULATIVE.view(np.uint32).astype(np.int64)


def octaves(x):
    return (x * 23637 + 8192) >> 14


def weights_of(e):
    """Weights (N, K) of sum 4,096 from numbers e (N, K), 0 .. 2**16."""
    x = e * ((1 << 30) // e.sum(1, keepdims=True))
    w = np.maximum((x + (1 << 17)) >> 18, np.minimum(x >> 15, 1))
    w[np.arange(len(e)), e.argmax(1)] += 4096 - w.sum(1)
    return w


def cumulatives(mean, log_scale, k):
    """C_j below k - 1/2: mean, log_scale (N, K, 1); k (N or 1, 1, M) -> (N, K, M)."""
    t = octaves(log_scale.clip(-1065, 1408))
    x = (256 * k - 128 - mean) * (POWERS.astype(np.int64)[t & 255] >> 3) >> ((t >> 8) + 7)
    x = x.clip(-(1 << 18), (1 << 18) - 1) + (1 << 18)
    word = KNOTS[x >> 8]
    return (word >> 12) + ((word & 4095) * (x & 255) >> 8)


def starts(params, channels, joint, values):
    """start(0 .. 256) of every channel given the values of those before: (N, C, 257) int64. values: (N, C)."""
    return mixtures(params, channels, joint, values)[0]


def mixtures(params, channels, joint, values):
    """The same, and means of mixtures within the levels, (N, C), in 1/256 level."""
    p, n = params.astype(np.int64), len(params)
    count = p.shape[1] // (3 if channels == 1 else 10 if joint else 12)
    rows = p.reshape(n, -1, count)
    first = 1 if joint else channels
    logits, means, log_scales, coefficients = np.split(rows, [first, first + channels, first + 2 * channels], 1)
    coefficients = coefficients.clip(-1023, 1023)
    out, middles, errors = np.zeros((n, channels, 257), np.int64), np.zeros((n, channels), np.int64), []
    for c in range(channels):
        mean = means[:, c] * 8 + 128 * 256
        if c == 1:
            mean = mean + (coefficients[:, 0] * errors[0] >> 8)
        if c == 2:
            mean = mean + (coefficients[:, 1] * errors[0] + coefficients[:, 2] * errors[1] >> 8)
        mean = mean.clip(-256 * 256, 512 * 256)
        if c == 0 or not joint:
            below = octaves(np.minimum(logits[:, c].max(1, keepdims=True) - logits[:, c], 4095))
            weights = weights_of(POWERS.astype(np.int64)[below & 255] >> (below >> 8))
        middles[:, c] = ((weights * mean).sum(1) >> 12).clip(0, 255 * 256)
        k = np.arange(1, 256)
        each = cumulatives(mean[..., None], log_scales[:, c, :, None], k[None, None])  # (N, K, 255)
        g = (weights[..., None] * each).sum(1) >> 8
        out[:, c, 1:256] = g - (g >> 16) + k
        out[:, c, 256] = 1 << 24
        here = values[:, c].astype(np.int64)
        errors.append(256 * here[:, None] - mean)
        if joint:
            ends = np.concatenate([np.zeros((n, count, 1), np.int64), each, np.full((n, count, 1), (1 << 20) - 1)], 2)
            index = np.broadcast_to(here[:, None, None], (n, count, 1))
            mass = np.take_along_axis(ends, index + 1, 2) - np.take_along_axis(ends, index, 2)
            likely = weights * np.maximum(mass[..., 0], 1) >> 1
            up = 31 - np.array([int(v).bit_length() for v in likely.max(1)])
            weights = weights_of((likely << up[:, None]) >> 15)
    return out, middles
