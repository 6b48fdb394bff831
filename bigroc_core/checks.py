"""What boosting accepts: the limits of its settings, and the checks of everything a caller hands in."""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from bigroc_core.messages import short

MAX_EPS = 10_000.0  # beyond the L2 distance between a black and a white image of 5,700 × 5,700 pixels
MAX_STEPS = 10_000
MAX_STEP_SIZE = 1e9  # raw gradients can be tiny, and steps along them long
MAX_L0 = 1e6
MAX_FLOAT = sys.float_info.max

Labels = Tensor | np.ndarray | Sequence[int] | int


def check_classifier(classifier: object) -> None:
    if not isinstance(classifier, nn.Module):
        raise ValueError(f"classifier must be a torch.nn.Module from images to logits, not {type(classifier).__name__}")
    if any(map(is_lazy, classifier.parameters())):
        raise ValueError("the classifier has lazy layers, whose sizes are not known yet: show it an image first")


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
        checked = _tensor(labels).cpu()
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


def _tensor(values: Any) -> Tensor:
    """On the CPU where it is none yet, whatever default device is set."""
    return values.detach() if isinstance(values, Tensor) else torch.as_tensor(values, device="cpu")


def checked_shift(debias: Tensor | np.ndarray | Sequence[float]) -> Tensor:
    try:
        shift = _tensor(debias)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"debias must be (C,) numbers, one per class: {error}") from None
    if shift.dim() != 1 or shift.dtype == torch.bool or shift.is_complex():
        raise ValueError(f"debias must be (C,) numbers, not {tuple(shift.shape)} {shift.dtype}")
    if not bool(shift.isfinite().all()):
        raise ValueError("debias has NaN or infinite values")
    return shift.clone()


def checked_mask(mask: Tensor | np.ndarray | None, images: Tensor) -> Tensor | None:
    """m of δ = m ⊙ u as (1, 1, H, W) or (N, 1, H, W), in the dtype and on the device of images (N, 3, H, W)."""
    if mask is None:
        return None
    count, _, height, width = images.shape
    shapes = ((height, width), (1, height, width), (1, 1, height, width), (count, 1, height, width))
    wanted = f"mask must be numbers in [0, 1] of shape {shapes[0]}, {shapes[1]} or {shapes[3]}, as the images"
    try:
        values = _tensor(mask)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{wanted}: {error}") from None
    if tuple(values.shape) not in shapes:
        raise ValueError(f"{wanted}, not of shape {tuple(values.shape)}")
    if values.is_complex():
        raise ValueError(f"{wanted}, not {values.dtype}")
    values = values.to(images.device, images.dtype, copy=True).reshape(-1, 1, height, width)
    if not bool(((values >= 0) & (values <= 1)).all()):
        advice = "divide it by 255" if float(values.max()) > 1 else "clamp it"
        raise ValueError(f"{wanted}: its values run from {float(values.min()):g} to {float(values.max()):g}; {advice}")
    empty = (values == 0).flatten(1).all(1)
    if bool(empty.any()):
        which = "" if len(values) == 1 else f" of image {int(empty.nonzero()[0])} (counted from 0)"
        raise ValueError(f"the mask{which} is 0 everywhere, so that nothing could move: make it 1 where pixels may")
    return values


def checked_batch_size(batch_size: int | None) -> int | None:
    if batch_size is None:
        return None
    return whole(batch_size, "batch_size (or None, to have it chosen)", 1, 2**31)


def checked_l0(l0: Any) -> float | tuple[float, ...]:
    if isinstance(l0, Tensor | np.ndarray):
        l0 = l0.tolist()
    if isinstance(l0, list | tuple):
        if not l0:
            raise ValueError("l0 must be one number or one per class, not an empty list")
        return tuple(number(value, f"l0[{i}]", 0, MAX_L0) for i, value in enumerate(l0))
    return number(l0, "l0", 0, MAX_L0)


def number(value: Any, name: str, least: float, most: float) -> float:
    """A finite number within bounds, or ValueError naming it and them."""
    fair = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    # NaN fails both comparisons, and a whole number beyond floats the second.
    if not fair or not least <= value <= min(most, MAX_FLOAT):
        bounds = f"from {least:g} on" if most == math.inf else f"from {least:g} to {most:g}"
        raise ValueError(f"{name} must be a number {bounds}, not {short(value)}")
    return float(value)


def whole(value: Any, name: str, least: int, most: int) -> int:
    """A whole number within bounds, or ValueError naming it and them. 3.0 is one, as pages and JSON send it."""
    try:
        exact = operator.index(value)
    except TypeError:
        fair = isinstance(value, float | np.floating) and math.isfinite(value) and value == int(value)
        exact = int(value) if fair else least - 1
    if isinstance(value, bool) or not least <= exact <= most:
        bounds = f"from {least:,} on" if most >= 2**53 else f"from {least:,} to {most:,}"
        raise ValueError(f"{name} must be a whole number {bounds}, not {short(value)}")
    return exact
