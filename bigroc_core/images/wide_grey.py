"""Grey pictures of more than 8 bits, and of floating point: which values are black and which white."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bigroc_core.images.image import ImageError

# How far outside its range a float picture may go, as a share of the range: filters that sharpen overshoot.
OVERSHOOT = 0.1


@dataclass(frozen=True)
class Span:
    """The values that are black and white, and in words why they are taken for that."""

    black: float
    white: float
    reason: str


def is_wide(image: Image.Image) -> bool:
    """Whether an image is grey of more than 8 bits, or floating point."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def declares_span(image: Image.Image) -> bool:
    """Whether a wide image says by its depth which value is white. Floating point and 32 bits say nothing."""
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM", "JPEG2000"))


def values_of(image: Image.Image, name: str) -> np.ndarray:
    """The values of a wide image, float32. Raises ImageError for a damaged one, and for NaN and infinite values."""
    try:
        values = np.array(image).astype(np.float32)
    except Exception as error:  # Pillow's decoders raise nearly anything on a malformed file
        raise ImageError(f"{name}: is truncated or damaged ({error}). Export or upload it again.") from error
    if not np.isfinite(values).all():
        raise ImageError(f"{name}: has NaN or infinite pixels; expected finite numbers. Export it again.")
    return values


def span_of(low: float, high: float, whole: bool) -> Span:
    """What values from `low` to `high` are most likely meant to be: the narrowest of the usual ranges that has them.

    whole: whether the values are whole numbers, which do not overshoot.
    """
    if not whole and _within(low, high, 0, 1):
        return Span(0, 1, "black 0 to white 1")
    if not whole and _within(low, high, -1, 1):
        return Span(-1, 1, "black -1 to white 1")
    for white, reason in ((255, "8 bits"), (65_535, "16 bits")):
        if (low >= 0 and high <= white) if whole else _within(low, high, 0, white):
            return Span(0, white, f"{reason}, black 0 to white {white}")
    return Span(low, high if high > low else low + 1, "stretched from the lowest to the highest of them")


def _within(low: float, high: float, black: float, white: float) -> bool:
    # In the wider ranges a share of what the picture spans itself: far below black values mean something else there.
    slack = OVERSHOOT * (white - black if white <= 1 else min(white, high - low))
    return low >= black - slack and high <= white + slack


def wide_grey(image: Image.Image, name: str, span: Span | None, notes: list[str]) -> Tensor:
    """(3, H, W) in [0, 1] of a wide grey image that has been loaded, by its declared depth, else by `span`, else by the
    span of its own values; what was guessed or clamped is noted."""
    values = values_of(image, name)
    if declares_span(image):
        tags: Any = getattr(image, "tag_v2", {})
        depth = tags.get(258, (16,))[0]
        values /= 2.0**12 - 1 if depth == 12 else 65_535.0
        if tags.get(262) == 0:  # TIFF's WhiteIsZero, which Pillow leaves to us at 16 bits
            values = 1 - values
        return _grey(values)
    low, high = float(values.min()), float(values.max())
    if span is None:
        span = span_of(low, high, image.mode == "I")
        # Float in [0, 1] is what everybody means by it.
        if (span.black, span.white) != (0, 1):
            notes.append(f"its values {low:g} to {high:g} were read as {span.reason}")
    if low < span.black or high > span.white:
        notes.append(f"its values {low:g} to {high:g} were clamped to {span.black:g} to {span.white:g}")
    values = (values - span.black) / (span.white - span.black)
    return _grey(values)


def _grey(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values).clamp_(0, 1).expand(3, -1, -1).clone()
