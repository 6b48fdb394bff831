"""The settings of a run: what Algorithm 1 moves in, how far, and what it descends."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from bigroc_core.attack import Ball, L2Ball, LinfBall, OwnSteps, Radius, RawGradient
from bigroc_core.checks import MAX_EPS, MAX_STEP_SIZE, MAX_STEPS, checked_l0, number, whole
from bigroc_core.losses import LOSSES, LossName
from bigroc_core.messages import short
from bigroc_core.norms import NORMS as KNOWN_NORMS
from bigroc_core.norms import NormName

NORMS = tuple(KNOWN_NORMS)
GRADIENTS = ("normalized", "raw")


@dataclass(frozen=True, kw_only=True)
class BoostConfig:
    """How to boost. All sizes are in units of images in [0, 1]. Raises ValueError naming the field at fault.

    eps: radius of the ball that an image may move in, 0 (nothing moves) to MAX_EPS.
    steps: T of P1 Alg. 1, 0 to MAX_STEPS.
    step_size: α, 0 to MAX_STEP_SIZE; None is eps / steps.
    norm: "l2" (‖δ‖₂ per image) or "linf" (|δ| in every pixel).
    loss: "ce" (P1), "bce", "ce-bce" (P2 Eq. 12) or "combined" (P2 Eq. 13); or any differentiable function of logits
        (n, C) and target classes (n,) int64 that gives each image's own loss, (n,), which boosting makes smaller.
    gradient: "normalized" (g / ‖g‖₂, or sign(g) for "linf") or "raw" (P1 Alg. 1 as its formula is printed).
    stop_at: when an image rests: None never, p in (0, 1] once the target's probability p(c | x) ≥ p, "l0"
        once softplus(f_c) ≥ ℓ₀ (P2). An image that starts there is returned untouched.
    l0: ℓ₀ of P2 Eq. 14, for "combined" and for stop_at "l0": one number or one per class, 0 to MAX_L0; None
        takes the classifier's card.
    """

    eps: float = 1.0
    steps: int = 30
    step_size: float | None = None
    norm: NormName = "l2"
    loss: LossName | Callable[[Tensor, Tensor], Tensor] = "ce"
    gradient: Literal["normalized", "raw"] = "normalized"
    stop_at: float | Literal["l0"] | None = None
    l0: float | Sequence[float] | None = None

    def __post_init__(self) -> None:
        set_field = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731 (frozen: no other way)
        set_field("eps", number(self.eps, "eps", 0, MAX_EPS))
        set_field("steps", whole(self.steps, "steps", 0, MAX_STEPS))
        if self.step_size is not None:
            set_field("step_size", number(self.step_size, "step_size", 0, MAX_STEP_SIZE))
        for name, allowed in (("norm", NORMS), ("loss", LOSSES), ("gradient", GRADIENTS)):
            value = getattr(self, name)
            if name == "loss" and callable(value):
                continue
            if not isinstance(value, str) or value not in allowed:
                more = ", or a function of logits and labels" if name == "loss" else ""
                raise ValueError(f"{name} must be one of {', '.join(allowed)}{more}, not {short(value)}")
        if self.stop_at is not None and self.stop_at != "l0":
            if isinstance(self.stop_at, str):
                raise ValueError(f"stop_at must be None, a number in (0, 1] or 'l0', not {short(self.stop_at)}")
            set_field("stop_at", number(self.stop_at, "stop_at", 0, 1))
            if self.stop_at == 0:
                raise ValueError("stop_at must be above 0 and at most 1, not 0: all would rest at once")
        if self.l0 is not None:
            set_field("l0", checked_l0(self.l0))

    @property
    def alpha(self) -> float:
        """The step size α: `step_size`, or eps / steps where that is None (P1 Alg. 1)."""
        return self.step_size if self.step_size is not None else self.eps / max(self.steps, 1)

    @property
    def threat_model(self) -> Ball:
        """The ball, and the direction that steps inside it take."""
        return self.masked()

    def masked(self, mask: Tensor | None = None, eps: Radius | None = None) -> Ball:
        """The ball for δ = m ⊙ u: ‖m ⊙ u‖₂ ≤ eps, or |δ| ≤ m·eps. mask: m, (1, 1, H, W) or (N, 1, H, W). eps: in
        place of the config's, one per image (N,)."""
        radius = self.eps if eps is None else eps
        # δ itself is what moves, along m ⊙ g, so that in L2 its length already is the masked one.
        ball: Ball = L2Ball(radius)
        if self.norm == "linf":
            each = radius[:, None, None, None] if isinstance(radius, Tensor) and mask is not None else radius
            ball = LinfBall(each if mask is None else each * mask)
        return ball if self.gradient == "normalized" else RawGradient(ball)

    def of_radii(self, radii: Tensor, mask: Tensor | None = None) -> Ball:
        """The same with a radius of each image's own, (N,), and steps of its own: `alpha` for that eps. The step size
        to take them with is 1."""
        own = self.step_size is not None
        lengths = torch.full_like(radii, self.alpha) if own else radii / max(self.steps, 1)
        return OwnSteps(self.masked(mask, radii), lengths)

    @property
    def loss_name(self) -> str:
        """One of the four names, or what the function is called."""
        return self.loss if isinstance(self.loss, str) else _name(self.loss)

    def settings(self) -> dict[str, Any]:
        """All fields, ready for JSON: a loss that is a function stands by its name."""
        return {**{one.name: getattr(self, one.name) for one in dataclasses.fields(self)}, "loss": self.loss_name}


def _name(function: object) -> str:
    return str(getattr(function, "__name__", None) or type(function).__name__)
