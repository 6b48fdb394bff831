"""Logits from whatever a classifier returns, and a caller's own loss of them, both checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bigroc_core.engine.results import numbered


def as_logits(output: Any, count: int) -> Tensor:
    """(count, C): a tensor as it is, an output's `.logits`, or the first of a tuple or list.

    Raises ValueError for anything else, and for another shape.
    """
    if not isinstance(output, Tensor):
        if isinstance(logits := getattr(output, "logits", None), Tensor):
            output = logits
        elif isinstance(output, tuple | list) and output and isinstance(output[0], Tensor):
            output = output[0]
        else:
            raise ValueError(
                "the classifier must return logits (N, C) as a tensor, as the first of a tuple, or as .logits, not "
                f"{type(output).__name__}"
            )
    if output.dim() != 2 or len(output) != count or not output.shape[1]:
        raise ValueError(
            f"the classifier must return logits (N, C), but returned {tuple(output.shape)} for {count} images"
        )
    return output


def check_finite(logits: Tensor, when: str, first: int = 0) -> None:
    """ValueError naming the images whose logits (n, C) are NaN or infinite; they count from `first`."""
    broken = ~logits.isfinite().all(dim=1)
    if bool(broken.any()):
        numbers = [first + int(row) for row in broken.nonzero()[:, 0]]
        which = "image" if len(numbers) == 1 else "images"
        raise ValueError(f"the classifier's logits are not all finite {when}: {which} {numbered(numbers)}")


class CheckedLoss:
    """A caller's own loss, (logits (n, C), labels (n,) int64) -> (n,), refused by one sentence if it is none."""

    def __init__(self, function: Callable[[Tensor, Tensor], Any], name: str) -> None:
        self.function, self.name = function, name

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        values = self.function(logits, labels)
        if not isinstance(values, Tensor) or values.shape != labels.shape:
            given = f"shape {tuple(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
            raise ValueError(
                f"the loss {self.name} must give one value per image, a tensor of shape ({len(labels)},), not {given}"
            )
        if logits.requires_grad and not values.requires_grad:
            raise ValueError(f"the loss {self.name} carries no gradient to the logits: it must be differentiable")
        return values

    def check_finite(self, logits: Tensor, labels: Tensor, rows: Tensor, first: int) -> None:
        """ValueError naming the images for which it is not finite; those of `rows` count from `first`."""
        with torch.no_grad():
            broken = ~self(logits, labels).isfinite()
        if bool(broken.any()):
            numbers = [first + int(row) for row in rows[broken]]
            raise ValueError(f"the loss {self.name} is not finite for image {numbered(numbers)}")
