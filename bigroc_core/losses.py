"""What a boosted image is pushed to minimise: one loss per image, from the classifier's logits.

Every loss maps logits (N, C) and target classes (N,) int64 to values (N,). Write f_c for the logit of the
target class. P2 Eq. 9 calls softplus(f_c) the binary cross-entropy of a synthesised image; boosting makes it
larger, so that the image reads as real.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import torch.nn.functional as F
from torch import Tensor


class Loss(Protocol):
    """Per-image loss: logits (N, C), labels (N,) int64 -> (N,)."""

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor: ...


def class_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """f_c per image, (N,)."""
    return logits.gather(1, labels[:, None])[:, 0]


def realism(logits: Tensor, labels: Tensor) -> Tensor:
    """softplus(f_c) = -log(1 - sigmoid(f_c)) per image, (N,): how real the image reads (P2 Eq. 9).

    This is also the quantity that ℓ₀ averages over real images (P2 Eq. 14).
    """
    return discrimination(logits, labels, real=False)


def discrimination(logits: Tensor, labels: Tensor, *, real: bool) -> Tensor:
    """ℓ_BCE of P2 Eq. 9 per image, (N,): -log sigmoid(f_c) of real images, -log(1 - sigmoid(f_c)) of generated ones."""
    target = class_logits(logits, labels)
    # F.softplus turns linear above 20, which costs the ninth digit; logsigmoid is exact everywhere.
    return -F.logsigmoid(target if real else -target)


@dataclass(frozen=True)
class CrossEntropy:
    """ℓ_CE, the loss of P1 Alg. 1."""

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, reduction="none")


@dataclass(frozen=True)
class BinaryCrossEntropy:
    """-softplus(f_c): the realism term alone (P2 Table 3, "BCE")."""

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        return -realism(logits, labels)


@dataclass(frozen=True)
class CrossEntropyAndBinary:
    """ℓ_CE - softplus(f_c) (P2 Eq. 12)."""

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, reduction="none") - realism(logits, labels)


@dataclass(frozen=True, eq=False)
class Combined:
    """ℓ_CE + ½ (softplus(f_c) - ℓ₀)² (P2 Eq. 13, with the sign its text describes).

    l0: the reference ℓ₀ of P2 Eq. 14, a tensor of shape () for all classes or (C,) for each its own, on the
    logits' device.
    """

    l0: Tensor

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        reference = self.l0.expand(logits.shape[1])[labels]
        distance = realism(logits, labels) - reference
        return F.cross_entropy(logits, labels, reduction="none") + 0.5 * distance.square()


LossName = Literal["ce", "bce", "ce-bce", "combined"]
LOSSES: tuple[str, ...] = get_args(LossName)
# Those that mean something of a joint model alone, which was trained to tell real images from generated ones.
OF_REALISM = ("bce", "ce-bce", "combined")


def loss_named(name: str, l0: Tensor | None = None) -> Loss:
    """The loss that `BoostConfig.loss` names: "ce", "bce", "ce-bce" (Eq. 12) or "combined" (Eq. 13).

    l0: () or (C,), needed by "combined" alone. Raises ValueError for another name or a missing ℓ₀.
    """
    match name:
        case "ce":
            return CrossEntropy()
        case "bce":
            return BinaryCrossEntropy()
        case "ce-bce":
            return CrossEntropyAndBinary()
        case "combined":
            if l0 is None:
                raise ValueError("loss 'combined' (P2 Eq. 13) needs the reference ℓ₀")
            return Combined(l0)
    raise ValueError(f"loss must be one of {', '.join(LOSSES)}, not {name!r}")
