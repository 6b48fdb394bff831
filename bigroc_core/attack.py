"""P1 Algorithm 1: targeted projected gradient descent, and the threat models it moves in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

TINY = 1e-12  # the smallest ‖g‖₂ that a gradient is divided by


class ThreatModel(Protocol):
    """How a step is taken and how far it may lead. Tensors are (N, 3, H, W)."""

    def direction(self, gradient: Tensor) -> Tensor:
        """What is subtracted from the image, times the step size."""

    def project(self, delta: Tensor) -> Tensor:
        """The nearest allowed perturbation."""


@dataclass(frozen=True)
class L2Ball:
    """‖δ‖₂ ≤ eps per image, in units of [0, 1] pixels; the step follows g / max(‖g‖₂, 1e-12)."""

    eps: float

    def direction(self, gradient: Tensor) -> Tensor:
        return gradient / l2_norms(gradient).to(gradient.dtype).clamp_min(TINY)[:, None, None, None]

    def project(self, delta: Tensor) -> Tensor:
        norms = l2_norms(delta)
        # A few units in the last place inside the sphere, so that the products' rounding cannot lead out.
        shrink = (self.eps / norms) * (1 - 2 * torch.finfo(delta.dtype).eps)
        scale = torch.where(norms > self.eps, shrink, torch.ones_like(norms))
        return delta * scale.to(delta.dtype)[:, None, None, None]


@dataclass(frozen=True)
class LinfBall:
    """|δ| ≤ eps in every pixel, in units of [0, 1] pixels; the step follows sign(g)."""

    eps: float

    def direction(self, gradient: Tensor) -> Tensor:
        return gradient.sign()

    def project(self, delta: Tensor) -> Tensor:
        return delta.clamp(-self.eps, self.eps)


@dataclass(frozen=True)
class RawGradient:
    """Steps along the gradient itself, inside `ball`: P1 Alg. 1 as its formula is printed."""

    ball: ThreatModel

    def direction(self, gradient: Tensor) -> Tensor:
        return gradient

    def project(self, delta: Tensor) -> Tensor:
        return self.ball.project(delta)


class Objective(Protocol):
    """What the images descend. `rows` (n,) int64 says which images of the batch these n are."""

    def gradient(self, images: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (n, C), and the gradient (n, 3, H, W) of each image's own loss."""

    def logits(self, images: Tensor, rows: Tensor) -> Tensor:
        """Logits (n, C) alone."""


class Point(NamedTuple):
    """Where the images that were still moving stand after a number of steps."""

    rows: Tensor  # (n,) int64: which images of the batch these are
    images: Tensor  # (n, 3, H, W)
    logits: Tensor  # (n, C), of these very images
    resting: Tensor  # (n,) bool: from here on this image stays where it is


def targeted_pgd(
    objective: Objective,
    x: Tensor,
    ball: ThreatModel,
    step_size: float,
    steps: int,
    rests: Callable[[Tensor, Tensor], Tensor] | None = None,
    start: Tensor | None = None,
) -> Iterator[Point]:
    """P1 Alg. 1 as a walk: move x, inside the ball and inside [0, 1], towards lower loss.

    Yields a point before every step and one after the last: `steps` forward and backward passes and one final
    forward pass. x: (N, 3, H, W) in [0, 1]. With `rests(logits, rows) -> (n,) bool` (P2's image-dependent
    early stop) an image for which it says so stays where it is and leaves the batch; the walk ends when all
    rest. start: where to begin, inside the ball; None is x itself.
    """
    rows = torch.arange(len(x), device=x.device)
    images = x if start is None else start
    for _ in range(steps):
        logits, gradient = objective.gradient(images, rows)
        resting = rests(logits, rows) if rests else torch.zeros_like(rows, dtype=torch.bool)
        yield Point(rows, images, logits, resting)
        if rests:
            moving = (~resting).nonzero()[:, 0]
            if not len(moving):
                return
            rows, x, images, gradient = (t.index_select(0, moving) for t in (rows, x, images, gradient))
        delta = ball.project(images - x - step_size * ball.direction(gradient))
        images = perturbed(x, delta)
    logits = objective.logits(images, rows)
    resting = rests(logits, rows) if rests else torch.zeros_like(rows, dtype=torch.bool)
    yield Point(rows, images, logits, resting)


def perturbed(x: Tensor, delta: Tensor) -> Tensor:
    """x + delta in [0, 1]; rounded towards x where the nearest float would be further from x than delta."""
    moved = (x + delta).clamp(0, 1)
    return torch.where((moved - x).abs() > delta.abs(), torch.nextafter(moved, x), moved)


def l2_norms(images: Tensor) -> Tensor:
    """‖·‖₂ per image, (N,), summed in float64 where the device has it."""
    # In float32, adding the 150,528 squares of a 224-pixel image would use up the promised 1e-6.
    precise = torch.float32 if images.device.type == "mps" else torch.float64
    return torch.linalg.vector_norm(images, dim=(1, 2, 3), dtype=precise)


def linf_eps_of(delta: Tensor, share: float = 0.7) -> float:
    """The quantile of |δ| over all pixels that P1 Fig. 4 takes as the radius of its L∞ ball (q₀.₇ there).

    delta: (N, 3, H, W), the float result of an L2 run minus its originals, before rounding to 8 bits, images in [0, 1].
    share: from 0 to 1. Linear interpolation between neighbouring values. Raises ValueError for a share outside, and for
    no pixels.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must be from 0 to 1, not {share:g}")
    if not delta.numel():
        raise ValueError("delta holds no pixels")
    # NumPy's, since torch's takes at most 16 million values.
    return float(np.quantile(delta.detach().abs().cpu().double().numpy(), share))
