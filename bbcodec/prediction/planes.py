"""Images of 16 bits as planes of tokens, which codecs take as grey images, and the rest, bytes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bbcodec.errors import DamagedArchive
from bbcodec.prediction.predictor import errors_of, values_of
from bbcodec.prediction.tokens import LEAST, MOST, Tokens, errors_of_tokens, fine_size, tokens_of
from bbcodec.prediction.used_values import UsedValues


class Predicted(NamedTuple):
    """Images as they are coded. tokens: uint8 (N, H, W); rest: the values that are used, and the fine bits."""

    tokens: Tokens
    rest: bytes


def predicted(images: NDArray[np.uint16]) -> Predicted:
    """Images (N, H, W) of 16 bits, predicted one after another."""
    values = UsedValues.of(images)
    tokens, fine = tokens_of(errors_of(values.ranks(images), values.most))
    return Predicted(tokens, values.pack() + fine)


def restored(tokens: Tokens, rest: bytes) -> NDArray[np.uint16]:
    """The images of `predicted`. Raises DamagedArchive."""
    values, position = UsedValues.take(rest, 0)
    if int(tokens.min()) < LEAST or int(tokens.max()) > MOST or len(rest) - position != fine_size(tokens):
        raise DamagedArchive("images of 16 bits have impossible errors, or another number of fine bits")
    ranks = values_of(errors_of_tokens(tokens, rest[position:]), values.most)
    if ranks is None:
        raise DamagedArchive("images of 16 bits have values that are out of range")
    return values.values(ranks)
