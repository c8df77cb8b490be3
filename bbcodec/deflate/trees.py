# mypy: allow-untyped-defs, allow-untyped-calls
"""Huffman codes as zlib builds them, ties and all, and the header of a block that tells them.

zlib breaks ties of its heap by depth and by the order in which nodes came; any other way gives other codes of the same
total length. A *tree* is frequencies in, code lengths out; `work` is scratch of `WORK` numbers.
"""

from __future__ import annotations

from typing import Final

from bbcodec.coder.compilation import compiled, inlined
from bbcodec.deflate.tables import CODE_LENGTHS, LENGTH_ORDER

MOST_BITS: Final = 15
HEAP: Final = 573  # 2 * 286 + 1, for every tree
# Parts of the scratch: heap, depths, parents, frequencies of nodes, lengths of nodes, leaves of each length.
HEAP_AT, DEPTH_AT, PARENT_AT, FREQUENCY_AT, LENGTH_AT, COUNT_AT = (HEAP * n for n in range(6))
WORK: Final = 6 * HEAP


@inlined
def node_is_smaller(work, a, b):
    """Whether node a comes before node b."""
    first, second = work[FREQUENCY_AT + a], work[FREQUENCY_AT + b]
    return first < second or (first == second and work[DEPTH_AT + a] <= work[DEPTH_AT + b])


@inlined
def sift_down(work, size, k):
    """Restore the heap below its place k."""
    node = work[HEAP_AT + k]
    j = k << 1
    while j <= size:
        if j < size and node_is_smaller(work, work[HEAP_AT + j + 1], work[HEAP_AT + j]):
            j += 1
        if node_is_smaller(work, node, work[HEAP_AT + j]):
            break
        work[HEAP_AT + k] = work[HEAP_AT + j]
        k = j
        j <<= 1
    work[HEAP_AT + k] = node


@compiled
def build_tree(frequencies, count, most_bits, lengths, work):
    """Write the lengths of `count` codes, none above `most_bits`; returns the last code that has one.

    At least two codes have one: frequencies of the first that lack one become 1, as zlib wants it.
    """
    size, last = 0, -1
    for n in range(count):
        lengths[n] = 0
        work[FREQUENCY_AT + n] = frequencies[n]
        work[DEPTH_AT + n] = 0
        if frequencies[n]:
            size += 1
            work[HEAP_AT + size] = n
            last = n
    while size < 2:
        n = 0
        if last < 2:
            last += 1
            n = last
        size += 1
        work[HEAP_AT + size] = n
        frequencies[n] = 1
        work[FREQUENCY_AT + n] = 1
    for k in range(size >> 1, 0, -1):
        sift_down(work, size, k)
    # Nodes in the order of their frequencies go to the end of the heap, greatest first.
    node, top = count, HEAP
    while size >= 2:
        first = work[HEAP_AT + 1]
        work[HEAP_AT + 1] = work[HEAP_AT + size]
        size -= 1
        sift_down(work, size, 1)
        second = work[HEAP_AT + 1]
        top -= 2
        work[HEAP_AT + top + 1] = first
        work[HEAP_AT + top] = second
        work[FREQUENCY_AT + node] = work[FREQUENCY_AT + first] + work[FREQUENCY_AT + second]
        work[DEPTH_AT + node] = max(work[DEPTH_AT + first], work[DEPTH_AT + second]) + 1
        work[PARENT_AT + first] = node
        work[PARENT_AT + second] = node
        work[HEAP_AT + 1] = node
        node += 1
        sift_down(work, size, 1)
    top -= 1
    work[HEAP_AT + top] = work[HEAP_AT + 1]
    assign_lengths(work, top, last, most_bits, lengths)
    return last


@inlined
def assign_lengths(work, top, last, most_bits, lengths):
    """The lengths of the codes of a tree whose nodes lie in the heap from `top` on."""
    for bits in range(most_bits + 1):
        work[COUNT_AT + bits] = 0
    work[LENGTH_AT + work[HEAP_AT + top]] = 0
    over = 0
    for place in range(top + 1, HEAP):
        n = work[HEAP_AT + place]
        bits = work[LENGTH_AT + work[PARENT_AT + n]] + 1
        if bits > most_bits:
            bits = most_bits
            over += 1
        work[LENGTH_AT + n] = bits
        if n <= last:
            work[COUNT_AT + bits] += 1
            lengths[n] = bits
    if not over:
        return
    while over > 0:
        bits = most_bits - 1
        while not work[COUNT_AT + bits]:
            bits -= 1
        work[COUNT_AT + bits] -= 1
        work[COUNT_AT + bits + 1] += 2
        work[COUNT_AT + most_bits] -= 1
        over -= 2
    place = HEAP
    for bits in range(most_bits, 0, -1):
        left = work[COUNT_AT + bits]
        while left:
            place -= 1
            n = work[HEAP_AT + place]
            if n <= last:
                lengths[n] = bits
                left -= 1


@compiled
def assign_codes(lengths, count, codes):
    """Write the codes of these lengths, their bits in the order of the stream."""
    code = 0
    for bits in range(1, MOST_BITS + 1):
        code <<= 1
        for n in range(count):
            if lengths[n] == bits:
                turned, rest = 0, code
                for _ in range(bits):
                    turned = turned << 1 | rest & 1
                    rest >>= 1
                codes[n] = turned
                code += 1


@compiled
def describe_lengths(lengths, last, symbols, extras, n):
    """The lengths of codes up to the last, as zlib writes them: symbols with extra bits, behind n others; the new n."""
    before, count, following = -1, 0, lengths[0]
    most, least = (138, 3) if following == 0 else (7, 4)
    for code in range(last + 1):
        length = following
        following = lengths[code + 1] if code < last else -1
        count += 1
        if count < most and length == following:
            continue
        if count < least:
            for _ in range(count):
                symbols[n], extras[n] = length, 0
                n += 1
        elif length:
            if length != before:
                symbols[n], extras[n] = length, 0
                n += 1
                count -= 1
            symbols[n], extras[n] = 16, count - 3
            n += 1
        elif count <= 10:
            symbols[n], extras[n] = 17, count - 3
            n += 1
        else:
            symbols[n], extras[n] = 18, count - 11
            n += 1
        count, before = 0, length
        if following == 0:
            most, least = 138, 3
        elif length == following:
            most, least = 6, 3
        else:
            most, least = 7, 4
    return n


@compiled
def last_in_order(lengths):
    """How many lengths of the codes of lengths are written: all up to the last that is not 0, at least four."""
    count = CODE_LENGTHS
    while count > 4 and not lengths[LENGTH_ORDER[count - 1]]:
        count -= 1
    return count
