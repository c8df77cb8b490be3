"""When learning from the images of an archive ends: when what a further minute would save is less than it costs.

What counts is what the images and the difference that was learned take together, which some crops of the images tell,
always the same ones. It falls quickly at first, and ever more slowly: a line through the latest third of the readings
promises at least what is still to come, but for what the learning rates' last fall adds in any case.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch

from bbcodec.codec.catalogue import CodecFile
from bbcodec.codec.stored import StoredCodec
from bbcodec.codec.torch_backend import tensors_now
from bbcodec.codec.weights import layout_of, pack_weights
from bbcodec.exact.layers import set_exact
from bbcodec.model.interpreters import elbo
from bbcodec.models.training.batches import batch
from bbcodec.models.training.trainer import Trainer

READINGS: Final = 32  # in a run
FEWEST: Final = 8  # before anything is said: a quarter of a run
SHARE_OF_TIME: Final = 0.05  # that readings may take
LAST: Final = 0.25  # of the time until then: in which learning rates fall to the end of a run that is cut short
CROPS: Final = 16
NOT_A_STEP: Final = 2**40  # crops of readings are those of steps from here on, which no run reaches


class Forecast:
    """Bytes as learning goes on, what they will be, and from that when it ends.

    end: in seconds of learning. is_over: whether that was brought forward.
    """

    def __init__(self, end: float, least: float) -> None:
        """least: the share of all bytes that a minute must save to be worth it."""
        self.end, self.least, self.is_over = end, least, False
        self.seconds: list[float] = []
        self.n_bytes: list[float] = []
        self._next, self._whole, self._from = 0.0, end, (0.0, 0.0)

    def is_due(self, spent: float) -> bool:
        """Whether it is time for a reading."""
        return not self.is_over and spent >= self._next

    def note(self, spent: float, n_bytes: float, took: float = 0.0) -> None:
        """Take in a reading, which took so many seconds. If more learning does not pay, what is left is shortened."""
        self.seconds.append(spent)
        self.n_bytes.append(n_bytes)
        self._next = spent + took + max(self._whole / READINGS, took / SHARE_OF_TIME)
        if len(self.seconds) >= FEWEST and not self.pays():
            self._from = spent, self.share(spent)
            self.end, self.is_over = min(self.end, spent * (1 + LAST)), True

    def pays(self) -> bool:
        """Whether a further minute is worth it, and all of them save what was learned."""
        count = max(3, len(self.seconds) // 3)
        slope, _ = np.polyfit(self.seconds[-count:], self.n_bytes[-count:], 1)
        in_the_end = self.n_bytes[-1] + slope * (self.end - self.seconds[-1])
        return bool(-60 * slope > self.least * self.n_bytes[-1] and in_the_end < self.n_bytes[0])

    def share(self, spent: float) -> float:
        """The share of the run that is done, by which learning rates fall: 0 to 1."""
        start, share = self._from
        return share + (1 - share) * (spent - start) / (self.end - start) if spent < self.end else 1.0


class Readings:
    """What the images of an archive take by the codec that a trainer has now, and what it learned."""

    def __init__(self, trainer: Trainer, base: CodecFile, values: int) -> None:
        """values: of all images."""
        self.trainer, self.values = trainer, values
        self.base = StoredCodec.read(base).tensors if base.shipped else {}
        settings = trainer.settings
        self.crops = [batch(trainer.dataset, settings, NOT_A_STEP + n) for n in range(max(1, CROPS // settings.batch))]

    def bits_per_dim(self) -> float:
        """Of the crops."""
        set_exact(self.trainer.average, True)
        nats = dims = 0.0
        with torch.no_grad():
            for number, images in enumerate(self.crops):
                generator = torch.Generator().manual_seed(number)
                nats -= sum(float(one.double().sum()) for one in elbo(self.trainer.average, images, generator).values())
                dims += images.numel()
        return nats / dims / float(np.log(2))

    def learned_bytes(self) -> int:
        """Of what was learned, as a codec file has it, but for the header."""
        now = tensors_now(self.trainer.average)
        found = {name: one - self.base[name] if self.base else one for name, one in now.items()}
        return len(pack_weights([(layout_of(name, one), one) for name, one in sorted(found.items())]))

    def n_bytes(self) -> float:
        """Of all images, and what was learned."""
        return self.values * self.bits_per_dim() / 8 + self.learned_bytes()
