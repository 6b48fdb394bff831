"""Images to be measured, from wherever they come, by seed and range."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bigroc_core.generators.sampling import Generator
from bigroc_core.images import ImageSet, from_uint8, to_uint8


@dataclass(frozen=True)
class ImageStream:
    """Images by (seed, start, count): (n, 3, H, W) float32 in [0, 1] and their labels (n,) int64 or None.

    Any function may stand behind `draw`, as long as image start + i of a seed does not depend on how it was asked for.
    size: how many there are; None for a generator, which has as many as one asks for, others for every seed.
    """

    name: str
    draw: Callable[[int, int, int], tuple[Tensor, Tensor | None]]
    size: int | None = None


def generator_stream(generator: Generator) -> ImageStream:
    """A generator's images, rounded to 8 bits as its files are; a conditional one's classes in turn."""

    def draw(seed: int, start: int, count: int) -> tuple[Tensor, Tensor | None]:
        images, labels = generator.sample(count, seed=seed, start=start)
        return from_uint8(to_uint8(images)), labels

    return ImageStream(f"generator:{generator.card.name}", draw)


def image_set_stream(images: ImageSet) -> ImageStream:
    """Images made elsewhere. Their order is fixed, so a seed decides only the random directions beside them."""

    def draw(_seed: int, start: int, count: int) -> tuple[Tensor, Tensor | None]:
        batch = images.batch(start, count)
        return batch.images, batch.labels

    return ImageStream(str(images.path), draw, len(images))


def tensor_stream(name: str, images: Tensor, labels: Tensor | None = None) -> ImageStream:
    """Images in memory, (N, 3, H, W) uint8. Raises ValueError for another shape or type."""
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"{name}: images must be (N, 3, H, W) uint8, not {tuple(images.shape)} {images.dtype}")

    def draw(_seed: int, start: int, count: int) -> tuple[Tensor, Tensor | None]:
        chosen = slice(start, start + count)
        return images[chosen].float() / 255, None if labels is None else labels[chosen]

    return ImageStream(name, draw, len(images))


def relabelled(source: ImageStream, name: str, table: Tensor) -> ImageStream:
    """The same images under a name of its own, with the labels that `table` (C,) has for theirs."""

    def draw(seed: int, start: int, count: int) -> tuple[Tensor, Tensor | None]:
        images, labels = source.draw(seed, start, count)
        return images, None if labels is None else table[labels]

    return ImageStream(name, draw, source.size)


def check_stream(source: ImageStream, count: int, seeds: Sequence[int]) -> None:
    """ValueError unless a stream can give `count` images of each of these seeds."""
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count}")
    if not seeds or len(set(seeds)) != len(seeds):
        raise ValueError(f"seeds must be one or more different numbers, not {list(seeds)}")
    if source.size is not None and count > source.size:
        raise ValueError(f"{source.name} has {source.size} images; {count} were asked for")
    if source.size is not None and len(seeds) > 1:
        raise ValueError(f"{source.name} is a fixed set of images, which has no seeds; give one")
