"""A long short-term memory (Hochreiter & Schmidhuber 1997) in whole numbers, over the rows of a sequence.

With i, f, g, o the four parts of inputs(x) + states(h), each layer's sums rounded on their own:

    c = clamp(rne((sigmoid[f] c + sigmoid[i] tanh[g]) / 256), -2047, 2047)     h = rne(sigmoid[o] tanh[c] / 256)

Products are at most 256 * 2047 + 256**2 before the division: exact. h is within +-256.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bbcodec.exact.activations import sigmoid, tanh
from bbcodec.exact.arithmetic import ACTIVATION_UNIT, BOUND, clamped, rounded
from bbcodec.exact.layers import Linear

State = tuple[Tensor, Tensor]  # h and c, (B, hidden) each


class Lstm(nn.Module):
    """(B, n, C) -> (B, n, hidden): each row sees itself and those before it. `step` takes one row."""

    def __init__(self, cin: int, hidden: int, bound: int = BOUND) -> None:
        """cin: channels of a row; bound: their largest magnitude, in units of 1/256."""
        super().__init__()
        self.hidden = hidden
        self.inputs = Linear(cin, 4 * hidden, bound)
        self.states = Linear(hidden, 4 * hidden, int(ACTIVATION_UNIT))
        with torch.no_grad():
            self.inputs.bias[hidden : 2 * hidden] = 1.0  # forget gates start open: cells remember

    def begin(self, batch: int) -> State:
        """The state before the first row: zeros."""
        zeros = torch.zeros(batch, self.hidden, device=self.inputs.weight.device)
        return zeros, zeros

    def step(self, x: Tensor, state: State) -> State:
        """The state after one more row x (B, C), whole numbers within +-bound; its h is the output."""
        return self._cell(self.inputs(x), state)

    def _cell(self, y: Tensor, state: State) -> State:
        exact = self.inputs.exact
        h, c = state
        i, f, g, o = (y + self.states(h)).chunk(4, 1)
        total = (sigmoid(f, exact) * c + sigmoid(i, exact) * tanh(g, exact)) / ACTIVATION_UNIT
        c = clamped(rounded(total) if exact else total)
        out = sigmoid(o, exact) * tanh(c, exact) / ACTIVATION_UNIT
        return rounded(out) if exact else out, c

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, n, C), n at least 1."""
        state = self.begin(len(x))
        out = []
        for y in self.inputs(x).unbind(1):
            state = self._cell(y, state)
            out.append(state[0])
        return torch.stack(out, 1)
