"""Delta-VAEs small enough for tests, none of whose parts is idle, and images for them."""

from dataclasses import replace

import torch
from tiny_models import pictures, tensor

from bbcodec.exact.layers import exact_layers
from bbcodec.models.delta_vae import DeltaVae, DeltaVaeConfig

TINY = DeltaVaeConfig(
    channels=1,
    hidden=8,
    layers=2,
    attentions=1,
    radius=1,
    components=2,
    heads=2,
    head_size=4,
    window=20,
    width=8,
    blocks=1,
    latent_channels=2,
    rows=9,
    auxiliary=4,
)
CONFIGS = {
    "binary": replace(TINY, levels=2),
    "grey": TINY,
    "RGB": replace(TINY, channels=3, encoder="non-causal"),
}
KINDS = list(CONFIGS)
VARIANTS = {
    "independent": replace(TINY, prior="independent", rate_bits=20),
    "standard": replace(TINY, prior="standard"),
    "decoder alone": replace(TINY, latent_channels=0),
    "no attention, no LSTM": replace(TINY, attentions=0, encoder_attentions=0, auxiliary=0),
    "a rate": replace(TINY, rate_bits=8),
}


def tiny(config: DeltaVaeConfig, seed: int = 0, auxiliary: bool = False) -> DeltaVae:
    """An untrained model with random biases, and with something to say in every weight."""
    torch.manual_seed(seed)
    model = DeltaVae(config)
    with torch.no_grad():
        for layer in exact_layers(model).values():
            layer.bias += 0.2 * torch.randn_like(layer.bias)
            if not layer.weight.any():
                layer.weight.normal_(0, 0.1)
        if auxiliary:
            model.choice.saved.fill_(1.0)
    return model.eval()


def images_of(config: DeltaVaeConfig, count: int, height: int, width: int) -> torch.Tensor:
    kind = "binary" if config.levels == 2 else "RGB" if config.channels == 3 else "grey"
    return tensor(pictures(kind, count, height, width))
