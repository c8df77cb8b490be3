"""Mixed messages from docs/coding.md 16, in plain Python; parameters and mixtures are those of the other oracles."""

from mixture_oracle import mixtures
from plain_prediction import PlainLines, PlainMixing, message, q_of, r_of

from bbcodec.coder.tables import LOG2

LOG2 = [int(each) for each in LOG2]


def log2(mass):
    """log2 in 2**-24."""
    e = mass.bit_length() - 1
    fraction = (mass << 36 >> e) % 2**36
    i, t = divmod(fraction, 2**24)
    return (e << 24) + (LOG2[i] + ((LOG2[i + 1] - LOG2[i]) * t >> 24) + 128 >> 8)


class PlainMixed(PlainMixing):
    """Intervals of the samples of batches of images (B, C, H, W)."""

    start = [0] * 7 + [2**16]

    def __init__(self):
        super().__init__()
        self.lines = PlainLines(2**17, 17)

    def batch(self, images, params, joint):
        """Messages of groups, each behind its length; params: (B, H, W, P)."""
        count, channels, height, width = images.shape
        self.errors, parts, start, samples = [{} for _ in images], [], len(self.intervals), 0
        for t in range(width + 2 * (height - 1)):
            places = [(b, i, t - 2 * i) for b in range(count) for i in range(height) if 0 <= t - 2 * i < width]
            for first in range(0, len(places), 16):
                self.sixteen(images, params, joint, places[first : first + 16])
            samples += channels * len(places)
            if samples >= 2**17 or t == width + 2 * (height - 1) - 1:
                parts.append(message(self.intervals[start:]))
                start, samples = len(self.intervals), 0
        return parts

    def sixteen(self, images, params, joint, places):
        b, i, j = zip(*places, strict=True)
        x = images.transpose(0, 2, 3, 1)[b, i, j]
        starts, means = mixtures(params[b, i, j], images.shape[1], joint, x)
        for self.channel in range(images.shape[1]):
            for place, values, masses, mean in zip(places, x, starts, means, strict=True):
                sums = [int(each) for each in masses[self.channel]]
                self.sample(images, *place, int(values[self.channel]), sums, int(mean[self.channel]))

    def sample(self, images, b, i, j, x, sums, mean):
        whole = mean + 128 >> 8
        doubt = min((24 << 24) - log2(sums[whole + 1] - sums[whole]) >> 22, 63)
        self.contexts = self.contexts_of(images[b].astype(int), self.errors[b], i, j, whole, doubt)

        def see_others(*bits):
            if self.channel:
                last, first = (int(images[b][k, i, j]) for k in (self.channel - 1, 0))
                self.take_joint((3, 2), self.lines, last, whole, first, *bits)

        self.joint = {}
        see_others()
        self.code(x - whole, whole, [sums[min(max(k, 0), 256)] for k in range(-256, 768)], 4 * doubt, see_others)
        self.errors[b][self.channel, i, j] = 16 * x - (mean + 8 >> 4)
        self.samples += 1

    def contexts_of(self, planes, errors, i, j, whole, doubt):
        def value(k, di, dj):
            return int(planes[k, i + di, j + dj])

        def left(k):
            return value(k, 0, -1) if j else value(k, -1, 0) if i else 0

        def above(k):
            return value(k, -1, 0) if i else left(k)

        def error(di, dj):
            return errors.get((c, i + di, min(j + dj, planes.shape[2] - 1)), 0)

        c = self.channel
        w, n, ww, nn = error(0, -1), error(-1, 0), error(0, -2), error(-2, 0)
        before = errors[c - 1, i, j] if c else ww
        last, from_last = (value(c - 1, 0, 0), left(c) + value(c - 1, 0, 0) - left(c - 1)) if c else (0, left(c))
        from_first = value(0, 0, 0) - left(0), value(0, 0, 0) - above(0)
        across, down = (left(c) + from_first[0], above(c) + from_first[1]) if c else (left(c), above(c))
        u = q_of((2 * abs(w) + 2 * abs(n) + abs(error(-1, -1)) + abs(error(-1, 1)) + abs(ww) + abs(nn)) >> 3)
        return (
            (across - whole) % 64 * 64 + (down - whole) % 64,
            16 * r_of(w) + r_of(n),
            (last - whole) % 256 * 16 + r_of(before),
            whole,
            16 * r_of(ww) + r_of(nn),
            (from_last - whole) % 64 * 64 + 4 * r_of(before) + min(doubt // 16, 3),
            min(doubt // 2, 31) * 64 + min(u, 63),
        )

    def code(self, e, whole, sums, level, see_others):
        """sums: start of k at k + 256."""

        def beyond(size):
            return 2**24 - sums[256 + whole + size] if e > 0 else sums[256 + whole - size + 1]

        below, above = sums[256 + whole], 2**24 - sums[257 + whole]
        self.choose(e != 0, 0, level, below + above, 2**24 - below - above)
        if e == 0:
            return
        self.choose(e > 0, 1, level + 1, above, below)
        a, bits = abs(e), abs(e).bit_length()
        for c in range(1, min(bits + 1, 8)):
            self.choose(bits > c, 1 + c, level + 2, beyond(2**c), beyond(2 ** (c - 1)) - beyond(2**c))
        if bits > 1:
            see_others(bits, 9 + 7 * (bits - 2))
        left, low, high = bits - 1, 2 ** (bits - 1), 2**bits
        for known in range(min(left, 3)):
            middle = low + high >> 1
            tree = a >> left - known
            decision = 9 + 7 * (bits - 2) + tree - 1
            self.choose(a >= middle, decision, level + 3, beyond(middle) - beyond(high), beyond(low) - beyond(middle))
            low, high = (middle, high) if a >= middle else (low, middle)
        if left > 3:
            self.intervals.append((a % 2 ** (left - 3) << 19 - left, 1 << 19 - left))

    def choose(self, bit, decision, level, yes, no):
        if yes > 0 and no > 0:
            self.mix(bit, decision, level, min(max((log2(yes) - log2(no)) * 90852 >> 34, -1023), 1023))
