"""No layer is ever given an input greater than the bound that its exactness was computed for."""

import pytest
import torch

from bbcodec.exact.arithmetic import guard
from bbcodec.exact.layers import ExactLayer, exact_layers
from bbcodec.exact.masked_conv import MaskedConv
from bbcodec.model.interpreters import elbo
from bbcodec.models.vlae import Vlae
from bbcodec.models.vlae_config import VlaeConfig

SMALL = {"hidden": 6, "layers": 2, "width": 8, "prior_hidden": 6, "prior_layers": 1, "components": 2}
MODELS = {
    "RGB": VlaeConfig(channels=3, latent_stride=4, context_stride=2, **SMALL),
    "grey": VlaeConfig(channels=1, latent_stride=4, context_stride=4, **SMALL),
    "binary": VlaeConfig(channels=1, levels=2, latent_stride=2, context_stride=1, **SMALL),
}


class Watch:
    """The greatest input of each layer, relative to its bound; and whether each input was whole."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.greatest: dict[str, float] = {}
        for name, layer in exact_layers(model).items():
            if isinstance(layer, MaskedConv):
                layer.sums = self.watched(name, layer, layer.sums)
                layer.pointwise = self.watched(name + " in waves", layer, layer.pointwise)
            else:
                layer.forward = self.watched(name, layer, layer.forward)

    def watched(self, name: str, layer: ExactLayer, function):
        """The function, its last argument looked at."""

        def call(*inputs):
            self.see(name, layer, inputs[-1])
            return function(*inputs)

        return call

    def see(self, name: str, layer: ExactLayer, x: torch.Tensor) -> None:
        assert torch.equal(x, x.round()), f"{name} was given a fraction"
        found = float(x.abs().max()) / layer.bound
        self.greatest[name] = max(found, self.greatest.get(name, 0.0))


@pytest.mark.parametrize("kind", list(MODELS))
@pytest.mark.parametrize("gain", [1.0, 30.0])
def test_inputs_stay_within_the_bound(kind, gain):
    """With ordinary weights, and with weights so large that everything saturates; in parallel and in waves."""
    config = MODELS[kind]
    torch.manual_seed(0)
    model = Vlae(config)
    with torch.no_grad():
        for layer in exact_layers(model).values():
            layer.weight.mul_(gain)
            layer.bias.normal_(0, gain)
    watch = Watch(model)
    images = torch.randint(0, config.levels, (3, config.channels, 13, 9)).float()
    images[0], images[1] = 0, config.levels - 1
    with torch.no_grad(), guard():
        elbo(model, images)
        model.prior((2, config.latent_channels, 3, 4)).rsample()
        latents = model.posterior(images).rsample()
        model.likelihood(latents, images.shape).rsample()
    layers = exact_layers(model)
    masked = {f"{name} in waves" for name, layer in layers.items() if isinstance(layer, MaskedConv)}
    assert set(watch.greatest) == set(layers) | masked
    assert max(watch.greatest.values()) <= 1
