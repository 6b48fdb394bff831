"""Where a run's images may change: masks by the image's number, painted on the page or sent along."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bigroc_core.experiments.sizes import Pictures
from bigroc_core.images import encode_png, from_uint8
from bigroc_core.images.masks import masks_for

# One per image (H, W) in [0, 1], None where all of it may change.
Masks = tuple[np.ndarray | None, ...]
WHITE = 255


def number_in(name: str) -> int | None:
    """The image's number that a mask's name begins with, counted from 1; None where it begins with none."""
    digits = re.match(r"\d{1,6}(?!\d)", name)
    return int(digits.group()) if digits else None


def masks_of(files: Sequence[str], pictures: Pictures) -> Masks | None:
    """The masks of pictures from grey files, white where pixels may move: one file for all of them, or several whose
    names begin with the number of their image (001.png is the first's); an image without one may change everywhere.

    None for no files. ValueError for a mask without an image, of another size, with colours, or black everywhere.
    """
    if not files:
        return None
    numbers = [number_in(Path(file).name) for file in files]
    if len(files) == 1 and numbers[0] is None:
        masks, _ = masks_for(files[0], None, [picture.shape[:2] for picture in pictures])
        return (masks.batch([0])[0, 0].numpy(),) * len(pictures)
    found: dict[int, np.ndarray] = {}
    for file, number in zip(files, numbers, strict=True):
        name = Path(file).name
        if number is None or not 1 <= number <= len(pictures):
            raise ValueError(
                f"the mask {name}: belongs to no image; expected a name that begins with the number of one of the "
                f"{len(pictures)} images, as 001.png does"
            )
        if number in found:
            raise ValueError(f"the mask {name}: image {number} has a mask already; give it one")
        masks, _ = masks_for(file, None, [pictures[number - 1].shape[:2]])
        found[number] = masks.batch([0])[0, 0].numpy()
    return tuple(found.get(number) for number in range(1, len(pictures) + 1))


def as_png(mask: np.ndarray) -> bytes:
    """A mask (H, W) in [0, 1] as a grey picture."""
    grey = np.rint(WHITE * mask).astype(np.uint8)
    return encode_png(from_uint8(np.repeat(grey[:, :, None], 3, 2)))


def files_of(masks: Masks, pictures: Pictures, names: Sequence[str]) -> list[tuple[str, bytes]]:
    """A mask for each picture as a grey PNG, by name, white for those that may change everywhere."""
    return [
        (f"masks/{name}", as_png(np.ones(picture.shape[:2], np.float32) if mask is None else mask))
        for name, mask, picture in zip(names, masks, pictures, strict=True)
    ]
