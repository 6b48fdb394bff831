"""Small data sets that something can be learned from in a few steps."""

from __future__ import annotations

import torch
from torch import nn

from bigroc_core.cards import CIFAR10_CLASSES
from bigroc_core.training.splits import LabelledImages, Splits


def divided(data: LabelledImages, first: int, second: int) -> Splits:
    """A data set of CIFAR-10's classes: training images before row `first`, validation images before `second`."""
    return Splits(
        name="small",
        classes=CIFAR10_CLASSES,
        size=(32, 32),
        train=data.subset(slice(0, first)),
        validation=data.subset(slice(first, second)),
        test=data.subset(slice(second, None)),
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        description="small pictures",
    )


def soft_pictures() -> Splits:
    """Soft pictures whose brightest channel is their class, of three."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (96,), generator=draw)
    coarse = torch.rand((96, 3, 4, 4), generator=draw) * 100
    coarse[torch.arange(96), labels] += 120
    images = nn.functional.interpolate(coarse, 32, mode="bilinear").to(torch.uint8)
    return divided(LabelledImages(images, labels), 64, 80)
