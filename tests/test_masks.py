"""δ = m ⊙ u: what a mask leaves alone, how far the rest may move, and the masks that are refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as VF
from textbook import CLASSES, conv_net, some_images, textbook
from torch import Tensor, nn

import bigroc_core as bc

CONFIGS = [
    bc.BoostConfig(eps=1.0, steps=5),
    bc.BoostConfig(eps=0.4, steps=5, step_size=0.3),
    bc.BoostConfig(eps=0.03, steps=5, norm="linf"),
    bc.BoostConfig(eps=0.5, steps=4, step_size=0.2, gradient="raw"),
    bc.BoostConfig(eps=3.0, steps=8, stop_at=0.6),
]
LABELS = torch.arange(6) % CLASSES


def square(size: int = 16) -> Tensor:
    mask = torch.zeros(size, size, dtype=torch.float64)
    mask[3:11, 5:14] = 1
    return mask


def blurred(size: int = 16) -> Tensor:
    return VF.gaussian_blur(square(size)[None], [7, 7], [1.5, 1.5])[0].clamp(0, 1)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_outside_the_mask_pixels_come_back_bit_for_bit(config, dtype):
    x, mask = some_images(6, dtype=dtype), square()
    result = bc.boost(conv_net(), x, LABELS, config, mask=mask)
    moved = result.images != x
    assert not moved[:, :, mask == 0].any()
    going = result.steps_taken > 0
    assert going.any()
    assert moved[going][:, :, mask == 1].float().mean() > 0.5
    *_, last = bc.boost_stream(conv_net(), x, LABELS, config, mask=mask)
    assert torch.equal(last.images, result.images)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_all_ones_is_no_mask_bit_for_bit(config, dtype):
    x = some_images(6, dtype=dtype)
    without = bc.boost(conv_net(), x, LABELS, config)
    for shape in ((16, 16), (1, 16, 16), (6, 1, 16, 16)):
        result = bc.boost(conv_net(), x, LABELS, config, mask=torch.ones(shape))
        assert torch.equal(result.images, without.images)
        assert torch.equal(result.logits_after, without.logits_after)


@pytest.mark.parametrize("config", CONFIGS[:-1])
def test_a_blurred_edge_is_the_textbooks_and_the_masked_perturbation_stays_in_its_ball(config):
    network, x, mask = conv_net(), some_images(6), blurred()
    assert ((mask > 0) & (mask < 1)).sum() > 50
    result = bc.boost(network, x, LABELS, config, mask=mask)
    raw = config.gradient == "raw"
    expected = textbook(network, x, LABELS, config.eps, config.steps, config.norm, raw, config.alpha, mask=mask)
    assert (expected - x).abs().max() > 1e-3
    assert (result.images - expected).abs().max() <= 1e-9
    moved = (result.images - x).abs()
    if config.norm == "linf":
        assert (moved <= mask * config.eps + 1e-9).all()
        assert moved.max() > 0.9 * config.eps
    else:
        assert moved.flatten(1).norm(dim=1).max() <= config.eps + 1e-9
        assert torch.allclose(result.l2, moved.flatten(1).norm(dim=1))


@pytest.mark.parametrize("stop_at", [None, 0.6])
def test_every_image_may_have_its_own_mask(stop_at):
    x = some_images(6)
    masks = torch.stack([blurred().roll(i, 1) for i in range(6)])[:, None]
    for norm, eps in (("l2", 2.0), ("linf", 0.2)):
        config = bc.BoostConfig(eps=eps, steps=6, norm=norm, stop_at=stop_at)
        together = bc.boost(conv_net(), x, LABELS, config, mask=masks, batch_size=4)
        assert len(set(together.steps_taken.tolist())) > (1 if stop_at else 0)
        for i in range(6):
            alone = bc.boost(conv_net(), x[i : i + 1], LABELS[i : i + 1], config, mask=masks[i, 0])
            assert (together.images[i] - alone.images[0]).abs().max() <= 1e-9


def test_a_mask_is_of_the_images_own_pixels_whatever_the_classifier_sees():
    x, mask = some_images(2, 64, torch.float32), square(64)
    result = bc.boost(bc.load_classifier("cifar10-robust"), x, 3, bc.BoostConfig(eps=1.0, steps=3), mask=mask)
    moved = result.images != x
    assert not moved[:, :, mask == 0].any()
    assert moved[:, :, mask == 1].float().mean() > 0.5


class Rooted(nn.Module):
    """An infinite slope at black pixels."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(3 * 16 * 16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.flatten(1).sqrt())


def test_what_the_gradient_is_where_nothing_may_move_does_not_matter():
    x = some_images(2).clamp_min(0.2)
    x[:, :, 0] = 0
    result = bc.boost(Rooted(), x, 1, bc.BoostConfig(eps=0.1, steps=3), mask=square())
    assert (result.l2 > 0.05).all()
    assert result.notes == ()


def test_masks_of_other_kinds_mean_the_same():
    x, config = some_images(2), CONFIGS[0]
    expected = bc.boost(conv_net(), x, 1, config, mask=square()).images
    for mask in (square() > 0.5, square().numpy(), square().byte(), square().float()[None], square().int()[None, None]):
        assert torch.equal(bc.boost(conv_net(), x, 1, config, mask=mask).images, expected)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(16, 15), r"\(16, 15\)"),
        (torch.ones(3, 16, 16), r"\(3, 16, 16\)"),
        (torch.ones(2, 3, 16, 16), r"\(2, 3, 16, 16\)"),
        (torch.ones(3, 1, 16, 16), r"\(3, 1, 16, 16\)"),
        (square() * 255, "run from 0 to 255; divide"),
        (square() - 0.5, "run from -0.5 to 0.5; clamp"),
        (torch.where(square() > 0, float("nan"), 0.0), "run from"),
        (square().to(torch.complex64), "complex64"),
        ("white", "must be numbers"),
        (None, None),
        (torch.zeros(16, 16), "0 everywhere"),
        (torch.stack([square(), 0 * square()])[:, None], "image 1"),
        (np.zeros((16, 16)), "0 everywhere"),
    ],
)
def test_bad_masks_are_refused_by_one_sentence(mask, message):
    x = some_images(2)
    if message is None:
        assert bc.boost(conv_net(), x, 1, mask=mask).images.shape == x.shape
        return
    for call in (bc.boost, bc.boost_stream):  # the stream at the call, not at its first snapshot
        with pytest.raises(ValueError, match=f"mask.*{message}") as refused:
            call(conv_net(), x, 1, mask=mask)
        assert "\n" not in str(refused.value)
