"""Bring images to a network's input size."""

from __future__ import annotations

import torch
from torch import Tensor

from bigroc_core.images.image import ReadImage, Size
from bigroc_core.limits import MAX_PIXELS

# A matrix of more is made by rows, as float64 and its steps take 40 bytes a number; that of ordinary images is smaller.
MATRIX_NUMBERS = 2**23


def fit_to(pixels: Tensor, size: Size) -> ReadImage:
    """Bring images (..., 3, H, W) in [0, 1] to `size`, an int or (height, width); a note says how.

    The rule: keep the largest centred box of whole pixels that has the wanted shape, then resample it; each
    output pixel is the mean over its area when shrinking, Lanczos with three lobes (clamped to [0, 1]) when
    enlarging. Images that already have the size come back as they are, bit for bit.
    """
    height, width = height_width(size)
    if pixels.ndim < 3 or pixels.shape[-3] != 3 or 0 in pixels.shape[-2:]:
        raise ValueError(f"images have shape {tuple(pixels.shape)}; expected (..., 3, H, W).")
    given_height, given_width = pixels.shape[-2:]
    if (given_height, given_width) == (height, width):
        return ReadImage(pixels)
    box_height = min(given_height, max(1, round(given_width * height / width)))
    box_width = min(given_width, max(1, round(given_height * width / height)))
    top, left = (given_height - box_height) // 2, (given_width - box_width) // 2
    fitted = pixels[..., top : top + box_height, left : left + box_width]
    if box_width != width:
        fitted = fitted @ _resampling(box_width, width, pixels).mT
    if box_height != height:
        fitted = _resampling(box_height, height, pixels) @ fitted
    cropped = (
        "" if (box_height, box_width) == (given_height, given_width) else f", the centre {box_width}×{box_height} kept"
    )
    note = f"resized from {given_width}×{given_height} to {width}×{height}{cropped}"
    return ReadImage(fitted.clamp(0, 1).contiguous(), (note,))


def shrunk_to(pixels: Tensor, side: int) -> ReadImage:
    """An image (3, H, W) in [0, 1] with its longer side brought to `side` where it is longer, whole; a note says so."""
    height, width = pixels.shape[-2:]
    if max(height, width) <= side:
        return ReadImage(pixels)
    share = side / max(height, width)
    wanted = max(1, round(height * share)), max(1, round(width * share))
    # The same shape but for rounding, which would crop a row.
    fitted = _resampling(height, wanted[0], pixels) @ pixels @ _resampling(width, wanted[1], pixels).mT
    note = f"resized from {width}×{height} to {wanted[1]}×{wanted[0]}"
    return ReadImage(fitted.clamp(0, 1).contiguous(), (note,))


def _resampling(given: int, wanted: int, like: Tensor) -> Tensor:
    """The (wanted, given) matrix that resamples one axis; its rows sum to 1."""
    at_once = max(1, MATRIX_NUMBERS // given)
    rows = [_rows(given, wanted, range(i, min(i + at_once, wanted))).to(like) for i in range(0, wanted, at_once)]
    return rows[0] if len(rows) == 1 else torch.cat(rows)


def _rows(given: int, wanted: int, rows: range) -> Tensor:
    scale = given / wanted
    index = torch.arange(rows.start, rows.stop, dtype=torch.float64)[:, None]
    pixel = torch.arange(given, dtype=torch.float64)[None, :]
    if given > wanted:
        weights = (torch.minimum((index + 1) * scale, pixel + 1) - torch.maximum(index * scale, pixel)).clamp_(min=0)
    else:
        distance = pixel + 0.5 - (index + 0.5) * scale
        weights = torch.sinc(distance) * torch.sinc(distance / 3) * (distance.abs() < 3)
    return weights / weights.sum(1, keepdim=True)


def height_width(size: Size) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise ValueError(f"size {size} is not possible; expected (height, width) from 1×1 to {MAX_PIXELS:,} pixels.")
    return height, width
