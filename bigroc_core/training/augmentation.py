"""Augmentations of whole batches, drawn from a given generator so that a resumed run repeats them exactly."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

AUGMENTATIONS = (
    "none",
    "flip",
    "crop-flip",
    "crop-flip-cutout",
    "resized-crop-flip",
    "resized-crop-flip-colour",
)


def margin_of(augmentation: str) -> float:
    """How much larger than a network's input images are wanted, for their random crops."""
    return 5 / 4 if "resized" in augmentation else 9 / 8 if "crop" in augmentation else 1.0


def random_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability one half. images: (N, C, H, W)."""
    flip = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(flip.view(-1, 1, 1, 1), images.flip(3), images)


def random_window(images: Tensor, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """A window of `size` (height, width) from each image, drawn evenly. images: (N, C, H, W), at least that large."""
    count, _, height, width = images.shape
    top = torch.randint(0, height - size[0] + 1, (count,), generator=generator)
    left = torch.randint(0, width - size[1] + 1, (count,), generator=generator)
    rows = (top[:, None] + torch.arange(size[0]))[:, :, None]
    columns = (left[:, None] + torch.arange(size[1]))[:, None, :]
    return images[torch.arange(count)[:, None, None], :, rows, columns].permute(0, 3, 1, 2)


def random_crop(images: Tensor, size: tuple[int, int], generator: torch.Generator, padding: int = 4) -> Tensor:
    """A random window of each image; one of just that size is shifted by up to `padding` pixels, its border mirrored.

    images: (N, C, H, W).
    """
    if images.shape[2:] == size:
        images = F.pad(images, (padding,) * 4, mode="reflect")
    return random_window(images, size, generator).contiguous()


def random_resized_crop(images: Tensor, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """A random box of each image, of 35 to 100 % of its area and an aspect of 3:4 to 4:3, at `size` (bilinear).

    images: (N, C, H, W). Source: Szegedy et al. 2015, as training on ImageNet has it.
    """
    count = len(images)
    area, aspect, down, right = torch.rand((4, count), generator=generator)
    area, aspect = 0.35 + 0.65 * area, (math.log(4 / 3) * (2 * aspect - 1)).exp()
    # Extents of the box as shares of the image's, which affine_grid calls scales; the rest is where it may lie.
    height, width = (area / aspect).sqrt().clamp(max=1), (area * aspect).sqrt().clamp(max=1)
    boxes = torch.zeros(count, 2, 3)
    boxes[:, 0, 0], boxes[:, 0, 2] = width, (2 * right - 1) * (1 - width)
    boxes[:, 1, 1], boxes[:, 1, 2] = height, (2 * down - 1) * (1 - height)
    grid = F.affine_grid(boxes, [count, images.shape[1], *size], align_corners=False)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def random_light(images: Tensor, generator: torch.Generator, extent: float = 0.3) -> Tensor:
    """Brightness, contrast and saturation by factors in 1 ± extent. images: (N, 3, H, W) in [0, 1]."""
    factors = 1 + extent * (2 * torch.rand((3, len(images), 1, 1, 1), generator=generator) - 1)
    images = images * factors[0]
    middle = images.mean((1, 2, 3), keepdim=True)
    images = (images - middle) * factors[1] + middle
    grey = images.mean(1, keepdim=True)
    return ((images - grey) * factors[2] + grey).clamp(0, 1)


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
    height, width = images.shape[2:]
    down, right = round(height / 8), round(width / 8)
    return random_window(F.pad(images, (right, right, down, down)), (height, width), generator)


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


def augment(images: Tensor, augmentation: str, generator: torch.Generator, size: tuple[int, int]) -> Tensor:
    """One of AUGMENTATIONS applied to a batch (N, C, H, W) in [0, 1]; the result is (N, C, *size).

    size: (height, width). Images larger than that are cropped, in their middle where the augmentation crops none.
    Raises ValueError for an unknown name.
    """
    if augmentation not in AUGMENTATIONS:
        raise ValueError(f"augmentation {augmentation!r} is not known; choose one of {AUGMENTATIONS}")
    if "resized" in augmentation:
        images = random_resized_crop(images, size, generator)
    elif "crop" in augmentation:
        images = random_crop(images, size, generator)
    elif images.shape[2:] != size:
        top, left = (images.shape[2] - size[0]) // 2, (images.shape[3] - size[1]) // 2
        images = images[:, :, top : top + size[0], left : left + size[1]]
    if "flip" in augmentation:
        images = random_flip(images, generator)
    if "colour" in augmentation:
        images = random_light(images, generator)
    if "cutout" in augmentation:
        images = random_cutout(images, generator, max(1, size[0] // 4))
    return images
