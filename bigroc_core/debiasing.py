"""P1 Eq. 2: the shift that removes a classifier's preference for some classes, and measures of balance."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bigroc_core.boosting import logits_of
from bigroc_core.checks import MAX_FLOAT
from bigroc_core.engine.views import ViewName
from bigroc_core.messages import short


def fit_debias(
    classifier: nn.Module,
    validation_images: Tensor,
    a: float = 1.0,
    batch_size: int | None = None,
    view: ViewName = None,
) -> Tensor:
    """P1 Eq. 2: d_c = a - mean of logit c over a separate set of generated images.

    validation_images: (N, 3, H, W) float32 or float64 in [0, 1]; P1 takes 1,000 that are not boosted
    afterwards. a: the mean that every class gets. view: as `boost`'s, and the same as there. Returns d, (C,), in the
    images' dtype and on their device: the `debias` of `boost`, whose targets are then argmax(f(x) + d). Raises
    ValueError for images `boost` would refuse and for an `a` that is not a finite number.
    """
    if isinstance(a, bool) or not isinstance(a, int | float) or not -MAX_FLOAT <= a <= MAX_FLOAT:
        raise ValueError(f"a must be a finite number (the papers take 1), not {short(a)}")
    return shift_from(logits_of(classifier, validation_images, batch_size, view), a)


def shift_from(logits: Tensor, a: float = 1.0) -> Tensor:
    """P1 Eq. 2 from the logits (N, C) of the validation images: d (C,)."""
    # Each column is summed pairwise, so float32 keeps its digits over any number of images.
    return a - logits.mean(dim=0)


def class_histogram(labels: Tensor | Sequence[int], classes: int) -> Tensor:
    """How many of the labels (N,) fall on each class: (classes,) int64, on the CPU.

    Raises ValueError for a label outside 0 … classes - 1.
    """
    flat = torch.as_tensor(labels).detach().cpu()
    if not len(flat):
        flat = flat.long()
    if flat.dim() != 1 or flat.is_floating_point() or flat.is_complex() or flat.dtype == torch.bool:
        raise ValueError(f"labels must be (N,) whole numbers, not {tuple(flat.shape)} {flat.dtype}")
    if not bool(((flat >= 0) & (flat < classes)).all()):
        raise ValueError(f"labels must be 0 to {classes - 1}, not {int(flat.min())} to {int(flat.max())}")
    return torch.bincount(flat.long(), minlength=classes)


def histogram_entropy(counts: Tensor) -> float:
    """Shannon entropy of a class histogram (C,) in nats: log C when uniform, 0 when one class has everything.

    Divide by math.log(2) for bits. Raises ValueError for an empty or negative histogram.
    """
    weights = torch.as_tensor(counts).detach().cpu().double()
    if weights.dim() != 1 or not bool((weights >= 0).all()) or not float(weights.sum()) > 0:
        raise ValueError("counts must be (C,), none negative and not all zero")
    shares = weights / weights.sum()
    return float(-torch.special.xlogy(shares, shares).sum()) + 0.0
