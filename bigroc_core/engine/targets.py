"""P1 Algorithm 2's objective for one batch, and P2's rule of when an image rests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bigroc_core.attack import input_gradient, usable
from bigroc_core.engine.batching import BatchSize, in_batches
from bigroc_core.engine.logits import CheckedLoss
from bigroc_core.engine.viewed import ViewedNetwork
from bigroc_core.losses import Loss, realism


@dataclass(eq=False)
class Targets:
    """The loss towards each image's class, where the mask lets it move; the class is settled at the first look.

    check_classes: told the number of classes at every look, to refuse labels that do not fit.
    """

    network: ViewedNetwork
    loss: Loss
    labels: Tensor  # (n,) int64, -1 where the target is still to be estimated
    shift: Tensor | None  # (C,): P1 Eq. 2's, added to logits to estimate targets
    mask: Tensor | None  # (n, 1, H, W) or (1, 1, H, W) in [0, 1]
    size: BatchSize
    check_classes: Callable[[int], None]
    estimating: bool = True  # some targets are
    first: int = 0  # the number of this batch's first image, for messages

    def __post_init__(self) -> None:
        self.opening = True  # nothing has moved yet
        self.lost: Tensor  # (n,) bool, of the latest gradient: it was NaN or infinite, and is zero instead
        self.flat: Tensor  # (n,) bool, of the latest gradient: it is zero everywhere

    def gradient(self, images: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (n, C) and the masked gradient of each image's loss (n, 3, H, W), zero where that is not finite."""
        logits, gradient = in_batches(self._gradient, self.size, images, rows)
        if self.mask is not None:
            mask = self.mask if len(self.mask) == 1 else self.mask.index_select(0, rows)
            # Where nothing may move, whatever the gradient is there.
            gradient = torch.where(mask > 0, mask * gradient, 0)
        gradient, self.lost = usable(gradient)
        self.flat = ~gradient.flatten(1).any(dim=1) & ~self.lost
        self.opening = False
        return logits, gradient

    def logits(self, images: Tensor, rows: Tensor) -> Tensor:
        """Logits (n, C), of the run's own precision."""
        (logits,) = in_batches(lambda images, rows: (self._look(images, rows, exact=False),), self.size, images, rows)
        return logits

    def _gradient(self, images: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        labels = self.labels
        # Targets are estimated as exactly in any precision, so that all else can be compared.
        exact = self._look(images, rows) if self.opening and self.network.fast and self.estimating else None
        logits, gradient = input_gradient(
            lambda logits: self.loss(logits, labels[rows]), lambda leaf: self._look(leaf, rows, exact=False), images
        )
        if self.opening and isinstance(self.loss, CheckedLoss):
            self.loss.check_finite(logits, labels[rows], rows, self.first)
        return logits if exact is None else exact, gradient

    def _look(self, images: Tensor, rows: Tensor, exact: bool = True) -> Tensor:
        logits = self.network.logits(images, exact)
        self.check_classes(logits.shape[1])
        shifted = logits.detach() if self.shift is None else logits.detach() + self.shift
        known = self.labels[rows]
        self.labels[rows] = torch.where(known < 0, shifted.argmax(dim=1), known)
        return logits


def rest_rule(
    stop_at: float | Literal["l0"], l0: Tensor | None, targets: Targets
) -> Callable[[Tensor, Tensor], Tensor]:
    """Which images rest (P2's image-dependent early stop): those that read as real, or as sure enough."""
    if stop_at != "l0":

        def sure_enough(logits: Tensor, rows: Tensor) -> Tensor:
            labels = targets.labels[rows]
            return logits.softmax(dim=1).gather(1, labels[:, None])[:, 0] >= stop_at

        return sure_enough

    def real_enough(logits: Tensor, rows: Tensor) -> Tensor:
        assert l0 is not None  # the plan saw to it
        labels = targets.labels[rows]
        return realism(logits, labels) >= l0.expand(logits.shape[1])[labels]

    return real_enough
