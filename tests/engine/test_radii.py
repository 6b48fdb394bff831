"""Radii of each image's own: several strengths in one batch are what boosting at each of them gives."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from textbook import CLASSES, conv_net, some_images

import bigroc_core as bc
from bigroc_core.boosting import Group, boost_streams

RADII = (0.05, 0.4, 2.0)
CONFIGS = [
    bc.BoostConfig(steps=5),
    bc.BoostConfig(steps=5, step_size=0.3),
    bc.BoostConfig(steps=5, norm="linf"),
    bc.BoostConfig(steps=4, step_size=0.2, gradient="raw"),
    bc.BoostConfig(steps=8, stop_at=0.6),
]


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("masked", [False, True])
def test_each_image_moves_as_far_as_its_own_radius(config: bc.BoostConfig, masked: bool) -> None:
    x, labels = some_images(4, dtype=torch.float64), torch.arange(4) % CLASSES
    mask = torch.ones(x.shape[2:], dtype=torch.float64)
    mask[:, ::2] = 0.25
    count = len(RADII)
    radii, given = torch.tensor(RADII, dtype=torch.float64).repeat_interleave(4), mask if masked else None
    group = Group(x.repeat(count, 1, 1, 1), labels.repeat(count), given, radii)
    *_, (last,) = boost_streams(conv_net(), [group], config, batch_size=5)
    for number, eps in enumerate(RADII):
        alone = bc.boost(conv_net(), x, labels, dataclasses.replace(config, eps=eps), mask=given)
        assert (last.images[4 * number : 4 * number + 4] - alone.images).abs().max() < 1e-9, eps


def test_in_single_precision_all_stay_in_their_balls() -> None:
    x, labels = some_images(2, dtype=torch.float32), torch.zeros(2, dtype=torch.long)
    radii = torch.tensor(RADII, dtype=torch.float64).repeat_interleave(2)
    for norm in ("l2", "linf"):
        config = bc.BoostConfig(steps=5, step_size=1.0, norm=norm)
        *_, (last,) = boost_streams(conv_net(), [Group(x.repeat(3, 1, 1, 1), labels.repeat(3), radii=radii)], config)
        assert last.images.dtype == torch.float32
        moved = (last.images.double() - x.double().repeat(3, 1, 1, 1)).flatten(1)
        lengths = moved.norm(dim=1) if norm == "l2" else moved.abs().amax(1)
        assert bool((lengths <= radii + 1e-6).all())
