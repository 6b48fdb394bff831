"""BatchNorm is folded where that changes nothing, and nowhere else."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import bigroc_core as bc
from bigroc_core.boosting import BoostConfig, boost
from bigroc_core.classifiers.architectures import new_network
from bigroc_core.classifiers.networks import NETWORKS
from bigroc_core.engine.folding import foldable_pairs
from bigroc_core.engine.frozen import frozen_copy


def lived_in(network: nn.Module, size: int = 16) -> nn.Module:
    """The network with BatchNorm that has seen data, scales of both signs and a zero among them; in eval mode."""
    draws = torch.Generator().manual_seed(3)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.affine:
            with torch.no_grad():
                module.weight.copy_(torch.randn(module.num_features, generator=draws))
                module.bias.copy_(torch.randn(module.num_features, generator=draws))
                module.weight[0] = 0
    network.train()
    with torch.no_grad():
        network(torch.rand(8, 3, size, size, generator=draws))
    return network.eval()


class Block(nn.Module):
    """Convolution, BatchNorm, and how the one is joined to the other."""

    def __init__(self, join: Callable[[Block, Tensor], Tensor], norm: nn.Module | None = None, bias: bool = False):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, bias=bias, padding=1, padding_mode="reflect")
        self.norm = norm or nn.BatchNorm2d(5)
        self.other = nn.Conv2d(5, 5, 1, groups=5)
        self.join = join

    def forward(self, x: Tensor) -> Tensor:
        return self.join(self, x).relu_().mean((2, 3))


def plain(block: Block, x: Tensor) -> Tensor:
    return block.norm(block.conv(x))


def read_twice(block: Block, x: Tensor) -> Tensor:
    found = block.conv(x)
    return block.norm(found) + 0.1 * found


def called_twice(block: Block, x: Tensor) -> Tensor:
    return block.norm(block.conv(x)) + block.conv(x.flip(3))


def weight_used_elsewhere(block: Block, x: Tensor) -> Tensor:
    return block.norm(block.conv(x)) + F.conv2d(x, block.conv.weight, padding=1)


def norm_called_twice(block: Block, x: Tensor) -> Tensor:
    return block.norm(block.conv(x)) + block.norm(block.other(block.conv(x)))


def something_between(block: Block, x: Tensor) -> Tensor:
    return block.norm(block.conv(x).abs())


def viewed(block: Block, x: Tensor) -> Tensor:
    found = block.conv(x)
    view = found[:, :1]
    return block.norm(found) * view


def by_value(block: Block, x: Tensor) -> Tensor:
    found = block.conv(x)
    return block.norm(found) if float(found.mean()) > -1e9 else found


def functional(block: Block, x: Tensor) -> Tensor:
    return block.norm(F.conv2d(x, block.conv.weight, padding=1))


@pytest.mark.parametrize(
    ("join", "folded"),
    [
        (plain, 1),
        (read_twice, 0),
        (called_twice, 0),
        (norm_called_twice, 0),
        (something_between, 0),
        (viewed, 0),
        (by_value, 0),
        (functional, 0),
        (weight_used_elsewhere, 0),
    ],
)
def test_folded_where_the_norm_alone_reads_the_convolution(join, folded):
    x = torch.rand(4, 3, 9, 9, dtype=torch.float64)
    block = lived_in(Block(join)).double()
    with frozen_copy(block, x) as network, torch.no_grad():
        assert len(network._pairs) == folded
        assert (network(x) - block(x)).abs().max() <= 1e-12
        assert network.still_matches(block, x)


def test_norms_that_look_at_the_batch_tied_weights_and_hooks_stay_as_they_are():
    x = torch.rand(4, 3, 9, 9, dtype=torch.float64)
    of_batch = Block(plain, nn.BatchNorm2d(5, track_running_stats=False)).double().eval()
    tied = lived_in(Block(plain)).double()
    tied.again = nn.Conv2d(3, 5, 3)
    tied.again.weight = tied.conv.weight
    hooked = lived_in(Block(plain)).double()
    seen: list[Tensor] = []
    hooked.conv.register_forward_hook(lambda _module, _inputs, output: seen.append(output.clone()))
    for block in (of_batch, tied, hooked):
        with frozen_copy(block, x) as network, torch.no_grad():
            assert network._pairs == []
            seen.clear()
            assert torch.allclose(network(x), block(x), atol=1e-12)
    assert torch.equal(seen[0], seen[1])


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("affine", [False, True])
def test_bias_and_scale_are_optional(bias, affine):
    x = torch.rand(2, 3, 9, 9, dtype=torch.float64)
    block = lived_in(Block(plain, nn.BatchNorm2d(5, affine=affine), bias)).double()
    with frozen_copy(block, x) as network, torch.no_grad():
        assert len(network._pairs) == 1
        assert (network(x) - block(x)).abs().max() <= 1e-12


@pytest.mark.parametrize("name", [*sorted(NETWORKS), "cifar_resnet18", "resnet50", "densenet121", "googlenet"])
def test_known_architectures_give_the_same_logits(name):
    torch.manual_seed(0)
    network = lived_in(new_network(name, classes=10), 32)
    x = torch.rand(2, 3, 32, 32)
    with frozen_copy(network, x.double()) as exact, torch.no_grad():
        theirs = copy.deepcopy(network).double()(x.double())
        assert (exact(x.double()) - theirs).abs().max() <= 1e-9 * theirs.abs().max()
    with frozen_copy(network, x) as ours, torch.no_grad():
        assert (ours(x) - theirs).abs().max() <= 1e-4 * theirs.abs().max()


@pytest.mark.parametrize(
    "change",
    [
        lambda block: block.conv.weight.data.mul_(1.001),
        lambda block: block.norm.weight.data.mul_(-1),
        lambda block: block.norm.running_var.mul_(2),
        lambda block: block.norm.running_mean.add_(1),
        lambda block: block.conv.bias.data.add_(0.1),
        lambda block: setattr(block.norm, "eps", 0.1),
    ],
)
def test_a_change_to_what_was_folded_is_seen(change):
    x = torch.rand(2, 3, 9, 9, dtype=torch.float64)
    block = lived_in(Block(plain, bias=True)).double()
    with frozen_copy(block, x):
        pass
    change(block)
    with frozen_copy(block, x) as network, torch.no_grad():
        assert (network(x) - block(x)).abs().max() <= 1e-12


def test_features_are_those_of_the_network_as_it_is():
    x = torch.rand(2, 3, 9, 9, dtype=torch.float64)
    block = lived_in(Block(plain)).double()
    with torch.no_grad():
        expected = {"conv": block.conv(x), "norm": block.norm(block.conv(x)), "": block(x)}
        for name in ("norm", "conv", "norm"):
            with frozen_copy(block, x, [name]) as network:
                assert len(network._pairs) == (name != "conv")
                # relu_ works in place on what BatchNorm gave.
                (found,) = network.features(x, [name])
                assert torch.allclose(found, expected[name].relu() if name == "norm" else expected[name], atol=1e-12)


class Counting(nn.Module):
    """Counts its runs; with noise, it also draws from the global generator."""

    def __init__(self, noise: bool) -> None:
        super().__init__()
        self.block, self.noise, self.runs = lived_in(Block(plain)), noise, 0

    def forward(self, x: Tensor) -> Tensor:
        self.runs += 1
        return self.block(x + 0.01 * torch.randn_like(x) if self.noise else x)


@pytest.mark.parametrize("noise", [False, True])
def test_looking_for_what_to_fold_leaves_no_trace(noise):
    network, x = Counting(noise).eval(), torch.rand(1, 3, 9, 9)
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    before = torch.get_rng_state()
    assert len(foldable_pairs(network, x, network.state_dict(keep_vars=True).values())) == (not noise)
    assert network.runs == 0
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_the_robust_classifier_is_folded_and_boosts_as_the_loop_does():
    classifier = bc.load_classifier("cifar10-robust")
    x = torch.rand(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with frozen_copy(classifier, x) as network:
        assert network._pairs
    found = boost(classifier, x, 3, BoostConfig(eps=1.0, steps=1))
    exact = copy.deepcopy(classifier).double().eval()
    start = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(exact(start), torch.tensor([3, 3]), reduction="sum"), start)
    step = gradient / gradient.flatten(1).norm(dim=1)[:, None, None, None]
    assert (found.images - (x - step).clamp(0, 1)).abs().max() <= 1e-9


def test_looking_for_what_to_fold_does_not_import_the_compiler():
    script = """
import sys, torch, bigroc_core as bc
bc.boost(bc.load_classifier("cifar10-robust"), torch.rand(1, 3, 32, 32), config=bc.BoostConfig(eps=1, steps=1))
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
