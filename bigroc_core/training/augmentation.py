"""Augmentations of whole batches, drawn from a given generator so that a resumed run repeats them exactly."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

AUGMENTATIONS = ("none", "flip", "crop-flip", "crop-flip-cutout")


def random_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability one half. images: (N, C, H, W)."""
    flip = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(flip.view(-1, 1, 1, 1), images.flip(3), images)


def random_crop(images: Tensor, generator: torch.Generator, padding: int = 4) -> Tensor:
    """Shift each image by up to `padding` pixels, the border mirrored. images: (N, C, H, W)."""
    count, _, height, width = images.shape
    padded = F.pad(images, (padding,) * 4, mode="reflect")
    top = torch.randint(0, 2 * padding + 1, (count,), generator=generator)
    left = torch.randint(0, 2 * padding + 1, (count,), generator=generator)
    rows = (top[:, None] + torch.arange(height))[:, :, None]
    columns = (left[:, None] + torch.arange(width))[:, None, :]
    picked = padded[torch.arange(count)[:, None, None], :, rows, columns]
    return picked.permute(0, 3, 1, 2).contiguous()


def random_cutout(images: Tensor, generator: torch.Generator, side: int = 8) -> Tensor:
    """Grey out one square of `side` pixels in each image (DeVries & Taylor 2017). images: (N, C, H, W)."""
    count, _, height, width = images.shape
    top = torch.randint(-side // 2, height - side // 2, (count, 1), generator=generator)
    left = torch.randint(-side // 2, width - side // 2, (count, 1), generator=generator)
    row, column = torch.arange(height)[None], torch.arange(width)[None]
    in_rows = (row >= top) & (row < top + side)
    in_columns = (column >= left) & (column < left + side)
    mask = in_rows[:, None, :, None] & in_columns[:, None, None, :]
    return images.masked_fill(mask, 0.5)


def random_colour(images: Tensor, generator: torch.Generator) -> Tensor:
    """Brightness by up to ±½, saturation and contrast by factors in [0, 2] and [½, 3/2]. images: (N, 3, H, W)."""
    brightness, saturation, contrast = torch.rand((3, len(images), 1, 1, 1), generator=generator).to(images)
    images = images + (brightness - 0.5)
    grey = images.mean(1, keepdim=True)
    images = (images - grey) * (2 * saturation) + grey
    middle = images.mean((1, 2, 3), keepdim=True)
    return (images - middle) * (contrast + 0.5) + middle


def random_translation(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift each image by up to an eighth of its side, zeros moving in. images: (N, C, H, W)."""
    count, _, height, width = images.shape
    down, right = round(height / 8), round(width / 8)
    padded = F.pad(images, (right, right, down, down))
    top = torch.randint(0, 2 * down + 1, (count,), generator=generator)
    left = torch.randint(0, 2 * right + 1, (count,), generator=generator)
    rows = (top[:, None] + torch.arange(height))[:, :, None]
    columns = (left[:, None] + torch.arange(width))[:, None, :]
    return padded[torch.arange(count)[:, None, None], :, rows, columns].permute(0, 3, 1, 2)


def random_hole(images: Tensor, generator: torch.Generator) -> Tensor:
    """Zero a square of half the side in each image, partly outside at times. images: (N, C, H, W)."""
    count, _, height, width = images.shape
    top = torch.randint(0, height + 1, (count, 1), generator=generator) - height // 4
    left = torch.randint(0, width + 1, (count, 1), generator=generator) - width // 4
    row, column = torch.arange(height)[None], torch.arange(width)[None]
    in_rows = (row >= top) & (row < top + height // 2)
    in_columns = (column >= left) & (column < left + width // 2)
    hole = in_rows[:, None, :, None] & in_columns[:, None, None, :]
    return images.masked_fill(hole.to(images.device), 0)


DIFFERENTIABLE = {"color": random_colour, "translation": random_translation, "cutout": random_hole}


def differentiable(images: Tensor, policy: tuple[str, ...], generator: torch.Generator) -> Tensor:
    """DiffAugment (Zhao et al. 2020): what a critic sees of real and generated images alike, gradients passing through.

    images: (N, 3, H, W) in [-1, 1]. policy: names of DIFFERENTIABLE, in order.
    """
    for name in policy:
        images = DIFFERENTIABLE[name](images, generator)
    return images.contiguous()


def augment(images: Tensor, augmentation: str, generator: torch.Generator) -> Tensor:
    """One of AUGMENTATIONS applied to a batch (N, C, H, W) in [0, 1]; ValueError for an unknown name."""
    if augmentation not in AUGMENTATIONS:
        raise ValueError(f"augmentation {augmentation!r} is not known; choose one of {AUGMENTATIONS}")
    if "crop" in augmentation:
        images = random_crop(images, generator)
    if "flip" in augmentation:
        images = random_flip(images, generator)
    if "cutout" in augmentation:
        images = random_cutout(images, generator)
    return images
