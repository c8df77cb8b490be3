"""The costs of a message: a model whose bounds are known by heart, steps that add up, and faults that are told."""

import math

import numpy as np
import pytest
import torch
from pattern_model import LOG_SIGMA, PRIOR, codec_content, familiar, load_pattern, pattern
from tiny_models import KINDS, pictures, pixel_format, tiny

from bbcodec.archive.format.chunks import LEARNED
from bbcodec.archive.format.container import ContainerReader, ContainerWriter
from bbcodec.codec import pool as workers
from bbcodec.codec.catalogue import parse_codec
from bbcodec.codec.codec import Codec
from bbcodec.codec.message import LearnedMessage
from bbcodec.codec.pool import CodecPool, CodecSource
from bbcodec.codec.torch_backend import TorchBackend
from bbcodec.errors import BBCodecError, DamagedArchive
from bbcodec.model.bounds import iwae
from bbcodec.report.coding_costs import (
    UNITS_PER_BIT,
    ChunkTask,
    MeanMoments,
    importance_weights_of,
    measure_chunk,
    measure_message,
    units_from_nats,
)

NATS = UNITS_PER_BIT / math.log(2)


@pytest.fixture(scope="module")
def codec():
    return load_pattern(codec_content())


@pytest.fixture(scope="module")
def images():
    return familiar(2000)


@pytest.fixture(scope="module")
def costs(codec, images):
    return measure_message(codec, images, codec.encode_message(images))


def known_bound(images):
    """Rate of z1 and distortion of each image, nats, by quadrature over the posterior of z1."""
    looks = ((2.0 * images[..., 0] - 1) * pattern()).mean((1, 2))
    mean, sigma, prior = np.rint(looks * 300) / 256, math.exp(LOG_SIGMA / 256), math.exp(PRIOR / 256)
    rate = math.log(prior / sigma) + (sigma**2 + mean**2) / (2 * prior**2) - 0.5
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    z = mean[:, None] + sigma * nodes
    right = images[0].size * (1 + looks) / 2  # pixels that agree with the pattern
    cost = right[:, None] * np.logaddexp(0, -2 * z) + (images[0].size - right)[:, None] * np.logaddexp(0, 2 * z)
    return rate, cost @ (weights / weights.sum())


def test_the_bound_is_that_of_theory(costs, images):
    """Over 2,000 images each with one draw, within four standard errors of the draws."""
    rate, distortion = known_bound(images)
    for name, expected in (("z1", rate), ("x", distortion)):
        differences = costs.sites[name].elbo / NATS - expected
        assert abs(differences.mean()) < 4 * differences.std() / math.sqrt(len(images)), name
        assert differences.std() > 0


def test_a_posterior_that_is_the_prior_costs_nothing(costs):
    site = costs.sites["z2"]
    assert not site.elbo.any()
    assert not site.discretised.any()
    assert not site.integer.any()
    assert (site.popped > 0).all()


def test_discretisation_and_whole_numbers_cost_little(costs):
    """The draws of the continuous and of the coded latents are the same but for the grid: they can be compared."""
    z1 = costs.sites["z1"]
    assert np.abs(z1.elbo - z1.discretised).mean() < 0.2 * NATS
    for site in costs.sites.values():
        assert np.abs(site.integer - site.discretised).max() < 1e-3 * NATS


def test_steps_add_up_to_the_message(costs):
    growth = costs.word_bytes * 8 * UNITS_PER_BIT - costs.initial_units - costs.spare_units
    assert abs(growth - costs.image_units.sum()) < 1e-4 * growth  # what rANS rounds
    assert costs.message_bytes == costs.word_bytes + 1
    assert costs.initial_units >= 32 * UNITS_PER_BIT
    assert UNITS_PER_BIT < costs.spare_units <= 33 * UNITS_PER_BIT


def test_sites_come_from_the_top_to_the_pixels(costs):
    assert [(name, site.latent) for name, site in costs.sites.items()] == [("z1", True), ("z2", True), ("x", False)]


def test_posterior_means_vary_as_the_images_do(costs, images):
    looks = ((2.0 * images[..., 0] - 1) * pattern()).mean((1, 2))
    means = np.rint(looks * 300) / 256
    found = costs.moments["z1", (1,)]
    assert found.squares[0] / found.count - (found.totals[0] / found.count) ** 2 == pytest.approx(means.var(), rel=1e-9)
    drawn = means.var() + np.exp(2 * LOG_SIGMA / 256)  # and a sigma around each mean
    assert found.shares == pytest.approx(means.var() / drawn, rel=0.1)
    halves = [MeanMoments.of(np.float64(part)[:, None], np.float64(part)[:, None]) for part in ([1, 2], [4, 9])]
    assert (halves[0] + halves[1]).shares == pytest.approx(1)


