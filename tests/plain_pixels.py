"""Images pixel by pixel, once more: plain Python from docs/coding.md 15.7, one number at a time."""

from plain_prediction import PlainLines, PlainMixing, PlainPredictor, hashed, messages

PAIRS = (0, 1), (0, 2), (1, 2), (1, 3), (0, 4), (1, 5), (3, 6), (2, 7), (0, 3), (5, 9), (2, 8), (4, 7)


class PlainMatches:
    """Where pixels were like those here."""

    def __init__(self, shape):
        self.size = 2 ** min(max((shape[0] * shape[1] * shape[2]).bit_length(), 10), 18)
        self.last, self.found, self.pixels = ({}, {}), {}, []

    def look(self, i, j, v, width):
        """The pixel of the match and the class of its length, or None and 0."""
        keys = [hashed(*v[:count]) % self.size for count in (6, 12)]
        fewer, every = (last.get(key) for last, key in zip(self.last, keys, strict=True))
        place, length = None, 0
        for at, step in ((i - 1, j), width), ((i, j - 1), 1):
            before, long = self.found.get(at, (0, 0)) if min(at) >= 0 else (0, 0)
            if long > length:
                place, length = before + step, long
        if length < 16 and every is not None and every != place:
            place, length = every, 4
        elif length == 0:
            place = fewer
        for last, key in zip(self.last, keys, strict=True):
            last[key] = len(self.pixels)
        self.now = i, j, place, length
        kind = min(length, 6) if length < 8 else min(6 + length // 8, 14)
        return (None, 0) if place is None else (self.pixels[place], kind)

    def follow(self, x):
        i, j, place, length = self.now
        self.found[i, j] = place, length + 1 if place is not None and self.pixels[place] == x else 0
        self.pixels.append(x)


class PlainPixels(PlainMixing):
    """Intervals of the pixels of images."""

    start = [2**13] * 16

    def __init__(self, shape, channels, most):
        super().__init__()
        count, _, self.width = shape
        self.number, self.channels, self.bits = -1, channels, max(1, most.bit_length())
        self.rate, self.most = (40, 255) if channels == 1 and most < 32 else (120, 15)
        self.lines = PlainLines(count * shape[1] * shape[2] * channels, 16)
        self.places, self.matches = PlainPredictor(), PlainMatches(shape)

    def cells(self, decision):
        return [(line, decision - self.first) for line in self.current]

    def take_lines(self, hashes, first):
        """Make the lines of contexts current; first: the decision whose counter is the first of a line."""
        self.current, self.first = [self.lines.take(k, z) for k, z in enumerate(hashes)], first

    def image(self, rows, before):
        """Code an image, lists of rows; returns how many intervals there are after each row."""
        ends, self.number = [], self.number + 1
        self.places.begin(rows, before, None)
        for i, row in enumerate(rows):
            for j, x in enumerate(row):
                self.pixel(i, j, x)
                self.matches.follow(x)
                self.samples += 1
            ends.append(len(self.intervals))
        return ends

    def pixel(self, i, j, x):
        v = [self.places.at(i, j, *place) for place in PlainPredictor.PLACES[:12]]
        equal = sum(2**k for k, (a, b) in enumerate(PAIRS) if v[a] == v[b])
        few, match = equal % 64, self.matches.look(i, j, v, self.width)
        self.take_lines(self.likes(i, j, v, equal, few, match), self.channels * 272)
        for k in range(4):
            if v[k] not in v[:k]:
                self.decide(x == v[k], self.channels * 272 + k, 4 * few + k, 1, 2)
                if x == v[k]:
                    return
        known = 0
        for channel in range(self.channels):
            shift = 8 * (self.channels - 1 - channel)
            self.byte(x >> shift & 255, known, channel, shift, v, match)
            known = known << 8 | x >> shift & 255

    def likes(self, i, j, v, equal, few, match):
        past = 0
        if self.places.before:
            there = [self.places.back(i, j, *place) for place in ((0, 0), (0, 1), (1, 0))]
            past = sum((there[b] == v[k]) << 3 * k + b for k in range(4) for b in range(3))
        like = 5 if match[0] is None else v.index(match[0]) if match[0] in v[:4] else 4
        contexts = [v[:1], v[:2], v[:3], v[:4], v[:6], v[:10], v, [equal], [past, few], [self.number, v[0]]]
        contexts += [self.number, few, v[1]], [v[0], v[4], v[2]], [v[1], v[5], v[3]], [i, j, few], [match[1], like, few]
        return [hashed(*context, 4) for context in contexts]

    def byte(self, x, known, channel, shift, v, match):
        length = match[1] + 1 if match[0] is not None and match[0] >> shift + 8 == known else 0
        level = 256 + 8 * (16 * channel + length)
        for b in range(8 - self.bits, 8):
            if b in (8 - self.bits, 4):
                half = 0 if b < 4 else 16 + (x >> 4)
                seen = (length << 8 | match[0] >> shift & 255) if length else 0
                contexts = self.contexts_of(known, channel, shift, v, seen)
                first = 272 * channel + (0 if b < 4 else 16 + 16 * (x >> 4))
                self.take_lines([hashed(*context, channel, half) for context in contexts], first)
            new = b % 4  # bits of these four that are known
            node = 2**new + (x >> 8 - b & 2**new - 1)
            self.decide(x >> 7 - b & 1, self.first + node, level + b, 1, 2)

    def contexts_of(self, known, channel, shift, v, seen):
        w, n, c, r, ww = v[:5]
        of_pixels = [self.number], [w], [n], [w, n], [w, n, c, r], [], [w, ww], [self.number, w], [n, r]
        sw, sn, sc, sr = (number >> shift & 255 for number in v[:4])
        before, from_w, from_n = sr, sn - sc, sw - sc
        if channel:
            before = known & 255
            from_w, from_n = (before - (number >> shift + 8 & 255) for number in v[:2])
        p, q = 256 + sw + from_w, 256 + sn + from_n
        return [[*context, known] for context in of_pixels] + [
            [*context, 0] for context in ([sw], [sn], [p, before], [p, q], [p + q], [seen])
        ]


def plain_pixels(images, channels, most):
    """Groups of rows of images, lists of rows of pixels."""
    coder, ends, before = PlainPixels((len(images), len(images[0]), len(images[0][0])), channels, most), [], None
    for rows in images:
        ends += coder.image(rows, before)
        before = rows
    return messages(coder.intervals, ends, len(images[0][0]))
