# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
"""The distributions of pixels that compiled code knows, chosen by the type of the family when it is compiled."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from numba.extending import overload

from bbcodec.engine import bernoulli, logistic
from bbcodec.engine.bernoulli import Bernoulli
from bbcodec.engine.logistic import Mixture

Family = Mixture | Bernoulli

LEVELS: Final[dict[type, int]] = {Mixture: 256, Bernoulli: 2}
_MODULES: Final[dict[type, Any]] = {Mixture: logistic, Bernoulli: bernoulli}


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
