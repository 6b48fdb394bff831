"""What boosting accepts: the limits of its settings, and the checks of everything a caller hands in."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

MAX_EPS = 10_000.0  # beyond the L2 distance between a black and a white image of 5,700 × 5,700 pixels
MAX_STEPS = 10_000
MAX_STEP_SIZE = 1e9  # raw gradients can be tiny, and steps along them long
MAX_L0 = 1e6

Labels = Tensor | np.ndarray | Sequence[int] | int


def check_classifier(classifier: object) -> None:
    if not isinstance(classifier, nn.Module):
        raise ValueError(f"classifier must be a torch.nn.Module from images to logits, not {type(classifier).__name__}")


def check_images(images: object) -> None:
    wanted = "images must be a float32 or float64 tensor (N, 3, H, W) in [0, 1]"
    if not isinstance(images, Tensor):
        raise ValueError(f"{wanted}, not {type(images).__name__}")
    if images.dim() != 4 or images.shape[1] != 3:
        raise ValueError(f"{wanted}, not of shape {tuple(images.shape)}")
    if not images.numel():
        raise ValueError(f"{wanted}, at least one and not empty, not of shape {tuple(images.shape)}")
    if images.dtype not in (torch.float32, torch.float64):
        advice = "divide by 255" if images.dtype == torch.uint8 else "convert them with .float()"
        raise ValueError(f"{wanted}, not {images.dtype}: {advice}")
    low, high = (float(bound) for bound in images.detach().aminmax())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"{wanted}: some pixels are NaN or infinite")
    if low < 0 or high > 1:
        raise ValueError(f"{wanted}: pixels run from {low:.6g} to {high:.6g}; rescale or clamp them")


def checked_labels(labels: Labels, count: int) -> Tensor:
    try:
        checked = torch.as_tensor(labels).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"labels must be {count} whole numbers, one class per image: {error}") from None
    if checked.dtype == torch.bool or checked.is_floating_point() or checked.is_complex():
        raise ValueError(f"labels must be whole numbers, one class per image, not {checked.dtype}")
    if checked.dim() == 0:
        checked = checked.expand(count)
    if checked.shape != (count,):
        raise ValueError(f"labels must be ({count},), one class per image, not {tuple(checked.shape)}")
    checked = checked.long().clone()
    if int(checked.min()) < 0:
        raise ValueError(f"labels name class {int(checked.min())}; classes count from 0")
    return checked


def checked_shift(debias: Tensor | np.ndarray | Sequence[float]) -> Tensor:
    try:
        shift = torch.as_tensor(debias).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"debias must be (C,) numbers, one per class: {error}") from None
    if shift.dim() != 1 or shift.dtype == torch.bool or shift.is_complex():
        raise ValueError(f"debias must be (C,) numbers, not {tuple(shift.shape)} {shift.dtype}")
    if not bool(shift.isfinite().all()):
        raise ValueError("debias has NaN or infinite values")
    return shift.clone()


def checked_batch_size(batch_size: int | None) -> int | None:
    if batch_size is None:
        return None
    if (checked := whole_number("batch_size", batch_size, 2**31)) == 0:
        raise ValueError("batch_size must be at least 1 (or None, to have it chosen), not 0")
    return checked


def checked_l0(l0: Any) -> float | tuple[float, ...]:
    if isinstance(l0, Tensor | np.ndarray):
        l0 = l0.tolist()
    if isinstance(l0, list | tuple):
        if not l0:
            raise ValueError("l0 must be one number or one per class, not an empty list")
        return tuple(number(f"l0[{i}]", value, MAX_L0) for i, value in enumerate(l0))
    return number("l0", l0, MAX_L0)


def number(name: str, value: Any, limit: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise ValueError(f"{name} must be a number from 0 to {limit:g}, not {value!r}")
    if not 0 <= value <= limit:  # NaN fails both
        raise ValueError(f"{name} must be from 0 to {limit:g}, not {value}")
    return float(value)


def whole_number(name: str, value: Any, limit: int) -> int:
    try:
        whole = operator.index(value)
    except TypeError:
        whole = -1
    if isinstance(value, bool) or not 0 <= whole <= limit:
        raise ValueError(f"{name} must be a whole number from 0 to {limit:,}, not {value!r}")
    return whole


def whole(value: Any, name: str, least: int, most: int) -> int:
    """A whole number within bounds, given as an int or as a float without a fraction; ValueError, naming it."""
    bounds = f"from {least} on" if most >= 2**53 else f"from {least} to {most:,}"
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    if not plain or (isinstance(value, float) and not value.is_integer()):
        raise ValueError(f"{name} must be a whole number {bounds}, not {str(value)[:40]}")
    if not least <= value <= most:
        raise ValueError(f"{name} must be a whole number {bounds}, not {str(int(value))[:40]}")
    return int(value)


def real(value: Any, name: str, least: float, most: float) -> float:
    """A finite number within bounds; ValueError, naming it."""
    bounds = f"from {least:g} on" if most == math.inf else f"from {least:g} to {most:g}"
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    if not plain or not least <= value <= most or not math.isfinite(value):  # NaN fails the comparison
        raise ValueError(f"{name} must be a number {bounds}, not {str(value)[:40]}")
    return float(value)
