"""Images of few colours, once more: plain Python from docs/coding.md 15.7, one number at a time."""

from plain_prediction import PlainMixing, PlainPredictor, messages

PAIRS = (0, 1), (0, 2), (1, 2), (1, 3), (0, 4), (1, 5), (3, 6), (2, 7), (0, 3), (5, 9), (2, 8), (4, 7)


def hashed(*numbers):
    z = 0
    for number in numbers:
        z = (z + number + 1) * 0x5851F42D % 2**32
    return z >> 20


class PlainColours(PlainMixing):
    """Intervals of the indices of images."""

    def __init__(self, most):
        super().__init__()
        self.bits, self.places = max(1, most.bit_length()), PlainPredictor()

    def image(self, rows, before):
        """Code an image, lists of rows; returns how many intervals there are after each row."""
        ends = []
        self.places.begin(rows, before, None)
        for i, row in enumerate(rows):
            for j, x in enumerate(row):
                self.index(i, j, x)
            ends.append(len(self.intervals))
        return ends

    def index(self, i, j, x):
        v = [self.places.at(i, j, *place) for place in PlainPredictor.PLACES[:12]]
        past = [self.places.back(i, j, *place) for place in ((0, 0), (0, 1), (1, 0))] if self.places.before else None
        equal = sum(2**k for k, (a, b) in enumerate(PAIRS) if v[a] == v[b])
        far = hashed(*v[:2], *past) if past else hashed(*v)
        self.contexts = hashed(*v[:1]), hashed(*v[:2]), hashed(*v[:4]), hashed(*v[:10]), far, equal, equal % 64
        level = 8 * (equal % 64)
        for k in range(4):
            if v[k] not in v[:k]:
                self.decide(x == v[k], k, level + k, 1, 2)
                if x == v[k]:
                    break
        else:
            third = hashed(past[0], past[2]) if past else hashed(*v[:3])
            self.contexts = hashed(v[0]), hashed(*v[:2]), third, hashed(*v[:4]), hashed(v[1]), hashed(*v[2:4]), 0
            known = 1
            for k in range(self.bits):
                bit = x >> self.bits - 1 - k & 1
                self.decide(bit, 3 + known, level + 4 + min(k, 3), 1, 2)
                known = 2 * known + bit
        self.samples += 1


def plain_colours(images, most):
    """Groups of rows of images, lists of rows of indices."""
    coder, ends, before = PlainColours(most), [], None
    for rows in images:
        ends += coder.image(rows, before)
        before = rows
    return messages(coder.intervals, ends, len(images[0][0]))
