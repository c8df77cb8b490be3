# mypy: allow-untyped-defs, allow-untyped-calls
"""What zlib would write next: literals and matches, found as `deflate_fast`, `deflate_slow` and their kin find them.

A *token* is a literal, 0 to 255, or a match, `length << 16 | distance`. A prediction never depends on what zlib itself
wrote before, but on the tokens that are there: so other encoders' streams can be followed, too, from one token that was
not foreseen to the next. The functions mirror zlib's, as each tie that zlib breaks shows in a stream.
"""

from __future__ import annotations

from typing import Final

from bbcodec.coder.compilation import compiled, inlined
from bbcodec.deflate.inflate import BAD
from bbcodec.deflate.tables import MAX_MATCH, MIN_MATCH

# How matches are looked for.
NONE, RUNS, FAST, LAZY = range(4)  # Z_HUFFMAN_ONLY, Z_RLE, deflate_fast, deflate_slow
MIN_LOOKAHEAD: Final = MAX_MATCH + MIN_MATCH + 1  # of bytes that zlib keeps ahead, and so away from the window's end
TOO_FAR: Final = 4096  # for matches of three bytes

# Settings, by their place: of the method, zlib's configuration, and the sizes of window and hash table in bits.
METHOD, GOOD, LAZY_LENGTH, NICE, CHAIN, FILTERED, WINDOW, HASH, N_SETTINGS = range(9)

# State: position; length and distance of the match found there (-1: not looked for); the same of that at the next
# position, which is longer (-1: there is none); next position to enter in the table, and what it gave the one before.
AT, FOUND, FOUND_AT, NEXT, NEXT_AT, ENTERED, CANDIDATE, N_STATE = range(8)


@inlined
def enter(content, head, chains, settings, at):
    """Enter a position in the hash table; returns the one of the same hash before it, 0 where there is none."""
    shift = (settings[HASH] + 2) // 3
    key = (content[at] << (2 * shift) ^ content[at + 1] << shift ^ content[at + 2]) & (1 << settings[HASH]) - 1
    before = head[key]
    chains[at & (1 << settings[WINDOW]) - 1] = before
    head[key] = at
    return before


@inlined
def longest_match(content, size, chains, settings, at, candidate, length):
    """The longest match, if it is longer than `length`, among candidates as zlib looks at them; 0 if there is none."""
    most_distance = (1 << settings[WINDOW]) - MIN_LOOKAHEAD
    ahead = size - at
    if candidate <= 0 or at - candidate > most_distance or length >= ahead:
        return 0
    chain = settings[CHAIN]
    if length >= settings[GOOD]:
        chain >>= 2
    nice = min(settings[NICE], ahead)
    most = min(MAX_MATCH, ahead)
    limit = max(0, at - most_distance)
    found = 0
    while True:
        if (
            content[candidate + length] == content[at + length]
            and content[candidate + length - 1] == content[at + length - 1]
            and content[candidate] == content[at]
            and content[candidate + 1] == content[at + 1]
        ):
            same = 2
            while same < most and content[candidate + same] == content[at + same]:
                same += 1
            if same > length:
                length = same
                found = same << 16 | at - candidate
                if same >= nice or length >= most:
                    break
        candidate = chains[candidate & (1 << settings[WINDOW]) - 1]
        chain -= 1
        if candidate <= limit or chain == 0:
            break
    return found


@inlined
def lazy_match(content, size, chains, settings, at, candidate, length):
    """`longest_match`, without those that deflate_slow throws away."""
    found = longest_match(content, size, chains, settings, at, candidate, length)
    if found >> 16 <= 5 and (settings[FILTERED] or (found >> 16 == MIN_MATCH and (found & 0xFFFF) > TOO_FAR)):
        return 0
    return found


@inlined
def candidate_at(content, size, head, chains, settings, state, at):
    """The candidate for a position, which is entered unless it has been."""
    if state[ENTERED] > at:
        return state[CANDIDATE]
    state[CANDIDATE] = 0
    if at + MIN_MATCH <= size:
        state[CANDIDATE] = enter(content, head, chains, settings, at)
    state[ENTERED] = at + 1
    return state[CANDIDATE]


@inlined
def predict(content, size, head, chains, settings, state):
    """The next token."""
    at = state[AT]
    method = settings[METHOD]
    if method == LAZY:
        if state[FOUND] < 0:
            candidate = candidate_at(content, size, head, chains, settings, state, at)
            state[FOUND] = lazy_match(content, size, chains, settings, at, candidate, MIN_MATCH - 1)
        found = state[FOUND]
        state[NEXT] = -1
        if found and found >> 16 < settings[LAZY_LENGTH]:
            candidate = candidate_at(content, size, head, chains, settings, state, at + 1)
            longer = lazy_match(content, size, chains, settings, at + 1, candidate, found >> 16)
            if longer:
                state[NEXT] = longer
                return content[at]
        return found if found else content[at]
    if method == FAST:
        candidate = candidate_at(content, size, head, chains, settings, state, at)
        found = longest_match(content, size, chains, settings, at, candidate, MIN_MATCH - 1)
        return found if found else content[at]
    if method == RUNS and at > 0 and at + MIN_MATCH <= size:
        same = 0
        while same < min(MAX_MATCH, size - at) and content[at + same] == content[at - 1]:
            same += 1
        if same >= MIN_MATCH:
            return same << 16 | 1
    return content[at]


@inlined
def follow(content, size, head, chains, settings, state, token):
    """Take in what the next token is."""
    at = state[AT]
    length = max(1, token >> 16)
    after = at + length
    method = settings[METHOD]
    if method == LAZY:
        state[FOUND] = state[NEXT] if token < 256 else -1
        if token >= 256:
            for place in range(state[ENTERED], min(after, size - MIN_MATCH + 1)):
                enter(content, head, chains, settings, place)
            state[ENTERED] = after
        state[NEXT] = -1
    elif method == FAST:
        if length <= settings[LAZY_LENGTH] and after + MIN_MATCH <= size:
            for place in range(state[ENTERED], after):
                enter(content, head, chains, settings, place)
        state[ENTERED] = after
    state[AT] = after


@compiled
def predict_tokens(content, end, tokens, predicted, head, chains, settings, state):
    """Follow tokens from the state on, and write what each was predicted as; returns how many lead to the byte `end`.

    A token of -1 stands for what is predicted, and becomes it. `BAD` where tokens lead beyond the content.
    """
    size = len(content)
    for i in range(len(tokens)):
        if state[AT] >= end:
            return i
        predicted[i] = predict(content, size, head, chains, settings, state)
        if tokens[i] < 0:
            tokens[i] = predicted[i]
        if state[AT] + (tokens[i] >> 16) > size:
            return BAD
        follow(content, size, head, chains, settings, state, tokens[i])
    return len(tokens)


@compiled
def count_mispredictions(content, tokens, most, head, chains, settings, state):
    """How many of the tokens are predicted as others; more than `most` are not counted to the end."""
    size, wrong = len(content), 0
    for i in range(len(tokens)):
        if wrong > most:
            break
        wrong += predict(content, size, head, chains, settings, state) != tokens[i]
        follow(content, size, head, chains, settings, state, tokens[i])
    return wrong