def test_importance_weights_close_the_gap(codec, images):
    """p(x) by quadrature over z1 is what the bound comes near to from below, the nearer the more draws there are."""
    some = images[:20]
    looks = ((2.0 * some[..., 0] - 1) * pattern()).mean((1, 2))
    right = some[0].size * (1 + looks) / 2
    prior = math.exp(PRIOR / 256)
    z = np.linspace(-7.99, 7.99, 20_001)[:, None]
    log_joint = -right * np.logaddexp(0, -2 * z) - (some[0].size - right) * np.logaddexp(0, 2 * z)
    log_joint -= z**2 / (2 * prior**2) + math.log(prior) + 0.5 * math.log(2 * math.pi)
    top = log_joint.max(0)
    log_p = top + np.log(np.exp(log_joint - top).sum(0) * (z[1] - z[0]))
    weights = importance_weights_of(codec, some, 400, 0)
    bounds = [iwae(weights, k).mean() for k in (1, 10, 100)]
    assert bounds == sorted(bounds)
    assert iwae(weights, 400).mean() == pytest.approx(log_p.mean(), abs=0.1)
    assert bounds[0] < log_p.mean() - 0.3


def test_a_message_of_another_chain_is_a_fault(codec, images):
    message = bytearray(codec.encode_message(images[:50]))
    message[-1] ^= 1
    with pytest.raises(BBCodecError, match="gives other bytes"):
        measure_message(codec, images[:50], bytes(message))


def test_images_that_cost_least_and_most_are_kept(costs, images):
    order = np.argsort(costs.image_units, kind="stable")
    assert set(costs.extreme_images) == {*order[:6].tolist(), *order[-6:].tolist()}
    for position, picture in costs.extreme_images.items():
        assert np.array_equal(picture, images[position] * 255)


@pytest.mark.parametrize("kind", KINDS)
def test_autoregressive_models_are_accounted_for(kind):
    about = parse_codec(codec_content(), "tiny")
    model = tiny(kind, seed=1)  # whose priors are so wide that few masses are of a few units
    codec = Codec(TorchBackend(model, torch.device("cpu")), pixel_format(kind), about)
    images = pictures(kind, 12, 9, 11)
    costs = measure_message(codec, images, codec.encode_message(images))
    bits = np.zeros(len(images))
    codec.encode_message(images, bits)
    assert np.array_equal(costs.image_units, np.rint(bits * UNITS_PER_BIT))
    for site in costs.sites.values():
        assert site.integer.sum() == pytest.approx(site.discretised.sum(), rel=2e-3)
        assert site.elbo.sum() == pytest.approx(site.discretised.sum(), rel=0.2)


def written(path, images, message):
    content = codec_content()
    about = parse_codec(content, "pattern")
    with open(path, "wb") as stream:
        writer = ContainerWriter(stream)
        digest = workers.digest64(images.tobytes())
        writer.add(LEARNED, LearnedMessage(about.digest[:4], digest, *images.shape[:3], message).pack())
        writer.finish()
    with open(path, "rb") as stream:
        chunk = next(one for one in ContainerReader(stream).directory.chunks if one.type == LEARNED)
    return CodecPool([CodecSource.of(about)], "cpu", load_pattern), chunk


def test_a_task_reads_its_chunk(tmp_path, codec, images, costs):
    pool, chunk = written(tmp_path / "a", images, codec.encode_message(images))
    found = measure_chunk(pool, ChunkTask(str(tmp_path / "a"), chunk, (0, 1999), (1, 10)))
    assert np.array_equal(found.image_units, costs.image_units)
    assert found.iwae_positions == (0, 1999)
    assert found.iwae_gaps_nats[1].tolist() == [0, 0]
    assert (found.draw_variances > 0).all()
    assert found.iwae_gaps_nats[10].shape == (2,)


def test_a_task_finds_damage(tmp_path, codec, images):
    other = images.copy()
    other[0, 0, 0] ^= 1
    pool, chunk = written(tmp_path / "a", other, codec.encode_message(images))
    with pytest.raises(DamagedArchive):
        measure_chunk(pool, ChunkTask(str(tmp_path / "a"), chunk))


def test_units_are_bits_of_two_to_the_24():
    assert units_from_nats([0.0, math.log(2), -math.log(4)]).tolist() == [0, 2**24, -(2**25)]
