"""Recorded steps: where they stand, they give what a plain run gives, whoever rests and however many come."""

from __future__ import annotations

import pytest
import torch
from textbook import conv_net
from torch import nn
from torch.nn import functional as F

import bigroc_core as bc
from bigroc_core.engine import fused, graphs, viewed
from bigroc_core.engine.frozen import FrozenNetwork


@pytest.fixture
def recording(monkeypatch):
    """Graphs where there is no CUDA: what would be replayed is computed. Returns the sizes that were recorded."""
    sizes = []

    def recorded(graph):
        sizes.append(len(graph.x))
        return graph._take

    monkeypatch.setattr(graphs, "graphs_run", lambda device: True)
    monkeypatch.setattr(graphs.StepGraph, "_recorded", recorded)
    monkeypatch.setattr(viewed, "is_fast", lambda device, dtype: True)
    return sizes


@pytest.mark.parametrize(
    "config",
    [
        bc.BoostConfig(eps=0.5, steps=6),
        bc.BoostConfig(eps=0.03, steps=5, norm="linf"),
        bc.BoostConfig(eps=2.0, steps=8, stop_at=0.35),
        bc.BoostConfig(eps=0.5, steps=6, loss="combined", l0=3.0, gradient="raw", step_size=0.1),
    ],
    ids=["l2", "linf", "resting", "combined"],
)
@pytest.mark.parametrize("given", [True, False], ids=["given", "estimated"])
def test_replayed_steps_give_what_plain_ones_give(recording, config, given):
    network = conv_net()
    images = torch.rand(11, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(11) % 3 if given else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graphs, "graphs_run", lambda device: False)
        plain = bc.boost(network, images, labels, config, batch_size=4, precision="fast")
    assert not recording
    replayed = bc.boost(network, images, labels, config, batch_size=4, precision="fast")
    assert recording == [4]  # the second of three batches; the last, of three images, is padded
    for name in ("images", "labels", "logits_before", "logits_after", "steps_taken"):
        assert torch.equal(getattr(replayed, name), getattr(plain, name)), name
    if config.stop_at is not None:
        assert len(set(replayed.steps_taken.tolist())) > 1  # some rested while others went on


def test_what_cannot_be_recorded_is_computed(recording, monkeypatch):
    def fails(graph):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(graphs.StepGraph, "_recorded", fails)
    images, config = torch.rand(9, 3, 16, 16), bc.BoostConfig(eps=0.5, steps=6)
    boosted = bc.boost(conv_net(), images, 1, config, batch_size=3, precision="fast")
    whole = bc.boost(conv_net(), images, 1, config, batch_size=9, precision="fast")
    assert torch.allclose(boosted.images, whole.images, atol=0.02)


def test_masks_and_losses_of_ones_own_are_never_recorded(recording):
    images, config = torch.rand(9, 3, 16, 16), bc.BoostConfig(eps=0.5, steps=6)
    bc.boost(conv_net(), images, 1, config, batch_size=3, mask=torch.ones(16, 16) / 2, precision="fast")
    own = bc.BoostConfig(eps=0.5, steps=6, loss=lambda logits, labels: -logits[:, 0])
    bc.boost(conv_net(), images, 1, own, batch_size=3, precision="fast")
    assert not recording


class Residual(nn.Module):
    """Convolutions in every place where one may be fused, or must not be."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.first, self.second = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.shortcut, self.seen = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
        self.relu, self.head = nn.ReLU(inplace=True), nn.Linear(8, 5)

    def forward(self, x):
        x = self.relu(self.norm(self.stem(x)))
        y = self.second(F.relu(self.first(x)))
        y += self.shortcut(x)
        y = torch.relu(y)
        z = self.seen(y)  # read twice
        return self.head((F.relu(z) + z).mean(dim=(2, 3)))


@pytest.fixture
def cudnn(monkeypatch):
    """cuDNN's fused convolutions, computed step by step."""

    def convolution_relu(x, weight, bias, *geometry):
        return F.conv2d(x, weight, bias, *geometry).relu()

    def convolution_add_relu(x, weight, other, alpha, bias, *geometry):
        return (F.conv2d(x, weight, bias, *geometry) + alpha * other).relu()

    monkeypatch.setattr(torch, "cudnn_convolution_relu", convolution_relu)
    monkeypatch.setattr(torch, "cudnn_convolution_add_relu", convolution_add_relu)
    real = torch.autocast
    monkeypatch.setattr(torch, "autocast", lambda device, **settings: real("cpu", **settings))


def test_a_fused_copy_computes_the_same_and_its_gradient(cudnn):
    torch.manual_seed(0)
    network, images = Residual(), torch.rand(4, 3, 12, 12)
    with torch.no_grad():
        network.train()(images)
    frozen = FrozenNetwork(network.eval(), images)
    copy = fused.fused_copy(frozen._network, images)
    made = [name for name, module in copy.named_modules() if isinstance(module, fused.FusedConvolution)]
    assert made == ["fused_stem", "fused_first", "fused_second"]
    ours, theirs = (torch.autograd.functional.jacobian(one, images[:1]) for one in (as_fast(copy), frozen))
    with torch.no_grad():
        assert (as_fast(copy)(images) - frozen(images)).abs().max() < 0.02 * frozen(images).abs().max()
    assert F.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0) > 0.999


def as_fast(network):
    def look(images):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return network(images).float()

    return look


def test_a_fused_copy_that_computes_something_else_is_not_used(cudnn, monkeypatch):
    monkeypatch.setattr(torch, "cudnn_convolution_relu", lambda x, weight, bias, *g: F.conv2d(x, weight, bias, *g))
    torch.manual_seed(0)
    network, images = Residual(), torch.rand(4, 3, 12, 12)
    frozen = FrozenNetwork(network.eval(), images)
    copy = fused.fused_copy(frozen._network, images)
    assert not any(isinstance(module, fused.FusedConvolution) for module in copy.modules())


def test_a_network_that_cannot_be_followed_is_taken_as_it_is(cudnn):
    class Deciding(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

        def forward(self, x):
            y = torch.relu(self.conv(x))
            return self.head(y.mean((2, 3)) if y.sum() > 0 else y.amax((2, 3)))

    network, images = Deciding().requires_grad_(False), torch.rand(2, 3, 8, 8)
    copy = fused.fused_copy(network, images)
    with torch.no_grad():
        assert torch.allclose(as_fast(copy)(images), network(images), atol=0.02)
