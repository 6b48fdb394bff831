"""Between [0, 1] and 8 bits, and to PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
import torch
from PIL import Image, PngImagePlugin
from torch import Tensor


def to_uint8(images: Tensor) -> np.ndarray:
    """Round images to 8 bits: round(255 x), half to even. The only place where the project rounds pixels.

    images: (N, 3, H, W) or (3, H, W), floating point, in [0, 1]; up to 1e-6 outside counts as the end of the
    range, since x + δ in float32 can miss it by one unit in the last place. Half precision is multiplied in
    float32.
    Returns a contiguous numpy array, uint8, (N, H, W, 3) or (H, W, 3), on the CPU.
    Raises ValueError for NaN, values out of range, another dtype or shape.
    """
    if images.ndim not in (3, 4) or images.shape[-3] != 3:
        raise ValueError(f"images have shape {tuple(images.shape)}; expected (N, 3, H, W) or (3, H, W).")
    if not images.is_floating_point():
        raise ValueError(f"images have dtype {images.dtype}; expected floating point in [0, 1].")
    pixels = images.detach()
    if pixels.dtype in (torch.float16, torch.bfloat16):
        pixels = pixels.float()
    if pixels.numel():
        low, high = (float(bound) for bound in torch.aminmax(pixels))
        if not (low >= -1e-6 and high <= 1 + 1e-6):  # written so that NaN fails it
            raise ValueError(f"images lie in [{low:g}, {high:g}]; expected [0, 1] without NaN.")
    levels = pixels.clamp(0, 1).mul_(255).round_().to(torch.uint8)
    return levels.movedim(-3, -1).contiguous().cpu().numpy()


def from_uint8(images: np.ndarray | Tensor) -> Tensor:
    """The inverse of `to_uint8`: uint8 (N, H, W, 3) or (H, W, 3) -> float32 (N, 3, H, W) or (3, H, W).

    x / 255 exactly, so `to_uint8(from_uint8(x))` is x. A tensor stays on its device.
    """
    levels = torch.from_numpy(np.require(images, requirements=["C", "W"])) if isinstance(images, np.ndarray) else images
    if levels.dtype != torch.uint8 or levels.ndim not in (3, 4) or levels.shape[-1] != 3:
        raise ValueError(f"images are {levels.dtype} {tuple(levels.shape)}; expected uint8 (N, H, W, 3) or (H, W, 3).")
    # A divisor on the same device: CUDA multiplies by the reciprocal of a Python number, which is not exact.
    divisor = torch.tensor(255.0, device=levels.device)
    return levels.movedim(-1, -3).to(torch.float32, memory_format=torch.contiguous_format).div_(divisor)


def to_pil(image: Tensor, enlarge: int = 1) -> Image.Image:
    """One image (3, H, W) in [0, 1] as an 8-bit RGB PIL image.

    enlarge: every pixel becomes a square of that side, without smoothing.
    """
    if enlarge < 1:
        raise ValueError(f"enlarge is {enlarge}; expected a whole number of at least 1.")
    levels = to_uint8(image)
    if levels.ndim != 3:
        raise ValueError(f"image has shape {tuple(image.shape)}; expected (3, H, W).")
    return Image.fromarray(levels.repeat(enlarge, axis=0).repeat(enlarge, axis=1))


def encode_png(image: Tensor, text: Mapping[str, str] | None = None, enlarge: int = 1) -> bytes:
    """One image (3, H, W) in [0, 1] as the bytes of a PNG, lossless after `to_uint8`.

    text: metadata by keyword, as PNG text chunks. The same input gives the same bytes every time.
    """
    chunks = PngImagePlugin.PngInfo()
    for keyword, value in (text or {}).items():
        chunks.add_text(keyword, value)
    stream = io.BytesIO()
    to_pil(image, enlarge).save(stream, "PNG", pnginfo=chunks, compress_level=6)
    return stream.getvalue()
