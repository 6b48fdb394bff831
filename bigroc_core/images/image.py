"""What an image is here: the accepted kinds of file, the result of reading one, the error for a bad one."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from PIL import Image
from torch import Tensor

from bigroc_core.limits import COMMAND_LINE, ReadingLimits
from bigroc_core.messages import counted, printable

ImageSource = str | os.PathLike[str] | bytes | Image.Image | np.ndarray
Size = int | tuple[int, int]
# The size that images of a set are brought to: none, since all have the same; their own each; or (height, width).
SetSize = tuple[int, int] | Literal["own"] | None

# Formats Pillow decodes itself. PostScript is left out: Pillow would start Ghostscript for it.
# HEIF is there where the package pillow-heif is installed.
FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000", "HEIF")
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
    | {".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".heic", ".heif", ".hif"}
)
EXPECTED = "expected a PNG, JPEG, WebP, GIF, BMP, TIFF, PPM, AVIF or JPEG 2000 image"

# The longest message: some names, and what to do.
MOST_CHARACTERS = 700
# Kinds of notes on the images of a set that are told.
MOST_KINDS = 8


class ImageError(ValueError):
    """An image or image set that cannot be used; the message names it, what is wrong, and what to do.

    The message is one line whatever a file's names and bytes contain.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message, MOST_CHARACTERS))


@dataclass(frozen=True, kw_only=True)
class SetReading:
    """How a set is to be read.

    size: what its images are brought to. classes: the names that labels shall index. mapping: labels as they stand to
    classes by name or number. labelled: whether labels are wanted; without, folders and their names mean nothing.
    """

    size: SetSize = None
    classes: tuple[str, ...] | None = None
    mapping: Mapping[str, str] = field(default_factory=dict)
    labelled: bool = True
    limits: ReadingLimits = COMMAND_LINE


@dataclass(frozen=True, eq=False)
class ReadImage:
    """One image as read: `pixels` (3, H, W) float32 RGB in [0, 1], and `notes`: what was done to it."""

    pixels: Tensor
    notes: tuple[str, ...] = ()


def tally(notes: Iterable[str]) -> list[str]:
    """Notes on several images, each once with how many images it is of: "3 images: transparent pixels were laid on
    white". The most frequent first; of many kinds the others are only counted."""
    kinds = Counter(notes).most_common()
    told = [f"{counted(number, 'image')}: {note}" for note, number in kinds[:MOST_KINDS]]
    others = sum(number for _, number in kinds[MOST_KINDS:])
    return [*told, f"{counted(others, 'image')}: other notes, such as: {kinds[MOST_KINDS][0]}"] if others else told
