"""P1 Alg. 1 against its textbook form, and the bounds it promises."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from textbook import CLASSES, conv_net, some_images, textbook, transformer
from torch import Tensor, nn

from bigroc_core.attack import L2Ball, LinfBall, RawGradient, l2_attack
from bigroc_core.boosting import BoostConfig, boost

NETWORKS = {"conv": conv_net, "transformer": transformer}


def some_labels(count: int) -> Tensor:
    return (torch.arange(count) * 3 + 1) % CLASSES


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("batch_size", [1, 3, 8])
@pytest.mark.parametrize(
    ("norm", "gradient", "eps", "alpha"),
    [
        ("l2", "normalized", 1.0, None),
        ("l2", "normalized", 0.5, 0.3),  # reaches the sphere and is projected
        ("linf", "normalized", 0.03, None),
        ("linf", "normalized", 0.02, 0.015),
        ("l2", "raw", 0.5, 0.2),
        ("linf", "raw", 0.02, 0.2),
    ],
)
def test_equals_the_textbook_in_float64(network, batch_size, norm, gradient, eps, alpha):
    classifier, x, labels = NETWORKS[network](), some_images(8), some_labels(8)
    config = BoostConfig(eps=eps, steps=12, step_size=alpha, norm=norm, gradient=gradient)
    boosted = boost(classifier, x, labels, config, batch_size=batch_size).images
    expected = textbook(classifier, x, labels, eps, 12, norm, gradient == "raw", alpha)
    assert (expected - x).abs().max() > 1e-3
    assert (boosted - expected).abs().max() <= 1e-9


@pytest.mark.parametrize("network", NETWORKS)
def test_one_step_in_float32_agrees_with_the_textbook(network):
    classifier, x, labels = NETWORKS[network](), some_images(8, dtype=torch.float32), some_labels(8)
    for norm, eps in (("l2", 0.7), ("linf", 0.02)):
        boosted = boost(classifier, x, labels, BoostConfig(eps=eps, steps=1, norm=norm)).images
        expected = textbook(classifier, x, labels, eps, 1, norm)
        close = (boosted - expected).abs() <= 1e-5
        if norm == "l2":
            assert close.all()
        else:  # where the gradient is all but zero its sign is rounding
            gradient = input_gradient(classifier, x, labels)
            small = gradient.abs() <= 1e-4 * gradient.abs().amax(dim=(1, 2, 3), keepdim=True)
            assert (close | small).all()
            assert close.float().mean() > 0.99


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(("norm", "eps"), [("l2", 1.0), ("linf", 0.03)])
def test_many_steps_in_float32_have_the_textbook_outcome(network, norm, eps):
    classifier, x, labels = NETWORKS[network](), some_images(8, dtype=torch.float32), some_labels(8)
    result = boost(classifier, x, labels, BoostConfig(eps=eps, steps=30, norm=norm), batch_size=5)
    expected = textbook(classifier, x, labels, eps, 30, norm)
    wanted = copy.deepcopy(classifier).eval()(expected)
    ours, theirs = (F.cross_entropy(logits, labels, reduction="none") for logits in (result.logits_after, wanted))
    assert (ours - theirs).abs().max() <= 0.01
    assert ((-ours).exp() - (-theirs).exp()).abs().max() <= 0.01
    assert (result.l2 - (expected - x).flatten(1).norm(dim=1)).abs().max() <= 0.01


def input_gradient(classifier: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    loss = F.cross_entropy(copy.deepcopy(classifier).eval()(leaf), labels, reduction="sum")
    return torch.autograd.grad(loss, leaf)[0]


class Linear(nn.Module):
    """Logits linear in the pixels, of images of any size: every step has somewhere to go."""

    def __init__(self, size: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(2)
        self.weight = nn.Parameter(torch.randn(3 * size * size, CLASSES, generator=generator) / size)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight


@pytest.mark.parametrize("size", [16, 64, 224])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_stays_in_the_ball_and_in_range(size, dtype):
    x, labels = some_images(2, size, dtype), some_labels(2)
    tolerance = 1e-6 if dtype == torch.float32 else 1e-9
    for norm, radii in (("l2", (1e-6, 1e-3, 0.5, 5.0, 30.0)), ("linf", (1e-6, 0.03, 0.7))):
        for eps in radii:
            for config in (
                BoostConfig(eps=eps, steps=4, norm=norm),
                BoostConfig(eps=eps, steps=4, norm=norm, step_size=eps),
                BoostConfig(eps=eps, steps=3, norm=norm, step_size=1e4, gradient="raw"),
            ):
                result = boost(Linear(size), x, labels, config)
                moved = (result.images - x).double().flatten(1)
                length = moved.norm(dim=1) if norm == "l2" else moved.abs().amax(dim=1)
                assert length.max() <= eps + tolerance
                assert result.images.min() >= 0
                assert result.images.max() <= 1
                assert torch.allclose(result.l2.double(), moved.norm(dim=1), rtol=1e-6, atol=0)
                assert torch.equal(result.linf.double(), moved.abs().amax(dim=1))
                assert eps < 1e-5 or length.max() > 0  # below the pixels' own spacing nothing can move


class Directed(nn.Module):
    """Two classes whose gradient is the same size in every pixel, so that all roundings can add up."""

    def __init__(self, signs: Tensor) -> None:
        super().__init__()
        self.register_buffer("signs", signs)

    def forward(self, x: Tensor) -> Tensor:
        first = (self.signs * (x - 0.5)).mean(dim=(1, 2, 3))
        return torch.stack([first, -first], dim=1)


@pytest.mark.parametrize("steps", [1, 3])
def test_rounding_does_not_lead_out_of_the_ball(steps):
    brighter = torch.ones(1, 1, 224, 224)
    checkered = brighter.clone()
    checkered[..., ::2] = -1
    grey = 0.6 + 0.05 * torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    # Black pixels hold any step exactly, so the projection's own rounding shows; grey ones show the sum's.
    for x, signs in ((torch.zeros_like(grey), brighter), (grey, checkered)):
        for eps in (1e-5, 1.6e-5, 2.8e-5, 3.9e-5, 1.0, *(21.7 + 1.3 * i for i in range(20))):
            config = BoostConfig(eps=eps, steps=steps, step_size=1.5 * eps)
            moved = (boost(Directed(signs), x, 0, config).images - x).double().flatten(1)
            assert moved.norm() <= eps + 1e-6
            assert eps < 1 or moved.norm() >= eps * (1 - 1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_radius_and_zero_steps_are_the_identity_bit_for_bit(dtype):
    classifier, x = conv_net(), some_images(4, dtype=dtype)
    for norm in ("l2", "linf"):
        for gradient in ("normalized", "raw"):
            config = BoostConfig(eps=0, steps=5, norm=norm, gradient=gradient, step_size=0.5)
            assert torch.equal(boost(classifier, x, 1, config).images, x)
    result = boost(classifier, x, 1, BoostConfig(eps=1, steps=0))
    assert torch.equal(result.images, x)
    assert torch.equal(result.logits_before, result.logits_after)
    assert result.steps_taken.tolist() == [0] * 4


def test_an_image_without_gradient_does_not_move():
    class Indifferent(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.zeros(len(x), CLASSES, dtype=x.dtype) + 0 * x.mean()

    x = some_images(3)
    for norm in ("l2", "linf"):
        assert torch.equal(boost(Indifferent(), x, 0, BoostConfig(norm=norm, steps=4)).images, x)


def test_a_radius_per_image_bounds_each_by_its_own_and_follows_the_images():
    generator = torch.Generator().manual_seed(0)
    delta = torch.randn(4, 3, 5, 5, dtype=torch.float64, generator=generator)
    radii = torch.tensor([0.0, 0.5, 2.0, 100.0], dtype=torch.float64)
    for ball, norm in ((L2Ball, lambda d: d.flatten(1).norm(dim=1)), (LinfBall, lambda d: d.abs().amax((1, 2, 3)))):
        projected = ball(radii).project(delta)
        for i, radius in enumerate(radii):
            assert torch.equal(projected[i : i + 1], ball(float(radius)).project(delta[i : i + 1]))
        assert (norm(projected) <= radii).all()
        rows = torch.tensor([3, 1])
        assert torch.equal(ball(radii).of(rows).project(delta[rows]), projected[rows])
        assert torch.equal(RawGradient(ball(radii)).of(rows).project(delta[rows]), projected[rows])
        assert ball(0.5).of(rows).radius == 0.5


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("start", ["random", "zero"])
def test_the_attack_of_training_and_of_the_cards_accuracies_is_the_plain_loop_bit_for_bit(steps, start):
    classifier, x, labels = conv_net().eval(), some_images(6, dtype=torch.float32), some_labels(6)
    draws = None if start == "zero" else torch.Generator().manual_seed(3)
    found = l2_attack(classifier, x, labels, 0.5, steps, draws)

    def lengths(images: Tensor) -> Tensor:
        return images.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)

    delta, step_size = torch.zeros_like(x), 0.5 if steps == 1 else 2.5 * 0.5 / steps
    if start == "random":
        draws = torch.Generator().manual_seed(3)
        noise = torch.randn(x.shape, generator=draws)
        delta = (x + 0.5 * torch.rand(6, 1, 1, 1, generator=draws) * noise / lengths(noise)).clamp(0, 1) - x
    for _ in range(steps):
        point = (x + delta).requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(classifier(point), labels, reduction="sum"), point)
        delta = delta + step_size * gradient / lengths(gradient)
        delta = delta * (0.5 / lengths(delta)).clamp(max=1)
        delta = (x + delta).clamp(0, 1) - x
    assert torch.equal(found, x + delta)
    assert (found - x).flatten(1).norm(dim=1).max() <= 0.5 + 1e-5


def test_directions_and_projections():
    g = torch.tensor([3.0, -4.0, 0.0]).view(1, 3, 1, 1)
    assert torch.allclose(L2Ball(1.0).direction(g).flatten(), torch.tensor([0.6, -0.8, 0.0]))
    assert LinfBall(1.0).direction(g).flatten().tolist() == [1, -1, 0]
    assert RawGradient(L2Ball(1.0)).direction(g) is g
    assert torch.allclose(L2Ball(2.5).project(g), g / 2)
    assert torch.equal(L2Ball(5.0).project(g), g)
    assert LinfBall(3.5).project(g).flatten().tolist() == [3, -3.5, 0]
    assert torch.allclose(RawGradient(L2Ball(2.5)).project(g), g / 2)
    assert L2Ball(0.0).project(torch.zeros_like(g)).flatten().tolist() == [0, 0, 0]
