"""P1 Algorithm 1: targeted projected gradient descent, and the balls it moves in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

TINY = 1e-12  # the smallest ‖g‖₂ that a gradient is divided by

Radius = float | Tensor  # of all images, or one per image, (N,)


class Ball(Protocol):
    """How a step is taken and how far it may lead. Tensors are (N, 3, H, W)."""

    def direction(self, gradient: Tensor) -> Tensor:
        """What is subtracted from the image, times the step size."""

    def project(self, delta: Tensor) -> Tensor:
        """The nearest allowed perturbation."""

    def of(self, rows: Tensor) -> Ball:
        """The ball of these images alone; rows (n,) int64."""


@dataclass(frozen=True, eq=False)
class L2Ball:
    """‖δ‖₂ ≤ radius per image, in units of [0, 1] pixels; the step follows g / max(‖g‖₂, 1e-12)."""

    radius: Radius

    def direction(self, gradient: Tensor) -> Tensor:
        return unit(gradient, l2_norms(gradient))

    def project(self, delta: Tensor) -> Tensor:
        norms = l2_norms(delta)
        # A few units in the last place inside the sphere, so that the products' rounding cannot lead out.
        shrink = (self.radius / norms) * (1 - 2 * torch.finfo(delta.dtype).eps)
        return scaled(delta, torch.where(norms > self.radius, shrink, torch.ones_like(norms)))

    def of(self, rows: Tensor) -> L2Ball:
        return L2Ball(_of_rows(self.radius, rows))


@dataclass(frozen=True, eq=False)
class LinfBall:
    """|δ| ≤ radius in every pixel, in units of [0, 1] pixels; the step follows sign(g).

    radius: of all images, one per image, (N,), or one per pixel, (N, 1, H, W) or (1, 1, H, W).
    """

    radius: Radius

    def direction(self, gradient: Tensor) -> Tensor:
        return gradient.sign()

    def project(self, delta: Tensor) -> Tensor:
        if isinstance(self.radius, Tensor):
            bound = self.radius[:, None, None, None] if self.radius.dim() == 1 else self.radius
            return delta.clamp(-bound, bound)
        return delta.clamp(-self.radius, self.radius)

    def of(self, rows: Tensor) -> LinfBall:
        return LinfBall(_of_rows(self.radius, rows))


@dataclass(frozen=True, eq=False)
class RawGradient:
    """Steps along the gradient itself, inside `ball`: P1 Alg. 1 as its formula is printed."""

    ball: Ball

    def direction(self, gradient: Tensor) -> Tensor:
        return gradient

    def project(self, delta: Tensor) -> Tensor:
        return self.ball.project(delta)

    def of(self, rows: Tensor) -> RawGradient:
        return RawGradient(self.ball.of(rows))


@dataclass(frozen=True, eq=False)
class OwnSteps:
    """Steps inside `ball` of a length of each image's own: α, (N,), to be taken with a step size of 1."""

    ball: Ball
    lengths: Tensor

    def direction(self, gradient: Tensor) -> Tensor:
        return scaled(self.ball.direction(gradient), self.lengths)

    def project(self, delta: Tensor) -> Tensor:
        return self.ball.project(delta)

    def of(self, rows: Tensor) -> OwnSteps:
        return OwnSteps(self.ball.of(rows), self.lengths.index_select(0, rows))


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
    ball: Ball,
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
            ball = ball.of(moving)
        images = stepped(x, images, gradient, ball, step_size)
    logits = objective.logits(images, rows)
    resting = rests(logits, rows) if rests else torch.zeros_like(rows, dtype=torch.bool)
    yield Point(rows, images, logits, resting)


def stepped(x: Tensor, images: Tensor, gradient: Tensor, ball: Ball, step_size: float) -> Tensor:
    """One step of P1 Alg. 1: images, which were x, moved against the gradient, inside the ball and inside [0, 1]."""
    delta = ball.project(images - x - step_size * ball.direction(gradient))
    return perturbed(x, delta)


def input_gradient(
    loss: Callable[[Tensor], Tensor], logits_of: Callable[[Tensor], Tensor], images: Tensor
) -> tuple[Tensor, Tensor]:
    """f(x), and the gradient of each image's own loss with respect to that image, whatever the batch.

    logits_of: images (n, 3, H, W) -> logits (n, C). loss: logits -> (n,). Returns (n, C) and (n, 3, H, W). Raises
    ValueError where the logits do not depend on the images in a way that can be differentiated.
    """
    with torch.enable_grad():
        leaf = images.detach().requires_grad_()
        logits = logits_of(leaf)
        if not logits.requires_grad:
            raise ValueError(
                "the classifier's logits carry no gradient to the images: it must be differentiable "
                "(no torch.no_grad, detach, rounding or argmax inside)"
            )
        (gradient,) = torch.autograd.grad(loss(logits).sum(), leaf)
    return logits.detach(), gradient


def usable(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient (n, 3, H, W), zero for images where some of it is NaN or infinite, and which those are, (n,) bool.

    Such an image stays where it is, and the others of its batch move on.
    """
    lost = ~gradient.isfinite().flatten(1).all(dim=1)
    return gradient.masked_fill(lost[:, None, None, None], 0), lost


def l2_attack(
    model: nn.Module, images: Tensor, labels: Tensor, eps: float, steps: int, generator: torch.Generator | None
) -> Tensor:
    """Untargeted L2 PGD: images (N, 3, H, W) in [0, 1] moved to higher cross-entropy inside the ball of radius eps.

    A generator gives a random start in the ball and, for one step, a step of the whole radius; None starts at zero.
    Several steps are of 2.5·eps/steps. The model stays in the mode it is in. Source: Madry et al. 2018.
    """
    step_size = eps if steps == 1 else 2.5 * eps / steps

    # In the images' own precision: in training the ball's last digit costs more than it is worth, and the accuracies
    # on the cards were measured so.
    def lengths(x: Tensor) -> Tensor:
        return x.flatten(1).norm(dim=1)

    def loss(logits: Tensor) -> Tensor:
        return -F.cross_entropy(logits.float(), labels, reduction="none")

    delta = torch.zeros_like(images)
    if generator is not None:
        noise = torch.randn(images.shape, generator=generator).to(images)
        radius = eps * torch.rand(len(images), 1, 1, 1, generator=generator).to(images)
        delta = (images + unit(radius * noise, lengths(noise))).clamp(0, 1) - images
    for _ in range(steps):
        _, gradient = input_gradient(loss, model, images + delta)
        delta = delta - unit(step_size * gradient, lengths(gradient))
        delta = scaled(delta, (eps / lengths(delta).clamp_min(TINY)).clamp(max=1))
        delta = (images + delta).clamp(0, 1) - images
    return images + delta


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


def unit(vectors: Tensor, lengths: Tensor) -> Tensor:
    """Each of the vectors (N, 3, H, W) divided by its length (N,), or by TINY if that is more."""
    return vectors / lengths.to(vectors.dtype).clamp_min(TINY)[:, None, None, None]


def scaled(vectors: Tensor, factors: Tensor) -> Tensor:
    """Each of the vectors (N, 3, H, W) times its factor (N,)."""
    return vectors * factors.to(vectors.dtype)[:, None, None, None]


def _of_rows(radius: Radius, rows: Tensor) -> Radius:
    """Of these images alone; what all images share stays as it is."""
    if not isinstance(radius, Tensor) or (radius.dim() > 1 and len(radius) == 1):
        return radius
    return radius.index_select(0, rows)
