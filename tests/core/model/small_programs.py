"""Programs small enough to know every answer, which log what is asked of their distributions."""

from dataclasses import dataclass, field

import torch

from bbcodec.distributions.base import Distribution
from bbcodec.distributions.bernoulli import Bernoulli
from bbcodec.distributions.uniform import Uniform
from bbcodec.model.latent_model import LatentModel
from bbcodec.model.program import Latent, Observed


@dataclass
class Log:
    """What was asked of a program's distributions, in order."""

    events: list[str] = field(default_factory=list)

    def watched(self, name, make):
        """A thunk that notes when it is evaluated, and whose distribution notes what is done with it."""

        def thunk():
            self.events.append(f"make {name}")
            return Watched(self, name, make())

        return thunk


class Watched(Distribution):
    def __init__(self, log, name, inner):
        self.log, self.name, self.inner, self.shape = log, name, inner, inner.shape

    def noted(self, verb, *arguments):
        self.log.events.append(f"{verb} {self.name}")
        return getattr(self.inner, verb)(*arguments)

    def log_prob(self, value):
        return self.inner.log_prob(value)

    def rsample(self, generator=None):
        return self.noted("rsample", generator)

    def push(self, stack, value):
        self.noted("push", stack, value)

    def pop(self, stack):
        return self.noted("pop", stack)

    def information(self, value):
        return self.inner.information(value)


def logits(shape, *values):
    """Whole-number logits (B, ...), the same for each image."""
    return torch.tensor(values, dtype=torch.float32).expand(shape).contiguous()


class OneLatent(LatentModel):
    """z of 16 levels: uniform a priori, one of the first four a posteriori. Two pixels whose log odds are +-z / 2."""

    def __init__(self):
        super().__init__()
        self.log = Log()

    def program(self, shape, images=None):
        batch = shape[0]
        z = yield Latent(
            "z",
            prior=self.log.watched("p(z)", lambda: Uniform(16, (batch, 1))),
            posterior=self.log.watched("q(z)", lambda: Uniform(4, (batch, 1))),
        )
        odds = torch.cat([64 * z, -64 * z], 1).reshape(shape)
        x = yield Observed("x", likelihood=self.log.watched("p(x)", lambda: Bernoulli(odds)), value=images)
        return x


class TwoLevels(LatentModel):
    """Two levels of binary latents, each of which depends on what came before; the posteriors on the pixels too."""

    def __init__(self):
        super().__init__()
        self.log = Log()

    def program(self, shape, images=None):
        batch = shape[0]
        sign = None if images is None else 2 * images.reshape(batch, -1) - 1

        def q(z=0.0):
            assert sign is not None, "a posterior was asked for without images"
            return Bernoulli(64 * sign + z)

        top = yield Latent(
            "top",
            prior=self.log.watched("p(top)", lambda: Bernoulli(logits((batch, 2), 30.0, -50.0))),
            posterior=self.log.watched("q(top)", q),
        )
        low = yield Latent(
            "low",
            prior=self.log.watched("p(low)", lambda: Bernoulli(200 * top - 100)),
            posterior=self.log.watched("q(low)", lambda: q(32 * top)),
        )
        x = yield Observed(
            "x",
            likelihood=self.log.watched("p(x)", lambda: Bernoulli((300 * low - 150 + 20 * top).reshape(shape))),
            value=images,
        )
        return x
