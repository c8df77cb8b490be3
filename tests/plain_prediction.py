"""Predictions that learn, once more: plain Python from docs/coding.md 15, one number at a time, without any bounds."""

from bisect import bisect_left
from itertools import product

from bbcodec.coder.ans import AnsStack
from bbcodec.coder.tables import BERNOULLI, LOGISTIC

NEIGHBOURS = (
    "0 -1, -1 0, -1 -1, -1 1, 0 -2, -2 0, -1 2, -1 -2, -2 -1, -2 1, -2 2, -2 -2, "
    "0 -3, -3 0, -3 -1, -3 1, -1 3, -1 -3, -2 3, -2 -3, -3 2, -3 -2, 0 -4, -4 0"
)


NEARBY = (0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0)


class PlainPredictor:
    """Predictions of planes, lists of rows: 15.2."""

    PLACES = tuple(tuple(map(int, pair.split())) for pair in NEIGHBOURS.split(", "))
    COUNTS, GAINS, BACK = (24, 14, 6, 24), (16384, 4096, 24576, 2048), (True, False, True, True)

    def __init__(self):
        self.weights = [{2: -(2**18), 3: 2**18} for _ in self.COUNTS]

    def begin(self, rows, before, most):
        """A plane, and the one before it, or None."""
        self.rows, self.before, self.most, self.wrong = rows, before, most, {}

    def at(self, i, j, di, dj):
        if i + di < 0:
            di, dj = 0, -1
        if j + dj < 0:
            return self.rows[i + di - 1][0] if i + di > 0 else 0
        return self.rows[i + di][min(j + dj, len(self.rows[0]) - 1)]

    def back(self, i, j, di, dj):
        height, width = len(self.before), len(self.before[0])
        return self.before[min(max(i + di, 0), height - 1)][min(max(j + dj, 0), width - 1)]

    def predict(self, i, j):
        """The prediction in 1/16 of a place, and w, n and c; `rows` holds what was coded before."""
        w, n, c = self.predict_each(i, j)
        return self.blend(i, j), w, n, c

    def predict_each(self, i, j):
        w, n, c = (self.at(i, j, *place) for place in ((0, -1), (-1, 0), (-1, -1)))
        self.f = {k: 2 * self.at(i, j, *place) - w - n for k, place in enumerate(self.PLACES)}
        if self.before:
            left, up = self.back(i, j, 0, -1), self.back(i, j, -1, 0)
            for k, place in enumerate(((0, 0), (0, 1), (1, 0), (0, -1), (-1, -1)), 24):
                self.f[k] = 2 * self.back(i, j, *place) - left - up
            self.f[29] = 2 * self.back(i, j, 0, 0) - w - n
        self.p = []
        for m, a in enumerate(self.weights):
            moved = sum(a.get(k, 0) * self.f[k] for k in self.sees(m)) >> 17
            self.p.append(min(max(8 * (w + n) + moved, 0), 16 * self.most))
        self.p.append(16 * min(max(sorted((w, n, w + n - c))[1], 0), self.most))
        return w, n, c

    def blend(self, i, j):
        near = []
        for m in range(5):
            e = [self.wrong.get((i + di, j + dj, m), 0) for di, dj in NEARBY]
            near.append(2 * e[0] + 2 * e[1] + sum(e[2:]) + 10)
        q = [(256 * min(near) // g) ** 3 for g in near]
        return sum(a * b for a, b in zip(q, self.p, strict=True)) // sum(q)

    def sees(self, m):
        return [k for k in self.f if k < self.COUNTS[m] or (k >= 24 and self.BACK[m])]

    def follow(self, i, j):
        x = self.rows[i][j]
        for m in range(5):
            self.wrong[i, j, m] = abs(16 * x - self.p[m])
        for m, a in enumerate(self.weights):
            d, count = min(max(16 * x - self.p[m], -(2**17)), 2**17), self.COUNTS[m]
            energy = 4 * count + count * d * d // 6400 + sum(self.f[k] ** 2 for k in self.sees(m))
            step = 2**20 * self.GAINS[m] * d // energy
            for k in self.sees(m):
                a[k] = min(max(a.get(k, 0) + (step * self.f[k] >> 20), -(2**22)), 2**22)


class PlainLeastSquares:
    """Weights of inputs: 15.2."""

    def __init__(self):
        self.weights, self.products, self.answers, self.count, self.turn = {}, {}, {}, 0, 0

    def estimate(self, z):
        self.z = z
        return sum(self.weights.get(k, 0) * one for k, one in enumerate(z)) >> 16

    def improve(self, answer, size):
        share = 2**40 // (size + (sum(map(abs, self.z)) >> 10) + 16)
        u, v = [one * share >> 35 for one in self.z], answer * share >> 35
        for i, one in enumerate(u):
            self.answers[i] = self.answers.get(i, 0) + one * v
            for k, other in enumerate(u):
                self.products[i, k] = self.products.get((i, k), 0) + one * other
        self.count += 1
        if self.count == 2**13:
            self.count = 2**12
            self.answers = {i: one >> 1 for i, one in self.answers.items()}
            self.products = {key: one >> 1 for key, one in self.products.items()}
        t = self.turn = self.turn if self.turn < len(u) else 0
        known = sum(self.products[t, k] * self.weights.get(k, 0) for k in range(len(u)))
        moved = ((self.answers[t] << 16) - known) // (self.products[t, t] + 2**10)
        self.weights[t] = min(max(self.weights.get(t, 0) + moved, -(2**18)), 2**18)
        self.turn += 1


def plain_tokens(images, most):
    """Tokens of ranks, a list of rows for each image, and the fine bits as text: 15.3."""
    tokens, fine, predictor, before = [], "", PlainPredictor(), None
    for rows in images:
        predictor.begin(rows, before, most)
        for i, j in product(range(len(rows)), range(len(rows[0]))):
            e = rows[i][j] - (predictor.predict(i, j)[0] + 8 >> 4)
            predictor.follow(i, j)
            k = max(0, abs(e).bit_length() - 4)
            tokens.append(128 + (e > 0) * (8 * k + (e >> k)) - (e < 0) * (8 * k + (-e >> k)))
            fine += f"{abs(e) % 2**k:0{k}b}" if k else ""
        before = rows
    return tokens, fine


def cubic(x):
    x = min(max(x, 0), len(LOGISTIC) * 2**24 - 1)
    t = x % 2**24
    c0, c1, c2, c3 = map(int, LOGISTIC[x >> 24])
    return c0 + ((c1 + ((c2 + (c3 * t >> 24)) * t >> 24)) * t >> 24)


def one(logit):
    """The probability of a one, 2**-24."""
    return 2**24 - int(BERNOULLI[min(max(logit, -2047), 2047) + 2047])


ONES = [one(logit) for logit in range(-1023, 1023)]
STRETCH = [bisect_left(ONES, (2 * i + 1) << 11) - 1023 for i in range(4096)]


def log2(z):
    return z.bit_length() - 1


def q_of(z):
    o = log2(z + 1)
    return min(79, 4 * o + (4 * (z + 1) >> o) - 4)


def r_of(z):
    return 8 + (1 if z >= 0 else -1) * min(7, log2(abs(z) | 4) - 2)


def hashed(*numbers):
    z = 0
    for number in numbers:
        z = (z ^ number + 1) * 0x2545F4914F6CDD1D % 2**64 >> 6
    return z


class PlainLines:
    """Lines of counters: 15.6. `most` bits of their number, of so many samples, for each context."""

    def __init__(self, samples, most):
        self.bits, self.lines = min(max(samples.bit_length(), 10), most), {}

    def take(self, context, z):
        """The counters of the line of a context that has a hash."""
        place, owner = (context, z >> 58 - self.bits), z % 2**31
        if self.lines.get(place, (None,))[0] != owner:
            self.lines[place] = owner, {}
        return self.lines[place][1]


class PlainMixing:
    """Intervals of decisions: 15.6; memory is in dictionaries with defaults."""

    # Weights; of learning, in the end; and how many moves of a counter are counted.
    start, rate, most = [2**14] * 8, 40, 255

    def __init__(self):
        self.channel, self.counters, self.weights, self.intervals, self.samples = 0, {}, {}, [], 0
        self.joint = {}  # contexts that see other channels: the counters of a line, and the decision that has the first

    def decide(self, bit, decision, level, b, a):
        self.mix(bit, decision, level, STRETCH[min(2**12 * b // max(1, a), 4095)])

    def cells(self, decision):
        """Where the counters of a decision are: dictionaries and keys."""
        cells = [(self.counters, (self.channel, number, h, decision)) for number, h in enumerate(self.contexts)]
        for number, (line, first) in self.joint.items():
            cells[number] = line, decision - first
        return cells

    def take_joint(self, numbers, lines, last, whole, first, count=0, decision=0):
        """Contexts of the channel that see those before: of an error, or of its bits if it has `count`."""
        both = [last, whole], [last, whole, first]
        self.joint = {
            number: (lines.take((self.channel, number), hashed(*seen, count)), decision)
            for number, seen in zip(numbers, both, strict=True)
        }

    def mix(self, bit, decision, level, own):
        cells = self.cells(decision)
        counters = [memory.get(key, (0, 0)) for memory, key in cells]
        inputs = [STRETCH[v + 2**23 >> 12] * (512 * m // (2 * m + 3)) >> 8 for v, m in counters] + [own]
        sums = []
        for key in ((self.channel, "decision", decision), (self.channel, "level", level)):
            weights = self.weights.setdefault(key, list(self.start))
            sums.append((weights, sum(x * y for x, y in zip(weights, inputs, strict=True))))
        p = self.squash(sums[0][1] + sums[1][1] >> 17)
        self.intervals.append((0, p) if bit else (p, 2**16 - p))
        rate = self.rate + 120 * 2**14 // (2**14 + self.samples)
        for weights, total in sums:
            g = (2**16 * bool(bit) - self.squash(total >> 16)) * rate >> 6
            moved = [w + (i * g + 2**13 >> 14) for w, i in zip(weights, inputs, strict=True)]
            weights[:] = [min(max(w, -(2**18) + 1), 2**18 - 1) for w in moved]
        for (memory, key), (v, m) in zip(cells, counters, strict=True):
            target = 2**23 - 1 if bit else -(2**23)
            memory[key] = v + ((target - v) * (131072 // (2 * m + 3)) >> 16), min(m + 1, self.most)

    @staticmethod
    def squash(logit):
        return min(max(one(logit) >> 8, 1), 65535)


class PlainCoder(PlainMixing):
    """Intervals of the samples of planes, 15.5 and 15.6."""

    classes, wide = 1, False

    def __init__(self, channels, pixels):
        super().__init__()
        self.predictors = [PlainPredictor() for _ in range(channels)]
        self.sizes, self.errors, self.past, self.lines = {}, {}, {}, PlainLines(pixels, 17)

    def plane(self, image, before, channel, most):
        """Code a plane of an image; returns how many intervals there are after each of its rows."""
        predictor, ends, rows, self.image = self.predictors[channel], [], image[channel], image
        predictor.begin(rows, before, most)
        self.channel, self.errors, self.width, self.height = channel, {}, len(rows[0]), len(rows)
        for i, row in enumerate(rows):
            for j, x in enumerate(row):
                self.sample(i, j, x, *self.predict(i, j))
            ends.append(len(self.intervals))
        return ends

    def predict(self, i, j):
        """P, w, n and c."""
        return self.predictors[self.channel].predict(i, j)

    def follow(self, i, j, near):
        """Learn from a sample."""
        self.predictors[self.channel].follow(i, j)

    def kind(self, i, j, guess, u):
        """The class of an error."""
        return u

    def error(self, i, j):
        return self.errors.get((i, min(j, self.width - 1)), 0) if j >= 0 else 0

    def sample(self, i, j, x, guess, w, n, c):
        whole, predictor = guess + 8 >> 4, self.predictors[self.channel]
        e = [self.error(i + di, j + dj) for di, dj in NEARBY]
        near = 2 * abs(e[0]) + 2 * abs(e[1]) + sum(map(abs, e[2:])) >> 3
        u = q_of(near)
        right = predictor.at(i, j, -1, 1) if i else w
        ahead = [(i, min(j + 1, self.width - 1)), (min(i + 1, self.height - 1), j)]
        self.contexts = (
            (w - whole) % 64 * 64 + (n - whole) % 64,
            16 * r_of(e[0]) + r_of(e[1]),
            16 * r_of(predictor.p[0] - guess) + r_of(predictor.p[4] - guess),
            16 * r_of(e[2]) + r_of(e[3]),
            whole % 4096,
            16 * q_of(4 * (abs(w - c) + abs(n - c) + abs(n - right))) + u // 5,
            128 * r_of(self.past.get((i, j), 0)) + q_of(sum(abs(self.past.get(place, 0)) for place in ahead)),
        )
        kind, q = self.kind(i, j, guess, u), self.kind(i, j, 0, u) // self.classes
        first = max(1, (4 + q % 4) * 2 ** (q // 4) * 45 >> 8), 1
        size, count = self.sizes.get((self.channel, kind), first)
        rate = 2**36 // max(184 * size // count, 179)

        def tail(d):
            return cubic((320 << 24) - d * rate)

        def joint(*bits):
            if self.channel and not self.wide:
                last, first = (self.image[k][i][j] for k in (self.channel - 1, 0))
                self.take_joint((4, 2), self.lines, last, whole, first, *bits)

        self.joint = {}
        joint()
        self.code(x - whole, 16 * whole - guess, tail, 4 * min(39, u // 2), joint)
        found = 16 * x - guess
        size, count = size + abs(found), count + 1
        self.sizes[self.channel, kind] = (size >> 1, count >> 1) if count > 400 else (size, count)
        self.errors[i, j] = self.past[i, j] = found
        self.samples += 1
        self.follow(i, j, near)

    def code(self, e, o, tail, level, joint):
        below, above = tail(8 - o), tail(8 + o)
        self.decide(e != 0, 0, level, below + above, 2**44)
        if e == 0:
            return
        self.decide(e > 0, 1, level + 1, above, below + above)
        a, t, mass, c = abs(e), (1 if e > 0 else -1), above if e > 0 else below, 1
        while True:
            z = tail(2 ** (c + 4) - 8 + t * o)
            if c < 16:
                self.decide(a.bit_length() > c, 1 + c, level + 2, z, mass)
            if a.bit_length() == c:
                break
            mass, c = z, c + 1
        mass, k, j = mass - z, 1, c - 1
        if c > 1:
            joint(c, 17 + 7 * (c - 2))
        while j and k < 8:
            j -= 1
            upper = tail(16 * (2 * k + 1) * 2**j - 8 + t * o) - z
            bit = a >> j & 1
            self.decide(bit, 17 + 7 * (c - 2) + k - 1, level + 3, upper, mass)
            mass, z, k = (upper, z, 2 * k + 1) if bit else (mass - upper, z + upper, 2 * k)
        if j:
            self.intervals.append((a % 2**j << 16 - j, 1 << 16 - j))


class PlainWideCoder(PlainCoder):
    """The same of samples of 16 bits."""

    rate, classes, wide = 10, 64, True

    def __init__(self, channels, pixels):
        super().__init__(channels, pixels)
        for predictor in self.predictors:
            predictor.weights.pop()
        self.neighbours = [PlainLeastSquares() for _ in range(channels)]
        self.predictions = [PlainLeastSquares() for _ in range(channels)]

    def predict(self, i, j):
        predictor = self.predictors[self.channel]
        w, n, c = predictor.predict_each(i, j)
        own = self.neighbours[self.channel].estimate([0 if k == 1 else 8 * f for k, f in predictor.f.items()])
        predictor.p.insert(3, self.clamp(8 * (w + n) + own))
        mean = predictor.blend(i, j)
        inputs = [p - mean for p in predictor.p] + [self.error(i + di, j + dj) for di, dj in NEARBY]
        self.mean, self.middle = mean, 8 * (w + n)
        self.guess = self.clamp(mean + self.predictions[self.channel].estimate(inputs))
        return self.guess, w, n, c

    def clamp(self, p):
        return min(max(p, 0), 16 * self.predictors[self.channel].most)

    def follow(self, i, j, near):
        predictor = self.predictors[self.channel]
        x = 16 * predictor.rows[i][j]
        self.neighbours[self.channel].improve(x - self.middle, near + abs(x - predictor.p[3]))
        self.predictions[self.channel].improve(x - self.mean, near + abs(x - self.guess))
        super().follow(i, j, near)

    def kind(self, i, j, guess, u):
        around = [(0, dj) for dj in range(-4, 0)] + [(di, dj) for di in (-1, -2) for dj in range(-4, 5)]
        total = sum(abs(self.error(i + di, j + dj)) for di, dj in [*around, (0, -1), (-1, 0)])
        return 64 * q_of(total >> 4) + 64 * guess // (16 * self.predictors[self.channel].most + 1)


def plain_stream(planes, most, wide):
    """Groups of rows of planes [number][channel], lists of rows, as 15.4 has them. wide: samples of 16 bits."""
    pixels = len(planes) * len(planes[0][0]) * len(planes[0][0][0])
    coder, ends, before = (PlainWideCoder if wide else PlainCoder)(len(most), pixels), [], None
    for image in planes:
        for channel, rows in enumerate(image):
            ends += coder.plane(image, before, channel, most[channel])
            before = rows
        before = image[0]
    return messages(coder.intervals, ends, len(planes[0][0][0]))


def messages(intervals, ends, width):
    """Groups of rows, of which the ends are known: how many words, and these."""
    step, parts, start = max(2**17 // width, 1), [], 0
    for last in [*range(step, len(ends), step), len(ends)]:
        parts.append(message(intervals[start : ends[last - 1]]))
        start = ends[last - 1]
    return parts


def message(intervals):
    """How many words hold some intervals, and these."""
    stack = AnsStack()
    stack.push_intervals([one[0] for one in intervals], [one[1] for one in intervals], 16)
    words = stack.flatten()
    return len(words), words.astype("<u4").tobytes()
