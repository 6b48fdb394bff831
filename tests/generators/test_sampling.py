"""A generator's image i depends on the seed and i alone; bad requests are named."""

import pytest
import torch

from bigroc_core.cards import CIFAR10_CLASSES, Card
from bigroc_core.generators.dcgan import DCGANGenerator
from bigroc_core.generators.registry import embedded_generators, load_generator
from bigroc_core.generators.sampling import Generator, LatentSampler, index_seed


@pytest.fixture
def conditional():
    torch.manual_seed(0)
    card = Card(name="tiny", kind="generator", architecture="dcgan", classes=CIFAR10_CLASSES, conditional=True)
    return Generator(LatentSampler(DCGANGenerator(latent=8, width=4, classes=10)), card)


@pytest.fixture
def unconditional():
    torch.manual_seed(0)
    card = Card(name="tiny", kind="generator", architecture="dcgan")
    return Generator(LatentSampler(DCGANGenerator(latent=8, width=4)), card)


def test_any_split_gives_the_same_bits(conditional):
    whole, labels = conditional.sample(90, seed=5)
    parts = [conditional.sample(count, seed=5, start=start) for start, count in ((0, 1), (1, 40), (41, 49))]
    assert torch.equal(whole, torch.cat([images for images, _ in parts]))
    assert torch.equal(labels, torch.cat([part for _, part in parts]))
    assert labels[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert whole.dtype == torch.float32
    assert whole.min() >= 0
    assert whole.max() <= 1


def test_seeds_and_labels_matter(conditional):
    first, _ = conditional.sample(4, labels=[1, 1, 2, 2], seed=5)
    assert not torch.equal(first, conditional.sample(4, labels=[1, 1, 2, 2], seed=6)[0])
    other, _ = conditional.sample(4, labels=[1, 3, 2, 2], seed=5)
    assert torch.equal(first[[0, 2, 3]], other[[0, 2, 3]])


def test_no_two_images_of_a_seed_share_a_latent():
    seeds = {index_seed(7, index) for index in range(50_000)}
    assert len(seeds) == 50_000
    assert not seeds & {index_seed(8, index) for index in range(50_000)}


def test_unconditional_has_no_labels(unconditional):
    images, labels = unconditional.sample(3)
    assert labels is None
    assert images.shape == (3, 3, 32, 32)
    with pytest.raises(ValueError, match="unconditional"):
        unconditional.sample(3, labels=[0, 1, 2])


@pytest.mark.parametrize(
    "request_",
    [
        {"count": -1},
        {"count": 2.5},
        {"count": 1, "seed": -1},
        {"count": 1, "start": -1},
        {"count": 1, "seed": 2**63},
        {"count": 2, "labels": [0]},
        {"count": 1, "labels": [10]},
        {"count": 1, "labels": [-1]},
        {"count": 1, "labels": [0.5]},
    ],
)
def test_bad_requests_are_refused(conditional, request_):
    with pytest.raises(ValueError, match="must be"):
        conditional.sample(**request_)


def test_unknown_generator_says_what_there_is():
    with pytest.raises(ValueError, match="embedded"):
        load_generator("cifar100-gan")


@pytest.mark.parametrize("name", sorted(embedded_generators()))
def test_embedded_generators_sample(name):
    generator = load_generator(name)
    images, _ = generator.sample(32)
    assert images.std() > 0.1
    assert torch.isfinite(images).all()
