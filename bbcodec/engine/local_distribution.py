"""Images, or maps of latents, as compiled code codes them: a distribution for programs of `bbcodec.model`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bbcodec.coder.ans import AnsStack
from bbcodec.engine.waves import Context, LocalCoder

Values = NDArray[Any]  # (B, C, H, W), uint8 or int16


class LocalDistribution:
    """What a local net and a distribution make of images of a shape (B, C, H, W) in a context."""

    def __init__(
        self, coder: LocalCoder, shape: tuple[int, int, int, int], context: Context | None = None, stride: int = 1
    ) -> None:
        """context, stride: as for `LocalCoder.push`."""
        self.coder, self.shape, self.context, self.stride = coder, shape, context, stride

    def push(self, stack: AnsStack, value: Values) -> None:
        """Put images on the stack. Raises CoderError for values outside the support."""
        self.coder.push(stack, value, self.context, self.stride)

    def push_measured(self, stack: AnsStack, value: Values) -> NDArray[np.int64]:
        """`push`, and what it costs each image: (B,), in whole units of 2**-24 bits."""
        return self.coder.push(stack, value, self.context, self.stride)

    def pop(self, stack: AnsStack) -> Values:
        """Take images off the stack. Raises StackUnderflow, and leaves the stack as it was, if it holds too little."""
        batch, _, height, width = self.shape
        return self.coder.pop(stack, (batch, height, width), self.context, self.stride)

    def information(self, value: Values) -> NDArray[np.int64]:
        """What `push` costs each image: (B,), in whole units of 2**-24 bits."""
        return self.coder.push(AnsStack(), value, self.context, self.stride)
