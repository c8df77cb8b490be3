"""Components of a mixture prior: learned or made, whole, frozen, and refused where they cannot be."""

import copy

import pytest
import torch
from torch import nn

from bbcodec.distributions import Gaussian, Mixture
from bbcodec.errors import BadCodecFile
from bbcodec.exact.arithmetic import rounded
from bbcodec.exact.components import Components
from bbcodec.exact.layers import Linear, exact_layers, exact_parts, set_exact

K, M = 6, 3


class Made(nn.Module):
    """Components from a layer at inputs of its own, as a VampPrior's are."""

    def __init__(self, weighted=False):
        super().__init__()
        torch.manual_seed(1)
        self.inputs = nn.Parameter(100 * torch.randn(K, 4))
        self.layer = Linear(4, 2 * M)
        self.components = Components(K, M, weighted, self.source)

    def source(self):
        return self.layer(rounded(self.inputs)).chunk(2, 1)


def learned(weighted=True):
    torch.manual_seed(0)
    components = Components(K, M, weighted)
    with torch.no_grad():
        components.log_weights.normal_()
        components.centres.mul_(1.3)
    return components


@pytest.mark.parametrize("make", [learned, lambda: Made().components, lambda: Made(True).components])
def test_they_are_whole_and_stay_what_they_were(make):
    """Frozen or not; as real numbers they are close; stored and loaded they are the same."""
    components = make()
    before = [part.detach() for part in components()]
    assert [tuple(part.shape) for part in before] == [(K, M), (K, M), (K,)]
    assert all(torch.equal(part, part.round()) and part.abs().max() <= 2047 for part in before)
    set_exact(components, False)
    assert all((a - b).abs().max() <= 0.5 for a, b in zip(components()[2:], before[2:], strict=True))
    set_exact(components, True)
    stored = components.stored()
    assert list(stored) == list(Components.stored_names)
    components.freeze()
    assert all(torch.equal(a, b) for a, b in zip(components(), before, strict=True))
    again = Components(K, M)
    again.load_stored(**stored)
    assert all(torch.equal(a, b) for a, b in zip(again(), before, strict=True))
    assert {k: v.tolist() for k, v in again.stored().items()} == {k: v.tolist() for k, v in stored.items()}
    again.frozen = None  # learning goes on from there
    assert all(torch.equal(a, b) for a, b in zip(again(), before, strict=True))


def test_numbers_beyond_the_bound_are_stored_as_the_bound():
    """Which codes the same; and what went too far comes back."""
    components = learned()
    with torch.no_grad():
        components.centres[0, 0, 0], components.centres[1, 0, 0], components.log_weights[0] = 100, -100, 50
    stored = components.stored()
    assert (stored["means"][0, 0], stored["log_sigmas"][0, 0], stored["log_weights"][0]) == (2047, -2047, 2047)
    value = torch.zeros(1, M)
    live, kept = (Mixture(w, Gaussian(m, s, 8), 1) for m, s, w in (components(), (p.float() for p in stored.values())))
    assert live.information(value) == kept.information(value)
    (-live.log_prob(value)).sum().backward()
    assert components.centres.grad[0, 0, 0] > 0


@pytest.mark.parametrize("weighted", [False, True])
def test_what_is_learned(weighted):
    """Weights only where they are asked for; centres, or what the source is made of."""
    model = Made(weighted)
    sum(part.sum() for part in model.components()).backward()
    assert model.inputs.grad.abs().sum() > 0
    assert [name for name, _ in model.components.named_parameters()] == ["log_weights"] * weighted
    components = Components(K, M, weighted)
    assert [name for name, _ in components.named_parameters()] == ["centres"] + ["log_weights"] * weighted
    assert components()[2].abs().sum() == 0


def test_a_copy_has_the_source_of_the_copy():
    """Weights are averaged and codecs saved from deep copies, which must not ask the model that learns."""
    model = Made()
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.inputs.neg_()
    assert not torch.equal(other.components()[0], model.components()[0])
    other.components.freeze()
    assert model.components.frozen is None


def test_they_are_parts_but_no_layers():
    """So that Muon, which is for matrices, leaves them alone, and codec files hold them."""
    model = Made()
    assert list(exact_layers(model)) == ["layer"]
    assert list(exact_parts(model)) == ["layer", "components"]


def numbers(**changes):
    return {
        "means": torch.zeros(K, M, dtype=torch.int16),
        "log_sigmas": torch.zeros(K, M, dtype=torch.int16),
        "log_weights": torch.zeros(K, dtype=torch.int16),
    } | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"means": torch.zeros(K, M)}, "float32"),
        ({"log_weights": torch.zeros(K, dtype=torch.int32)}, "int32"),
        ({"means": torch.zeros(K + 1, M, dtype=torch.int16)}, "shape"),
        ({"log_sigmas": torch.zeros(K, M + 1, dtype=torch.int16)}, "shape"),
        ({"log_weights": torch.zeros(1, dtype=torch.int16)}, "shape"),
        ({"means": torch.full((K, M), 2048, dtype=torch.int16)}, "within"),
        ({"log_weights": torch.full((K,), -32768, dtype=torch.int16)}, "within"),
    ],
)
def test_numbers_that_cannot_be_are_refused(changes, message):
    with pytest.raises(BadCodecFile, match=message):
        Components(K, M).load_stored(**numbers(**changes))
    Components(K, M).load_stored(**numbers())
