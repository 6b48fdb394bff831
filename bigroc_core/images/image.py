"""What an image is here: the accepted kinds of file, the result of reading one, the error for a bad one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image
from torch import Tensor

ImageSource = str | os.PathLike[str] | bytes | Image.Image | np.ndarray
Size = int | tuple[int, int]
# The size that images of a set are brought to: none, since all have the same; their own each; or (height, width).
SetSize = tuple[int, int] | Literal["own"] | None

# Formats Pillow decodes itself. PostScript is left out: Pillow would start Ghostscript for it.
FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
SUFFIXES = frozenset(
    {
        ".png",
        ".apng",
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".webp",
        ".gif",
        ".bmp",
        ".dib",
        ".tif",
        ".tiff",
        ".avif",
    }
    | {".ppm", ".pgm", ".pbm", ".pnm"}
)
EXPECTED = "expected a PNG, JPEG, WebP, GIF, BMP, TIFF, PPM or AVIF image"


class ImageError(ValueError):
    """An image or image set that cannot be used; the message names it, what is wrong, and what to do."""


@dataclass(frozen=True, eq=False)
class ReadImage:
    """One image as read: `pixels` (3, H, W) float32 RGB in [0, 1], and `notes`: what was done to it."""

    pixels: Tensor
    notes: tuple[str, ...] = ()
