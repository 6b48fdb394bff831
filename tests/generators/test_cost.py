"""What an image costs, against the sums written out by hand."""

from __future__ import annotations

import pytest
import torch

from bigroc_core.cards import CIFAR10_CLASSES, Card
from bigroc_core.generators.cost import sampling_cost
from bigroc_core.generators.dcgan import DCGANGenerator
from bigroc_core.generators.sampling import Generator, LatentSampler


def test_multiply_adds_and_parameters_of_a_dcgan_are_those_of_its_layers() -> None:
    network = DCGANGenerator(latent=8, width=4, classes=10)
    card = Card(name="small", kind="generator", architecture="dcgan", conditional=True, classes=CIFAR10_CLASSES)
    cost = sampling_cost(Generator(LatentSampler(network), card))
    # A transposed convolution multiplies each pixel it is given by each of its weights.
    layers = ((16, 8, 4 * 4), (8, 4, 8 * 8), (4, 3, 16 * 16))
    assert cost.macs == 8 * 16 * 16 + sum(pixels * a * b * 16 for a, b, pixels in layers)
    assert cost.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert cost.evaluations == 1


def test_every_evaluation_of_a_sampler_of_several_steps_counts() -> None:
    class Twice(LatentSampler):
        def __call__(self, seed, indices, labels):
            return (super().__call__(seed, indices, labels) + super().__call__(seed, indices, labels)) / 2

    card = Card(name="small", kind="generator", architecture="dcgan")
    once = sampling_cost(Generator(LatentSampler(DCGANGenerator(latent=8, width=4)), card))
    twice = sampling_cost(Generator(Twice(DCGANGenerator(latent=8, width=4)), card))
    assert (twice.evaluations, twice.macs) == (2, 2 * once.macs)


def test_a_sampler_without_a_network_is_refused() -> None:
    class Grey:
        block = 32

        def __call__(self, seed, indices, labels):
            return torch.full((len(indices), 3, 32, 32), 0.5)

    with pytest.raises(ValueError, match="small is not drawn by a network"):
        sampling_cost(Generator(Grey(), Card(name="small", kind="generator", architecture="grey")))
