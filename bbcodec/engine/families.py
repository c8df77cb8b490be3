# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
"""The distributions of pixels and latents that compiled code knows, chosen by type when it is compiled."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numba.extending import overload

from bbcodec.engine import bernoulli, gaussian, logistic
from bbcodec.engine.bernoulli import Bernoulli
from bbcodec.engine.gaussian import Gaussian
from bbcodec.engine.logistic import Mixture

Family = Mixture | Bernoulli | Gaussian

_MODULES: Final[dict[type, Any]] = {Mixture: logistic, Bernoulli: bernoulli, Gaussian: gaussian}


class Support(NamedTuple):
    """The values of a family, lowest to highest, and their type in arrays."""

    lowest: int
    highest: int
    dtype: type[np.uint8] | type[np.int16]


def support(family: Family) -> Support:
    """What a family has mass for."""
    if isinstance(family, Gaussian):
        return Support(-family.bound, family.bound, np.int16)
    return Support(0, 255 if isinstance(family, Mixture) else 1, np.uint8)


class Nothing(NamedTuple):
    """The room of a family that needs none."""

    nothing: int = 0


def room(family: Family) -> logistic.Room | Nothing:
    """Memory that coding with a family works in."""
    return logistic.room(family) if isinstance(family, Mixture) else Nothing()


def note(family, params, order, count, values, room, starts, masses, position):
    """Note the intervals of some pixels: see `logistic.note`."""
    raise NotImplementedError("for compiled code")


def pop_pixels(family, heads, words, n, params, order, count, values, room):
    """Pop some pixels: see `logistic.pop_pixels`."""
    raise NotImplementedError("for compiled code")


@overload(note)
def _note(family, params, order, count, values, room, starts, masses, position):
    chosen = _MODULES[family.instance_class].note
    return lambda family, params, order, count, values, room, starts, masses, position: chosen(
        family, params, order, count, values, room, starts, masses, position
    )


@overload(pop_pixels)
def _pop_pixels(family, heads, words, n, params, order, count, values, room):
    chosen = _MODULES[family.instance_class].pop_pixels
    return lambda family, heads, words, n, params, order, count, values, room: chosen(
        family, heads, words, n, params, order, count, values, room
    )
