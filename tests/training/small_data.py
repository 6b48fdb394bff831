"""Small data sets that something can be learned from in a few steps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bigroc_core.cards import CIFAR10_CLASSES, Card
from bigroc_core.classifiers.networks import Classifier, build_network
from bigroc_core.images.splits import LabelledImages, Splits
from bigroc_core.training.sources import GeneratedSource, RealImages


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


RGB = ("red", "green", "blue")


def pictures(count: int, seed: int, *, generated: bool, side: int = 16) -> LabelledImages:
    """The brightest channel is the class; generated ones carry a weak pattern of columns."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (count,), generator=draw)
    images = torch.randint(0, 100, (count, 3, side, side), generator=draw)
    images[torch.arange(count), labels] += 100
    if generated:
        images[:, :, :, ::2] += 30
    return LabelledImages(images.to(torch.uint8), labels)


def tiny_robust(classes: tuple[str, ...] = RGB, side: int = 16) -> Classifier:
    """An untrained classifier that stands for a robust one."""
    torch.manual_seed(5)
    arguments = {"width": 4, "activation": "silu", "pool": "before"}
    card = Card(
        name="init",
        kind="classifier",
        architecture="resnet9",
        arguments=arguments,
        classes=classes,
        mean=(0.5, 0.5, 0.5),
        std=(0.05, 0.05, 0.05),
        input_size=(side, side),
    )
    return Classifier(build_network("resnet9", classes=len(classes), **arguments), card).eval().requires_grad_(False)


def joint_images() -> tuple[RealImages, GeneratedSource]:
    """Pictures as real images, and with columns as generated ones."""

    def draw(start: int, count: int, _draws: torch.Generator) -> tuple[Tensor, Tensor]:
        data = pictures(count, 10_000 + start, generated=True)
        return data.floats(slice(None)), data.labels

    real = RealImages("pictures", RGB, pictures(96, 0, generated=False), pictures(60, 1, generated=False))
    return real, GeneratedSource("columns", draw, lambda count: draw(10**6, count, torch.Generator()))
